"""vLLM as the older guides have it: `langchain_community.llms.VLLM`, with the settings of the backend `vllm`.

langchain-community is archived; nothing else here stands on it.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import warnings
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr
from vllm.v1.engine.exceptions import EngineDeadError

from config import Settings
from pipeline.llm.engine import engine_errors
from pipeline.llm.engine_arguments import build_engine_args, engine_arguments
from pipeline.llm.engine_process import mark_processes
from pipeline.llm.packages import needs
from pipeline.llm.start_errors import start_errors
from pipeline.llm.vllm_backend import shown_name
from vidask.errors import InvalidJob

#: Arguments of the wrapper itself. It hands them to vLLM beside `vllm_kwargs`, where they must not stand a second time.
_OWN = ("model", "tensor_parallel_size", "trust_remote_code", "dtype", "download_dir")

#: How often the engine is looked at, seconds.
_WATCH_S = 0.5


class LangchainVLLMChatModel(BaseChatModel):
    """Chat over `langchain_community.llms.VLLM`, which is made for one thread and one question at a time.

    So there is one thread, and questions wait for it in their order. The text comes whole, also where somebody reads along. A call
    can be cancelled until its turn comes; from then on the model writes to the end, for nobody. Pictures are not taken. Tokens are
    counted here, as the wrapper does not tell them. `vllm` does all of this better.
    """

    llm: Any  # a `VLLM`, whose `client` is vLLM's own `LLM`
    model_name: str
    takes_images: bool = False
    #: Whether no other model answers in its place; where one does, its death is `ModelUnavailable`.
    alone: bool = True
    _turns: ThreadPoolExecutor = PrivateAttr(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="langchain-vllm")
    )

    @property
    def _llm_type(self) -> str:
        return "langchain-vllm"

    def close(self) -> None:
        """Wait for the answer that is being written, drop those that wait, and end the engine."""
        self._turns.shutdown(cancel_futures=True)
        self.llm.client.llm_engine.engine_core.shutdown()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002  LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        return self._turns.submit(self._write, messages, stop, kwargs).result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._turns, self._write, messages, stop, kwargs)

    def _write(self, messages: list[BaseMessage], stop: list[str] | None, sampling: Mapping[str, Any]) -> ChatResult:
        prompt = self._prompt(messages)
        with engine_errors(alone=self.alone):
            text = self.llm.invoke(prompt, stop=stop, **sampling)
        message = AIMessage(text, usage_metadata=self._usage(prompt, text))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _prompt(self, messages: list[BaseMessage]) -> str:
        chat = convert_to_openai_messages(messages)
        if any(not isinstance(message["content"], str) for message in chat):
            raise InvalidJob(f"content: {self.model_name} is asked with text alone here; use the backend 'vllm'")
        tokenizer = self.llm.client.get_tokenizer()
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        begins = tokenizer.encode("")[:1] == [
            tokenizer.bos_token_id
        ]  # vLLM will put it there, the template has done so
        return prompt.removeprefix(tokenizer.bos_token) if begins else prompt

    def _usage(self, prompt: str, text: str) -> UsageMetadata:
        read, written = (len(self.llm.client.get_tokenizer().encode(part)) for part in (prompt, text))
        return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


@contextmanager
def open_langchain_vllm(settings: Settings, *, alone: bool) -> Generator[LangchainVLLMChatModel]:
    """The chat model, for as long as the block lasts; see `pipeline.llm.open_llm`.

    Args:
        settings: as for `vllm`.
        alone: whether no other model answers in its place.

    Raises:
        InvalidSettings: langchain-community is not installed, or the engine does not start.
    """
    wrapper = _wrapper()
    build_engine_args(settings)  # for its checks, and its line in the log
    arguments = wrapper_arguments(engine_arguments(settings))
    mark_processes()
    with start_errors(settings):
        llm = wrapper(**arguments)
    llm.client.generate = functools.partial(llm.client.generate, use_tqdm=False)  # no bars in a worker's log
    model = LangchainVLLMChatModel(llm=llm, model_name=shown_name(arguments["model"]), alone=alone)
    with _death_told(llm.client.llm_engine.engine_core), closing(model):
        yield model


@contextmanager
def _death_told(core: Any) -> Generator[None]:
    """VLLM's client for one thread notes the death of its engine, and leaves who waits for an answer waiting for ever."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH_S):
            if core.resources.engine_dead:
                core.outputs_queue.put_nowait(EngineDeadError())
                return

    threading.Thread(target=watch, name="langchain-vllm-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def wrapper_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's arguments as the wrapper takes them: each once, by its own name or in `vllm_kwargs`."""
    own = {name: arguments[name] for name in _OWN if name in arguments}
    return own | {"vllm_kwargs": {name: value for name, value in arguments.items() if name not in own}}


def _wrapper() -> Any:
    with warnings.catch_warnings(), needs("langchain-community"):
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is archived; docs/dependencies.md says so
        from langchain_community.llms.vllm import VLLM  # noqa: PLC0415
    return VLLM
