"""One vLLM engine in this process: its life, its health, and the one place where its errors become ours.

Works with vLLM 0.26 to 0.33.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Any, Self
from uuid import uuid4

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMValidationError
from vllm.outputs import RequestOutput
from vllm.renderers import ChatParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from pipeline.llm.admission import Admission, Displaced
from pipeline.llm.engine_process import mark_processes
from pipeline.llm.engine_stats import EngineStats, recorder
from pipeline.loop import EventLoopThread
from vidask.errors import InvalidJob, ModelDied, ModelUnavailable, VidaskError, one_line

ChatMessage = Mapping[str, Any]

log = logging.getLogger(__name__)

#: How often the engine is asked whether it lives, seconds; requests in flight are told at once.
_WATCH_S = 0.5
#: How often it says what it does, while it does something, seconds.
_SAY_S = 60.0
DIED = "the engine's process has ended"

#: How the engine's prompts are made of a chat.
CHAT = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "tokenize": False})


class Engine:
    """A vLLM `AsyncLLM` on an event loop's thread.

    Attributes:
        loop: where its coroutines run.
        stats: what the engine did last, and in sum.
        max_model_len: most tokens of prompt and answer together.
        max_images: most pictures of one prompt; 0 where the model reads none, or is to read none.
        takes_images: whether there may be any.

    Args:
        args: the engine's arguments; `pipeline.llm.engine_arguments` makes them of the settings.
        loop: stays open as long as the engine.
        on_death: called with a sentence, on the loop, when the engine's process has ended though nobody closed it. None where
            other models answer in its place: its death is `ModelUnavailable` then, and ends nobody else.
    """

    def __init__(
        self, args: AsyncEngineArgs, loop: EventLoopThread, *, on_death: Callable[[str], object] | None = lambda _: None
    ) -> None:
        self.loop = loop
        self.stats = EngineStats()
        self._on_death = on_death
        self._tasks: set[Any] = set()
        self._llm = loop.run(self._make(args))
        self._default_sampling = self._llm.model_config.get_diff_sampling_param()
        self.max_model_len = self._llm.model_config.max_model_len
        seeing = self._llm.model_config.multimodal_config
        self.max_images = seeing.get_limit_per_prompt("image") if seeing else 0
        self.takes_images = self.max_images > 0
        self._admission = Admission(self._llm.vllm_config.scheduler_config.max_num_seqs)
        self._watching = loop.submit(self._watch())

    async def generate(
        self,
        messages: Sequence[ChatMessage],
        sampling: Mapping[str, Any],
        *,
        request_id: str,
        priority: int = 0,
        deltas: bool = False,
    ) -> AsyncGenerator[RequestOutput, None]:
        """Answer a chat. Runs on `loop`; closing the generator, or cancelling what waits for it, aborts the request on the GPU.

        Args:
            messages: in OpenAI's form, pictures as `data:` addresses.
            sampling: fields of vLLM's `SamplingParams`; what is not given is as the model's own generation config says.
            request_id: whose request it is, for vLLM's log; need not be unique.
            priority: lower is more urgent; above 0 it may wait for a place, and be begun anew (`pipeline.llm.admission`).
            deltas: yield new text as it is decoded, instead of one output at the end.

        Raises:
            InvalidJob: the prompt does not fit, or a sampling value is out of range.
            ModelDied: the engine is gone, and this process cannot bring it back.
            ModelUnavailable: this request failed, and others go on; or the engine is gone, and other models answer.
        """
        kind = RequestOutputKind.DELTA if deltas else RequestOutputKind.FINAL_ONLY
        with self._our_errors():
            params = SamplingParams.from_optional(**{**self._default_sampling, **sampling, "output_kind": kind})
        arrival = self._admission.arrival()
        while True:
            unique = f"{request_id}-{uuid4().hex[:8]}"
            try:
                async with self._admission.place(priority, arrival, displaceable=not deltas):
                    with self._asking(), self._our_errors():
                        prompt = await self._render(messages)  # anew where it comes again: kept, a picture is 25 MB
                        async with aclosing(self._llm.generate(prompt, params, unique, priority=priority)) as outputs:
                            async for output in outputs:
                                yield _written(output)
            except Displaced:
                continue
            return

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return self._llm.renderer.get_tokenizer().decode(token_ids, skip_special_tokens=True)

    async def check_health(self) -> None:
        """Raise `ModelDied` where the engine's process is gone, or what stands for it."""
        with self._our_errors():
            await self._llm.check_health()

    def close(self) -> None:
        """End the engine and its processes. Requests that still run are aborted."""
        log.info("engine: closing; %s", self.stats)
        self._watching.cancel()
        self.loop.run(self._shut_down())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _make(self, args: AsyncEngineArgs) -> AsyncLLM:
        """On the loop, because vLLM ties its sockets to the loop it finds."""
        mark_processes()
        args.disable_log_stats = True  # vLLM's own loggers; ours counts
        return AsyncLLM.from_engine_args(args, stat_loggers=[recorder(self.stats)])

    async def _render(self, messages: Sequence[ChatMessage]) -> Any:
        if (pictures := _pictures(messages)) > self.max_images:
            msg = (
                f"{pictures} pictures go along, limit_mm_per_prompt in VLLM_CONFIG allows {self.max_images}; send fewer, or leave "
                "image out of it: a question may have eight"
            )
            raise InvalidJob(msg)
        try:
            rendered = await self._llm.renderer.render_chat_async([list(messages)], CHAT)  # pyright: ignore[reportArgumentType]
        except VLLMValidationError as error:
            raise await self._explained(error, messages) from error
        prompt: Any = rendered[1][0]
        tokens = len(prompt["prompt_token_ids"])
        if tokens > self.max_model_len:  # of text alone vLLM has said so by now
            raise self._too_long(tokens, messages)
        return prompt

    async def _explained(self, error: VLLMValidationError, messages: Sequence[ChatMessage]) -> InvalidJob:
        """VLLM stops counting at the limit; a person wants to know by how much the prompt is too long."""
        text = "\n".join(part["text"] for part in _parts(messages) if part["type"] == "text")
        tokens = len(await asyncio.to_thread(self._llm.renderer.get_tokenizer().encode, text))
        return InvalidJob(one_line(error)) if tokens < self.max_model_len else self._too_long(tokens, messages)

    def _too_long(self, tokens: int, messages: Sequence[ChatMessage]) -> InvalidJob:
        pictures = _pictures(messages)
        among, fewer = (f", {pictures} pictures among them", "send fewer pictures, ") if pictures else ("", "")
        msg = (
            f"the prompt has {tokens:,} tokens{among}, the model takes {self.max_model_len:,}; {fewer}shorten the question or the "
            "history, lower top_k, or raise max_model_len in VLLM_CONFIG"
        )
        return InvalidJob(msg)

    @contextmanager
    def _asking(self) -> Generator[None]:
        """Requests hear of the death from vLLM, but for those that it is just handing over; `_watch` cancels these."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if self._llm.errored:
                raise died(alone=self._on_death is not None) from None
            raise
        finally:
            self._tasks.discard(task)

    async def _watch(self) -> None:
        """Notice a death that no request is told of, and say now and then what the engine does."""
        said, said_at = 0, time.monotonic()
        while not self._llm.errored:
            await asyncio.sleep(_WATCH_S)
            if time.monotonic() - said_at > _SAY_S and self.stats.prompt_tokens != said:
                log.info("engine: %s", self.stats)
                said, said_at = self.stats.prompt_tokens, time.monotonic()
        if self._on_death:
            self._on_death(DIED)
        for task in self._tasks:
            task.cancel()

    def _our_errors(self) -> AbstractContextManager[None]:
        return engine_errors(alone=self._on_death is not None)

    async def _shut_down(self) -> None:
        """On the loop itself, and so before vLLM's own tasks there see the engine's end and take it for its death."""
        self._llm.shutdown()


def _written(output: RequestOutput) -> RequestOutput:
    """What a request that the engine gave up ends with is no answer, though it has the form of one."""
    if output.outputs[0].finish_reason == "error":
        msg = "the engine failed this request; its reason stands in the worker's log"
        raise ModelUnavailable(msg)
    return output


def _parts(messages: Sequence[ChatMessage]) -> Iterator[Mapping[str, Any]]:
    """The texts and pictures of a chat."""
    for message in messages:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _pictures(messages: Sequence[ChatMessage]) -> int:
    return sum(part["type"] != "text" for part in _parts(messages))


def gone() -> ModelUnavailable:
    """The death of an engine that other models answer for."""
    return ModelUnavailable(f"{DIED}; start the worker anew to have it back", passes=False)


def died(*, alone: bool) -> VidaskError:
    """What is said of an engine's death: it is the worker's where the engine is `alone`, and nobody else answers."""
    return ModelDied(DIED) if alone else gone()


@contextmanager
def engine_errors(*, alone: bool) -> Generator[None]:
    """What vLLM raises, as ours, the most specific first. Whatever else comes out is a bug."""
    try:
        yield
    except EngineDeadError as error:
        raise died(alone=alone) from error
    except EngineGenerateError as error:
        raise ModelUnavailable(f"the engine failed this request ({one_line(error.__cause__ or error)})") from error
    except (VLLMValidationError, ValueError) as error:
        if isinstance(error, InvalidJob):
            raise
        raise InvalidJob(f"the engine refuses this request ({one_line(error)})") from error
