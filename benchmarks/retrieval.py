"""Retrieval restricted to one video, in a library of 60,000 chunks over one of 2,000."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document

from benchmarks.figures import Figure, ratio
from config import Settings
from pipeline.chroma import open_chroma
from pipeline.store import ChromaStore

_CHUNKS_A_VIDEO = 200
_SMALL, _LARGE = 10, 300
_DIMENSIONS = 384
_ROUNDS = 5
_QUERIES = 300
_TEXT = "The learning rate decides how far each step goes. " * 8


def figures() -> Iterator[Figure]:
    numbers = np.random.default_rng(0)
    with ExitStack() as stack:
        small, large = (_library(stack, videos, numbers) for videos in (_SMALL, _LARGE))
        first = [
            _median_s(store, videos, numbers) for store, videos in ((small, range(_SMALL)), (large, range(_LARGE)))
        ]
        yield Figure(
            "retrieval_first_touch_60000_over_2000", first[1] / first[0], "<=", 1.5, f"{first[1] * 1000:.1f} ms"
        )
        for name, limits in (("retrieval", {}), ("retrieval_time_range", {"start_s": 300.0, "end_s": 600.0})):
            ratios = []
            for _ in range(_ROUNDS):
                small_s = _median_s(small, random.choices(range(_SMALL), k=_QUERIES), numbers, **limits)  # noqa: S311
                large_s = _median_s(large, random.choices(range(_LARGE), k=_QUERIES), numbers, **limits)  # noqa: S311
                ratios.append(large_s / small_s)
            yield ratio(f"{name}_60000_over_2000", ratios, "<=", 1.5)


def _library(stack: ExitStack, videos: int, numbers: np.random.Generator) -> ChromaStore:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidask-bench-")))
    client = stack.enter_context(open_chroma(Settings(chroma_path=folder)))
    store = ChromaStore(client, embedding_model="made-up")
    for video in range(videos):
        vectors = _vectors(numbers, _CHUNKS_A_VIDEO)
        store.replace(
            "default", _name(video), [_chunk(video, position) for position in range(_CHUNKS_A_VIDEO)], vectors
        )
    return store


def _chunk(video: int, position: int) -> Document:
    meta = {"video_id": _name(video), "kind": "transcript", "start_s": position * 20.0, "end_s": position * 20.0 + 20}
    return Document(
        id=f"{video}-{position}",
        page_content=_TEXT,
        metadata={**meta, "cues": [[position * 20.0, position * 20.0 + 20, 0]] * 6},
    )


def _median_s(store: ChromaStore, videos: range | list[int], numbers: np.random.Generator, **limits: Any) -> float:
    took = []
    for video, vector in zip(videos, _vectors(numbers, len(videos)), strict=True):
        begun = time.perf_counter()
        store.search("default", vector, video_ids=[_name(video)], **limits)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _vectors(numbers: np.random.Generator, n: int) -> list[list[float]]:
    raw = numbers.normal(size=(n, _DIMENSIONS))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).tolist()


def _name(video: int) -> str:
    return f"video {video}"
