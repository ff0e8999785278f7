"""Frames of a video in a real store, without Redis and Celery: what the tests of `pipeline.frames` share."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig

from pipeline.documents import is_frame
from pipeline.frames import Places, PreparedFrames, prepare_frames
from pipeline.indexing import PreparedTranscript
from pipeline.kept_pictures import KeptPictures
from pipeline.store import ChromaStore
from tests.frames import BLIND, Readers, Slides, Words, sha256
from tests.support import LECTURE
from vidask.models import FramesReport, IndexTranscriptJob

TALK = Slides((0.0, "Decision trees\nAsk one question after another"), (30.0, "Pruning\nHeld-out error: 0.12"))


class Video:
    """The frames and the transcript of a video, in a real store."""

    def __init__(self, folder: Path, store: ChromaStore) -> None:
        self.pictures = KeptPictures(folder)
        self.store = store

    def index(self, slides: Slides, llm: BaseChatModel = BLIND, **fields: Any) -> FramesReport:
        return prepared(slides, llm, **fields).store(self.store, self.pictures)

    def index_transcript(self) -> None:
        job = IndexTranscriptJob(tenant="acme", video_id="talk", text=LECTURE)
        PreparedTranscript(job, Words()).store(self.store)

    def find(self, question: str, **limits: Any) -> list[str]:
        found = self.store.search("acme", Words().embed_query(question), video_ids=["talk"], **limits)
        return [document.page_content for document in found]

    def spans(self) -> list[tuple[float, float]]:
        kept = filter(is_frame, self.store.documents("acme", "talk"))
        return sorted((frame.metadata["start_s"], frame.metadata["end_s"]) for frame in kept)

    def titles(self) -> list[str]:
        kept = filter(is_frame, self.store.documents("acme", "talk"))
        return sorted(frame.page_content.splitlines()[0] for frame in kept)

    def keeps(self, text: str) -> bool:
        return self.pictures.load("acme", "talk", sha256(text.encode())) == b"small " + text.encode()


def prepared(slides: Slides, llm: BaseChatModel = BLIND, **fields: Any) -> PreparedFrames:
    return asyncio.run(preparing(slides, llm, **fields))


async def preparing(
    slides: Slides,
    llm: BaseChatModel = BLIND,
    *,
    readers: Readers | None = None,
    embeddings: Embeddings | None = None,
    done: list[int] | None = None,
    places: Places | None = None,
    config: RunnableConfig | None = None,
    **fields: Any,
) -> PreparedFrames:
    return await prepare_frames(
        slides.job(**fields),
        fetch=slides.fetch,
        readers=readers or Readers(),
        llm=llm,
        embeddings=embeddings or Words(),
        places=places,
        on_progress=(done if done is not None else []).append,
        config=config,
    )
