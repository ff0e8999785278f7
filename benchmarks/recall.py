"""How many of the truly nearest chunks are found, after videos were indexed again, changed and forgotten."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document

from benchmarks.figures import Figure
from config import Settings
from pipeline.chroma import open_chroma
from pipeline.store import ChromaStore

_LONG, _SHORT, _VIDEOS = 4_000, 150, 40
_AGAIN = 3
_QUESTIONS, _TOP_K = 200, 6
_CHUNK_S, _STRETCH = 10.0, 20
_TOPICS, _DIMENSIONS = 12, 384
#: How far from its topic a chunk lies, and how far from a chunk a question, over the distance of two topics.
_SPREAD, _ASIDE = 0.9, 0.7


class Talks:
    """Videos whose chunks lie around topics, one topic after the other, in a store and in memory."""

    def __init__(self, store: ChromaStore) -> None:
        self.store = store
        self.vectors: dict[str, np.ndarray] = {}
        self._versions: dict[str, int] = {}
        self._numbers = np.random.default_rng(1)

    def change(self, video: str, chunks: int) -> None:
        """Make it another talk, which `index` then puts in the place of the former."""
        topics = self._unit((_TOPICS, _DIMENSIONS))
        spoken = topics[np.sort(self._numbers.integers(0, _TOPICS, chunks))]
        self.vectors[video] = self._near(spoken, _SPREAD)
        self._versions[video] = self._versions.get(video, 0) + 1

    def index(self, video: str) -> None:
        """Put it into the store as it is now."""
        vectors = self.vectors[video]
        chunks = [_chunk(video, self._versions[video], position) for position in range(len(vectors))]
        self.store.replace("default", video, chunks, vectors.tolist())

    def forget(self, video: str) -> None:
        """Take it out of both."""
        self.store.forget("default", video)
        del self.vectors[video]

    def recall(self, videos: Sequence[str] = (), stretch: int = 0) -> float:
        """Share of the `_TOP_K` nearest that are found, of the videos or of all; in stretches of so many chunks, where given."""
        asked = {video: self.vectors[video] for video in videos or self.vectors}
        return float(np.mean([self._found(asked, videos, stretch) for _ in range(_QUESTIONS)]))

    def _found(self, asked: Mapping[str, np.ndarray], videos: Sequence[str], stretch: int) -> float:
        every = np.concatenate(list(asked.values()))
        names = [f"{video}-{position}" for video, vectors in asked.items() for position in range(len(vectors))]
        question = self._near(every[self._numbers.integers(len(every))], _ASIDE)
        first = int(self._numbers.integers(len(every) - stretch)) if stretch else 0
        limits: dict[str, Any] = {"start_s": first * _CHUNK_S, "end_s": (first + stretch) * _CHUNK_S} if stretch else {}
        allowed = np.arange(len(every))[first : first + stretch if stretch else None]
        nearest = allowed[np.argsort(-(every[allowed] @ question))[:_TOP_K]]
        found = self.store.search("default", question.tolist(), video_ids=videos, top_k=_TOP_K, **limits)
        return len({names[at] for at in nearest} & {document.page_content for document in found}) / _TOP_K

    def _near(self, vectors: np.ndarray, far: float) -> np.ndarray:
        moved = vectors + far * self._unit(vectors.shape)
        return moved / np.linalg.norm(moved, axis=-1, keepdims=True)

    def _unit(self, shape: tuple[int, ...]) -> np.ndarray:
        raw = self._numbers.normal(size=shape)
        return raw / np.linalg.norm(raw, axis=-1, keepdims=True)


def figures() -> Iterator[Figure]:
    folder = tempfile.TemporaryDirectory(prefix="vidask-bench-")
    with folder as path, open_chroma(Settings(chroma_path=Path(path))) as client:
        talks = Talks(ChromaStore(client, embedding_model="made-up"))
        yield from _of_a_long_video(talks)
        yield from _of_a_library(talks)


def _of_a_long_video(talks: Talks) -> Iterator[Figure]:
    talks.change("long", _LONG)
    talks.index("long")
    for what in ("again", "changed"):
        for _ in range(_AGAIN):
            if what == "changed":
                talks.change("long", _LONG)
            talks.index("long")
        yield Figure(f"recall_of_a_video_indexed_{what}", talks.recall(["long"]), ">=", 0.98, f"{_AGAIN} times")
        in_stretches = talks.recall(["long"], _STRETCH)
        yield Figure(f"recall_in_a_stretch_of_it_indexed_{what}", in_stretches, ">=", 0.98, f"{_AGAIN} times")
    talks.forget("long")


def _of_a_library(talks: Talks) -> Iterator[Figure]:
    videos = [f"talk-{number}" for number in range(_VIDEOS)]
    for changed in (False, True):
        for _ in range(_AGAIN):
            for video in videos:
                if changed or video not in talks.vectors:
                    talks.change(video, _SHORT)
                talks.index(video)
        what = "changed" if changed else "again"
        yield Figure(f"recall_in_a_library_indexed_{what}", talks.recall(), ">=", 0.98, f"{_AGAIN} times")


def _chunk(video: str, version: int, position: int) -> Document:
    begins_s = position * _CHUNK_S
    meta = {"video_id": video, "kind": "transcript", "start_s": begins_s, "end_s": begins_s + _CHUNK_S}
    return Document(
        id=f"{video}-{position}-{version}",
        page_content=f"{video}-{position}",
        metadata={**meta, "cues": [[begins_s, begins_s + _CHUNK_S, 0]]},
    )
