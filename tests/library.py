"""A store to be spoken to in chunks that lie at an angle to the question."""

from __future__ import annotations

import math
from typing import Any

from chromadb.api import ClientAPI
from langchain_core.documents import Document
from langchain_core.embeddings import FakeEmbeddings

from pipeline.retrying import Patience
from pipeline.store import ChromaStore

#: Gives up soon; and tries for as long as a busy machine needs.
SHORT = Patience(for_s=0.5, pause_s=0.01)
QUICK = Patience(for_s=20.0, pause_s=0.01)
#: A question lies at 0 degrees; what lies nearer to that is nearer to the question.
QUESTION = [1.0, 0.0]


def chunk(name: str, degrees: float, start_s: float = 0.0, video_id: str = "talk") -> tuple[Document, list[float]]:
    end_s = start_s + 1
    meta = {"video_id": video_id, "start_s": start_s, "end_s": end_s, "cues": [[start_s, end_s, 0]]}
    vector = [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]
    return Document(id=f"{video_id}-{name}", page_content=f"{name} is said", metadata=meta), vector


def names(documents: list[Document]) -> list[str]:
    return [document.page_content.removesuffix(" is said") for document in documents]


class Library:
    """A store, spoken to in chunks."""

    def __init__(self, client: ClientAPI, patience: Patience = QUICK) -> None:
        self.client = client
        self.store = ChromaStore(client, embedding_model="model-a", patience=patience)

    def put(self, *chunks: tuple[Document, list[float]], video_id: str = "talk", tenant: str = "acme") -> int:
        documents, vectors = [document for document, _ in chunks], [vector for _, vector in chunks]
        return self.store.replace(tenant, video_id, documents, vectors)

    def find(self, *video_ids: str, tenant: str = "acme", top_k: int = 50, **limits: Any) -> list[str]:
        return names(self.store.search(tenant, QUESTION, video_ids=video_ids, top_k=top_k, **limits))

    def everywhere(self) -> list[list[str]]:
        """What a question to the video finds, and one to all videos."""
        return [self.find("talk"), self.find()]


class AlwaysTheQuestion(FakeEmbeddings):
    """Embeds every question where the question lies."""

    def embed_query(self, text: str) -> list[float]:  # noqa: ARG002  whatever is asked
        return QUESTION
