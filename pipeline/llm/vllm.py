"""A LangChain chat model over the engine in this process: batches across callers, streams, reads images, can be aborted.

Whose call it is and how urgent travels in LangChain's own config, so that the same call works on every chat model:

    await llm.ainvoke(messages, config={"metadata": {"request_id": "job-7", "priority": 0}})

Calls may come from any thread and from any event loop. Cancelling one aborts its request in the engine.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseRunManager, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict
from vllm.outputs import RequestOutput

from pipeline.llm.engine import ChatMessage, Engine
from vidask.errors import InvalidJob

_SAMPLING = ("temperature", "top_p", "max_tokens", "seed", "stop")
_SHOWN_CHARS = 40


class VLLMChatModel(BaseChatModel):
    """Chat over an `Engine`. `takes_images` says whether it is to be handed pictures.

    `temperature`, `top_p`, `max_tokens`, `seed` and `stop` may be given here, or to a single call. Usage and the reason why the
    answer ended are in the message's `usage_metadata` and `response_metadata["finish_reason"]`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: Engine
    model_name: str
    takes_images: bool
    temperature: float = 0.0
    max_tokens: int = 512

    @property
    def _llm_type(self) -> str:
        return "vllm"

    @property
    def max_images(self) -> int:
        """How many pictures one prompt may have."""
        return self.engine.max_images

    def batch(
        self, inputs: list[LanguageModelInput], config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> list[AIMessage]:
        """All of them at once: the engine does the batching. LangChain's own would send as many as there are threads."""
        return self.engine.loop.run(self.abatch(inputs, config, return_exceptions=return_exceptions, **kwargs))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self.engine.loop.run(self._answer(messages, stop, run_manager, kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await self.engine.loop.call(self._answer(messages, stop, run_manager, kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for output in self.engine.loop.iterate(self._outputs(messages, stop, run_manager, kwargs, deltas=True)):
            chunk = _chunk(output)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        outputs = self.engine.loop.aiterate(self._outputs(messages, stop, run_manager, kwargs, deltas=True))
        async with aclosing(outputs):
            async for output in outputs:
                chunk = _chunk(output)
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _answer(
        self, messages: list[BaseMessage], stop: list[str] | None, run: BaseRunManager | None, kwargs: dict[str, Any]
    ) -> ChatResult:
        async with aclosing(self._outputs(messages, stop, run, kwargs, deltas=False)) as outputs:
            output = await anext(outputs)  # FINAL_ONLY: there is one
        message = AIMessage(
            self._text(output),
            response_metadata={"finish_reason": output.outputs[0].finish_reason},
            usage_metadata=_usage(output),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _outputs(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run: BaseRunManager | None,
        kwargs: dict[str, Any],
        *,
        deltas: bool,
    ) -> AsyncGenerator[RequestOutput, None]:
        metadata = run.metadata if run else {}
        sampling = self._sampling(stop, kwargs)
        return self.engine.generate(
            self._chat(messages),
            # A reply that is wanted whole is decoded once at its end, not at each token; but stop strings are looked for in text.
            {**sampling, "detokenize": deltas or bool(sampling.get("stop"))},
            request_id=str(metadata.get("request_id", "chat")),
            priority=int(metadata.get("priority", 0)),
            deltas=deltas,
        )

    def _text(self, output: RequestOutput) -> str:
        [reply] = output.outputs
        if reply.text:
            return reply.text
        ended_itself = reply.finish_reason == "stop"  # with a token that says so, and is no text
        return self.engine.decode(reply.token_ids[:-1] if ended_itself else reply.token_ids)

    def _sampling(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := set(kwargs) - set(_SAMPLING):
            msg = f"sampling: {min(unknown)!r} is not one of {', '.join(_SAMPLING)}"
            raise InvalidJob(msg)
        given = {name: value for name, value in {**kwargs, "stop": stop}.items() if value is not None}
        return {"temperature": self.temperature, "max_tokens": self.max_tokens, **given}

    def _chat(self, messages: list[BaseMessage]) -> Sequence[ChatMessage]:
        chat = convert_to_openai_messages(messages)
        for message in chat:
            for part in message["content"] if isinstance(message["content"], list) else ():
                self._check_part(part)
        return chat

    def _check_part(self, part: Mapping[str, Any]) -> None:
        """Text and pictures that came along. vLLM would fetch any other address, on the caller's behalf."""
        if part["type"] == "text":
            return
        if part["type"] != "image_url":
            raise InvalidJob(f"content: a part of type {part['type']!r}; text and image are taken")
        if not self.takes_images:
            raise InvalidJob(f"content: an image, but {self.model_name} reads text alone; use a vision model")
        if not (address := part["image_url"]["url"]).startswith("data:image/"):
            shown = address[:_SHOWN_CHARS]
            raise InvalidJob(f"content: image address {shown!r}; nothing is fetched, so send the bytes")


def _chunk(output: RequestOutput) -> ChatGenerationChunk:
    """New text and the tokens it took. LangChain adds up what the chunks say, so the prompt is counted in the last one alone."""
    [new] = output.outputs
    message = AIMessageChunk(content=new.text, usage_metadata=_usage(output, read=output.finished))
    if output.finished:
        message.chunk_position = "last"
        message.response_metadata = {"finish_reason": new.finish_reason}
    return ChatGenerationChunk(message=message)


def _usage(output: RequestOutput, *, read: bool = True) -> UsageMetadata:
    prompt = len(output.prompt_token_ids or ()) if read else 0
    written = len(output.outputs[0].token_ids)
    return UsageMetadata(input_tokens=prompt, output_tokens=written, total_tokens=prompt + written)
