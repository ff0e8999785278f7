"""An embedding model in a process of its own.

torch takes the interpreter's lock hundreds of times for one batch. In the worker's process each time would wait for whatever thread
has it, and the loop that feeds the engine would wait in turn (`docs/benchmarks.md` says how much that costs).
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from pipeline.children import end_with_parent, leave_process_group
from pipeline.embeddings import load_embeddings
from vidask.errors import InvalidSettings, ModelDied

_END_S = 10.0


class EmbeddingProcess(Embeddings):
    """`load_embeddings` of the same arguments, elsewhere: it loads while this process goes on, until `wait_ready`.

    For one thread: `GatheredEmbeddings` stands before it, and gathers the texts of the others.
    """

    def __init__(self, model: str, *, device: str) -> None:
        spawn = multiprocessing.get_context("spawn")  # torch does not survive a fork
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, model, device), name="embeddings", daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed here as the end of the pipe

    def wait_ready(self) -> None:
        """Wait until the model is loaded.

        Raises:
            InvalidSettings: there is no such model, or it cannot be loaded.
        """
        if isinstance(answer := self._receive(), InvalidSettings):
            raise answer

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text, in their order.

        Raises:
            ModelDied: the process has ended.
        """
        try:
            self._pipe.send(texts)
        except OSError as error:
            raise self._died() from error
        vectors: np.ndarray = self._receive()
        return vectors.tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """End the process."""
        self._process.terminate()  # it has nothing to put in order
        self._process.join(_END_S)
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _died(self) -> ModelDied:
        self._process.join(_END_S)
        return ModelDied(f"the embedding model's process has ended (exit status {self._process.exitcode})")


def _serve(pipe: Connection, model: str, device: str) -> None:
    """The process: load, then embed what comes until nobody is there to send."""
    leave_process_group()
    end_with_parent()
    # torch's threads otherwise wait for each other by spinning, and take from the engine several times the CPU that they use.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        embeddings = load_embeddings(model, device=device)
    except InvalidSettings as error:
        pipe.send(error)
        return
    pipe.send(None)
    while texts := _next(pipe):
        pipe.send(np.asarray(embeddings.embed_documents(texts), dtype=np.float32))


def _next(pipe: Connection) -> list[str] | None:
    try:
        return pipe.recv()
    except EOFError:
        return None
