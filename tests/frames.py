"""Frames whose picture is the text that stands on them, and models that look at them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from pipeline.documents import frame_document
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.pictures import ReadPicture
from vidask.errors import InvalidFrame
from vidask.models import FrameRef, IndexFramesJob

UNREADABLE = "unreadable"
NO_PICTURE = "this is no picture; send JPEG, PNG or WebP"
EXPIRED = "the picture has expired; send it again"
_DIMENSIONS = 512


def on_slide(
    text: str, start_s: float = 10.0, end_s: float = 20.0, caption: str = "", video_id: str = "talk"
) -> Document:
    """The document of a slide."""
    picture = sha256(text.encode())
    return frame_document(video_id, start_s=start_s, end_s=end_s, picture=picture, caption=caption, text=text)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pictures_in(messages: Sequence[BaseMessage]) -> list[bytes]:
    """What a model is shown, in its order."""
    parts: list[Any] = messages[-1].content if isinstance(messages[-1].content, list) else []
    return [base64.b64decode(part["base64"]) for part in parts if part["type"] == "image"]


class Slides:
    """A list of slides with their times, kept where a producer leaves them."""

    def __init__(self, *slides: tuple[float, str], expired: tuple[float, ...] = ()) -> None:
        self._slides = slides
        self._blobs = {sha256(text.encode()): text.encode() for _, text in slides}
        self._expired = expired
        self.fetching = 0
        self.most_fetching = 0

    def job(self, **fields: Any) -> IndexFramesJob:
        frames = tuple(FrameRef(time_s=time_s, sha256=sha256(text.encode())) for time_s, text in self._slides)
        return IndexFramesJob(**{"video_id": "talk", "tenant": "acme", "frames": frames, **fields})

    async def fetch(self, frame: FrameRef) -> bytes:
        self.fetching += 1
        self.most_fetching = max(self.most_fetching, self.fetching)
        await asyncio.sleep(0)
        self.fetching -= 1
        if frame.time_s in self._expired:
            raise InvalidFrame(EXPIRED)
        return self._blobs[frame.sha256 or ""]


class Readers:
    """Reads what stands on pictures that are nothing else; counts how often."""

    def __init__(self) -> None:
        self.read_pictures: list[bytes] = []

    async def read(self, data: bytes, *, asked: bool = False) -> ReadPicture:  # noqa: ARG002  all at once here
        await asyncio.sleep(0)
        if data.decode() == UNREADABLE:
            raise InvalidFrame(NO_PICTURE)
        self.read_pictures.append(data)
        return ReadPicture(text=data.decode(), jpeg=b"jpeg " + data, small=b"small " + data, width=640, height=360)


class Viewer(BaseChatModel):
    """A vision model: says what it was told to say, or what it is asked for with `answers`; remembers what it was shown."""

    takes_images: bool = True
    max_images: int | None = None
    answers: Callable[[list[BaseMessage]], Awaitable[str]] | None = None
    prompts: list[list[BaseMessage]] = Field(default_factory=list)
    asked_with: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "viewer"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return asyncio.run(self._agenerate(messages))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002  LangChain's signature
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        self.prompts.append(messages)
        self.asked_with.append(run_manager.metadata if run_manager else {})
        text = await self.answers(messages) if self.answers else "A diagram of a tree."
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


BLIND = ExtractiveChatModel()


class Words(Embeddings):
    """Texts are near to each other that share words."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = [0.0] * _DIMENSIONS
        for word in re.findall(r"\w+", text.lower()):
            vector[int(sha256(word.encode()), 16) % _DIMENSIONS] += 1.0
        length = sum(number * number for number in vector) ** 0.5 or 1.0
        return [number / length for number in vector]
