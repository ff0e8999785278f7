"""Asking a chat model for a text that somebody may want to read while it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig

from pipeline.retrying import MODEL
from vidask.errors import ModelUnavailable


class Reader(Protocol):
    """Who may read along."""

    @property
    def wanted(self) -> bool:
        """Whether somebody does."""
        ...

    def when_wanted(self, tell: Callable[[], object] | None) -> None:
        """Have this called, once, on the loop of who asks, when somebody does; None takes that back."""

    def write(self, text: str) -> None:
        """Take the next piece of the text; does not wait."""

    def start_over(self) -> None:
        """Forget the text so far, if there is any: another one comes."""


class Filter(Protocol):
    """Changes a text on its way, piece by piece."""

    def feed(self, delta: str) -> str:
        """What can be said of the text now that this has come."""
        ...

    def end(self) -> str:
        """The rest."""
        ...


@dataclass(frozen=True)
class Ask:
    """One call of a chat model."""

    llm: BaseChatModel
    messages: Sequence[BaseMessage]
    config: RunnableConfig | None
    arguments: Mapping[str, Any]

    async def whole(self) -> AIMessage:
        """The reply, in one piece: what costs least, and what almost every job wants."""
        return await MODEL.acall(self._whole)

    async def read_by(self, reader: Reader, shown: Callable[[], Filter]) -> AIMessage:
        """The reply; the reader gets the text as it comes, through a filter that is made anew for each attempt.

        Who joins in the middle has the model begin again, which for an engine with a prefix cache is the answer's tokens so far.
        The other way round, every answer would be decoded piece by piece in case somebody comes.
        """

        async def attempt() -> AIMessage:
            if not reader.wanted and (reply := await self._whole_unless_wanted(reader)) is not None:
                return reply
            return await self._in_pieces(reader, shown())

        return await MODEL.acall(attempt)

    async def _whole(self) -> AIMessage:
        return await self.llm.ainvoke(list(self.messages), self.config, **self.arguments)

    async def _whole_unless_wanted(self, reader: Reader) -> AIMessage | None:
        """No task of its own for whoever may come: almost nobody does, and each turn of the loop costs every job."""
        unwanted, loop = asyncio.timeout(None), asyncio.get_running_loop()
        reader.when_wanted(lambda: unwanted.reschedule(loop.time()))
        try:
            async with unwanted:
                return await self._whole()
        except TimeoutError:
            if not unwanted.expired():
                raise
            return None
        finally:
            reader.when_wanted(None)

    async def _in_pieces(self, reader: Reader, shown: Filter) -> AIMessage:
        reply: AIMessageChunk | None = None
        written = False
        try:
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    reply = chunk if reply is None else reply + chunk
                    if text := shown.feed(chunk.text):
                        reader.write(text)
                        written = True
        except ModelUnavailable as error:
            error.passes &= not written  # what somebody has read cannot be begun again
            raise
        if rest := shown.end():
            reader.write(rest)
        return reply or AIMessage("")

    def _chunks(self) -> AsyncGenerator[AIMessageChunk, None]:
        return cast("Any", self.llm.astream(list(self.messages), self.config, **self.arguments))
