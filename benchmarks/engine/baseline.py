"""What the three plain Celery baselines share: how they are configured, and how one question at a time is looked up and answered.

They are what one writes first: an embedding model behind a lock, because it is not made for threads, Chroma in the process, and
prompts as strings. They read the same index with the same code, and ask for the same prompts and lengths.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from benchmarks.engine.library import open_store
from benchmarks.engine.options import Options
from benchmarks.engine.prompts import Prompts
from benchmarks.engine.workload import ANSWER_TOKENS, REWRITING_TOKENS, TOP_K, Question
from pipeline import citations
from pipeline.embeddings import load_embeddings
from pipeline.store import ChromaStore

TASK = "benchmarks.answer"
#: Where a baseline's worker finds vLLM's server, and the model's name there.
SERVER_VARIABLE = "VIDASK_BENCHMARK_SERVER"
SERVED_MODEL = "model"

#: Writes a prompt's continuation, of so many tokens at most; returns it with the tokens read and written.
Write = Callable[[str, int], tuple[str, int, int]]


class Baseline:
    """Models and index of a baseline's worker, loaded at first use."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._stack = ExitStack()
        self._lock = threading.Lock()

    @cached_property
    def prompts(self) -> Prompts:
        """Renders chats."""
        return Prompts(self.options.model)

    @cached_property
    def embeddings(self) -> Embeddings:
        """MiniLM, as `load_embeddings` gives it."""
        return load_embeddings(device=self.options.embedding_device)

    @cached_property
    def store(self) -> ChromaStore:
        """The index."""
        return self._stack.enter_context(open_store(self.options))

    def load(self) -> None:
        """Have everything there before threads ask for it."""
        _ = self.prompts, self.embeddings, self.store

    def retrieve(self, question: str, video_id: str) -> list[Document]:
        """The excerpts for one question."""
        with self._lock:
            vector = self.embeddings.embed_query(question)
        return self.store.search("default", vector, video_ids=[video_id], top_k=TOP_K)

    def answer(self, question: Question, write: Write) -> dict[str, Any]:
        """The whole way of one question."""
        standalone, read, written = question.question, 0, 0
        if question.history:
            text, read, written = write(self.prompts.rewriting(question), REWRITING_TOKENS)
            standalone = text.strip() or standalone
        documents = self.retrieve(standalone, question.video_id)
        text, answer_read, answer_written = write(self.prompts.answer(standalone, documents), ANSWER_TOKENS)
        return reply(text, documents, read + answer_read, written + answer_written)


def reply(text: str, documents: list[Document], read: int, written: int) -> dict[str, Any]:
    """What a task returns: the checked answer, and the tokens that it took."""
    checked, cited = citations.check(text.strip(), documents)
    return {
        "text": checked,
        "citations": [citation.model_dump() for citation in cited],
        "prompt_tokens": read,
        "completion_tokens": written,
    }
