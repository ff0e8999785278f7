"""A chat model over HTTP, whose client's errors become ours in one place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import SecretStr

from vidask.addresses import redacted
from vidask.errors import InvalidJob, ModelUnavailable, VidaskError

#: The statuses with which a server refuses this request and would refuse it again: too long, or a value out of range.
_REFUSED = (400, 413, 422)
#: Those with which it may take the same request later: too slow, in conflict, too early, too much.
_PASSING = (408, 409, 425, 429)
_ITS_OWN_FAULT = 500
_SHOWN_CHARS = 500


class RemoteChatModel(BaseChatModel):
    """Stands before a chat model of LangChain's in the list of bases."""

    #: What the client raises when a call fails.
    FAILURES: ClassVar[tuple[type[Exception], ...]]

    #: Whether the server's model reads pictures; no protocol says so, and `llm_vision` does.
    takes_images: bool = False

    @abstractmethod
    def _explain(self, failure: Exception) -> VidaskError:
        """The error to raise in its place; `explained` makes it."""

    @contextmanager
    def _our_errors(self) -> Generator[None]:
        try:
            yield
        except self.FAILURES as failure:
            raise self._explain(failure) from failure

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._our_errors():
            return super()._generate(messages, stop, run_manager, **kwargs)  # pyright: ignore[reportAbstractUsage]  the class behind

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._our_errors():
            return await super()._agenerate(messages, stop, run_manager, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with self._our_errors():
            yield from super()._stream(messages, stop, run_manager, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with self._our_errors():
            async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
                yield chunk


def bearer(api_key: SecretStr | None) -> dict[str, str]:
    """The header that shows a server the key, where there is one."""
    return {"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {}


def explained(url: str, status: int | None, reason: object) -> VidaskError:
    """The error of a call that failed.

    Args:
        url: the server's.
        status: what it answered with, None where it did not.
        reason: what it said, or the client.
    """
    said = " ".join(str(reason).split())[:_SHOWN_CHARS]
    if status in _REFUSED:
        return InvalidJob(f"{redacted(url)} refused the prompt: {said}")
    answered = "does not answer" if status is None else f"answered {status}"
    passes = status is None or status in _PASSING or status >= _ITS_OWN_FAULT
    message = f"{redacted(url)} {answered}: {said}; ask again when the language model's server works"
    return ModelUnavailable(message, passes=passes)
