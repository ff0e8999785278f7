"""MiniLM as the worker has it, over the same in sentence-transformers, in turn: how soon it is ready, and how fast it is.

Each has half the cores. The last figure is how fast it still is with one core busy with something else.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from langchain_core.embeddings import Embeddings

from benchmarks.figures import Figure, ratio
from pipeline.embeddings import MAX_BATCH, MINILM, load_embeddings, minilm_folder
from worker.embedded import child_process

_ROUNDS = 5
_SECONDS = 1.0
_QUESTION = "Why does a deep decision tree overfit the data that it saw?"
#: More tokens than the model takes.
_CHUNK = "Deep trees learn the training data by heart, so we prune what does not help on data held out. " * 13
_LOAD = "import sys; from pipeline.embeddings import load_embeddings; load_embeddings(sys.argv[1]).embed_query('Hello')"


def figures() -> Iterator[Figure]:
    folder = str(minilm_folder())  # a folder is for sentence-transformers
    ready = [_ready_s(MINILM) / _ready_s(folder) for _ in range(_ROUNDS)]
    yield ratio("minilm_ready_over_sentence_transformers", ready, "<=", 0.4)
    ours, theirs = load_embeddings(), load_embeddings(folder)
    for name, texts in (
        ("question", [_QUESTION]),
        ("questions", [_QUESTION] * MAX_BATCH),
        ("chunks", [_CHUNK] * MAX_BATCH),
    ):
        faster = [_per_s(ours, texts) / _per_s(theirs, texts) for _ in range(_ROUNDS)]
        yield ratio(f"minilm_{name}_per_s_over_sentence_transformers", faster, ">=", 1.5)
    beside = [_beside_busy_core(lambda: _per_s(ours, [_CHUNK] * MAX_BATCH)) for _ in range(_ROUNDS)]
    yield ratio("minilm_chunks_per_s_beside_a_busy_core_over_alone", beside, ">=", 0.5)


def _ready_s(model: str) -> float:
    """Until a process that starts has embedded its first text."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _LOAD, model], check=True, capture_output=True)
    return time.perf_counter() - begun


def _per_s(model: Embeddings, texts: list[str]) -> float:
    model.embed_documents(texts)
    begun, embedded = time.perf_counter(), 0
    while time.perf_counter() - begun < _SECONDS:
        model.embed_documents(texts)
        embedded += len(texts)
    return embedded / (time.perf_counter() - begun)


def _beside_busy_core(speed: Callable[[], float]) -> float:
    alone = speed()
    with child_process([sys.executable, "-c", "while True: pass"]):
        return speed() / alone
