"""Chunks and frames in Chroma, laid out so that a question costs the same however large the library is.

A metadata filter in Chroma costs time in proportion to everything in the database, so nothing here filters with one:

- each video has a collection of its own, which answers questions about given videos;
- each tenant has one collection with all of them, which answers questions across all of them;
- a time range takes more candidates than asked for, until enough of them overlap it.

The names of collections are derived in one place, from the tenant and the video, and no call reaches past its tenant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.models.Collection import Collection
from chromadb.errors import NotFoundError
from langchain_core.documents import Document

from pipeline.chroma_errors import ChromaErrors
from pipeline.documents import digest
from pipeline.retrying import STORE, Patience
from vidask.errors import StoreUnavailable, UnknownVideo

Vector = Sequence[float]

#: Chroma writes a collection's index to disk after this many changes, by default 1,000. A video has fewer chunks than that, and
#: with the default the first query of each grew with the library; with this one it does not (`docs/benchmarks.md`).
_SYNC_THRESHOLD = 100
#: Collections that are kept open for searching; a handle is small, and they are looked up anew when there are more.
_MAX_OPENED = 10_000
_UPSERT_BATCH = 1_000
_WIDEN = 4
_METADATA = "chunk"


class ChromaStore:
    """The chunks of all tenants; frames are kept in the same way, and meant by the word here.

    A change is tried again while Chroma is away. A search is one attempt: only who asks knows how to wait.

    Attributes:
        patience: with which to search; `pipeline.retriever` does.

    Args:
        client: an open Chroma client (see `pipeline.chroma`).
        embedding_model: name of the model that makes the vectors; a collection that holds another's is refused.
        patience: for how long a change is tried.
    """

    def __init__(self, client: ClientAPI, *, embedding_model: str, patience: Patience = STORE) -> None:
        self.patience = patience
        self._client = client
        self._embedding_model = embedding_model
        self._errors = ChromaErrors(client.get_settings())
        self._opened: dict[str, Collection] = {}

    def replace(
        self,
        tenant: str,
        video_id: str,
        documents: Sequence[Document],
        vectors: Sequence[Vector],
        *,
        replaced: Callable[[str], bool] = lambda _: True,
        on_progress: Callable[[], object] = lambda: None,
    ) -> int:
        """Keep `documents` of the video in the place of those whose ids are `replaced`; returns how many chunks are gone.

        `on_progress` is called before each thousand of them, and before each attempt.
        Whatever the tenant's collection holds of the video, its own holds as well, at every moment: chunks come there first and go
        there last. So after a crash the next change, be it this one again or another, knows what is still to be removed.

        Raises:
            StoreUnavailable: Chroma does not answer or cannot write, or the vectors do not fit.
        """

        def attempt() -> int:
            on_progress()
            with self._errors:
                return self._replace(tenant, video_id, documents, vectors, replaced, on_progress)

        return self.patience.call(attempt)

    def documents(self, tenant: str, video_id: str) -> list[Document]:
        """All that is kept of the video, in no order; nothing where it is not indexed.

        Raises:
            StoreUnavailable: Chroma does not answer, or holds another model's vectors.
        """

        def attempt() -> list[Document]:
            with self._errors:
                own = self._find(_own(tenant, video_id))
                return [] if own is None else _all(own)

        return self.patience.call(attempt)

    def forget(self, tenant: str, video_id: str) -> int:
        """Remove all that is kept of the video; returns how many chunks that were.

        Raises:
            StoreUnavailable: Chroma does not answer or cannot write, or holds another model's vectors.
        """

        def attempt() -> int:
            with self._errors:
                return self._forget(tenant, video_id)

        return self.patience.call(attempt)

    def search(
        self,
        tenant: str,
        vector: Vector,
        *,
        video_ids: Sequence[str] = (),
        start_s: float | None = None,
        end_s: float | None = None,
        top_k: int = 6,
    ) -> list[Document]:
        """The `top_k` nearest chunks, nearest first, of the given videos or of all the tenant's.

        Args:
            tenant: whose chunks; no others are ever looked at.
            vector: of the question, of length 1.
            video_ids: the videos, all of the tenant's where none is named.
            start_s: only chunks that begin then, or are still being said after this time, in seconds.
            end_s: only chunks that begin before this time, in seconds.
            top_k: how many.

        Raises:
            UnknownVideo: a video is not indexed for this tenant, or nothing is.
            StoreUnavailable: Chroma does not answer, or its vectors do not fit.
        """

        def wanted(document: Document) -> bool:
            after = start_s is None or document.metadata["end_s"] > start_s or document.metadata["start_s"] >= start_s
            return after and (end_s is None or document.metadata["start_s"] < end_s)

        limited = start_s is not None or end_s is not None

        def look() -> list[tuple[float, Document]]:
            return [
                scored
                for collection in self._searched(tenant, video_ids)
                for scored in _nearest(collection, vector, top_k, wanted if limited else None)
            ]

        with self._errors:
            try:
                found = look()
            except NotFoundError:  # a video was forgotten, and perhaps indexed anew, since its collection was opened
                self._opened.clear()
                found = look()
        found.sort(key=lambda scored: scored[0])
        return [document for _, document in found[:top_k]]

    def _replace(
        self,
        tenant: str,
        video_id: str,
        documents: Sequence[Document],
        vectors: Sequence[Vector],
        replaced: Callable[[str], bool],
        on_progress: Callable[[], object],
    ) -> int:
        self._errors.check_room()
        ids = [cast("str", document.id) for document in documents]
        if not ids and self._find(_own(tenant, video_id)) is None:
            return 0  # an empty collection would make the video one that is indexed
        own, library = self._make(_own(tenant, video_id)), self._make(_library(tenant))
        stale = sorted(set(filter(replaced, own.get(include=[])["ids"])) - set(ids))
        for collection in (own, library):
            for part in _parts(len(ids)):
                on_progress()
                self._errors.check_room()
                _add(collection, documents[part], vectors[part])
        for collection in (library, own):
            _delete(collection, stale)
        return len(stale)

    def _forget(self, tenant: str, video_id: str) -> int:
        self._errors.check_room()
        own = self._find(_own(tenant, video_id))
        if own is None:
            return 0
        ids = own.get(include=[])["ids"]
        if (library := self._find(_library(tenant))) is not None:
            _delete(library, ids)
        self._client.delete_collection(own.name)
        return len(ids)

    def _searched(self, tenant: str, video_ids: Sequence[str]) -> Iterator[Collection]:
        if not video_ids:
            library = self._open(_library(tenant))
            if library is None:
                raise UnknownVideo(f"nothing is indexed for tenant {tenant!r}; index a transcript first")
            yield library
        for video_id in dict.fromkeys(video_ids):
            own = self._open(_own(tenant, video_id))
            if own is None:
                msg = f"video {video_id!r} is not indexed for tenant {tenant!r}; index its transcript first"
                raise UnknownVideo(msg)
            yield own

    def _open(self, name: str) -> Collection | None:
        """A collection to search in. Looking it up costs more than searching it, so it stays open."""
        collection = self._opened.get(name) or self._find(name)
        if collection is not None:
            if len(self._opened) >= _MAX_OPENED:
                self._opened.clear()
            self._opened[name] = collection
        return collection

    def _find(self, name: str) -> Collection | None:
        try:
            collection = self._client.get_collection(name, embedding_function=None)
        except NotFoundError:
            return None
        self._check_model(collection)
        return collection

    def _make(self, name: str) -> Collection:
        collection = self._client.get_or_create_collection(
            name,
            embedding_function=None,
            metadata={"embedding_model": self._embedding_model},
            configuration={
                "hnsw": {"space": "cosine", "sync_threshold": _SYNC_THRESHOLD, "batch_size": _SYNC_THRESHOLD}
            },
        )
        self._check_model(collection)
        return collection

    def _check_model(self, collection: Collection) -> None:
        made_with = (collection.metadata or {}).get("embedding_model")
        if made_with != self._embedding_model:
            msg = (
                f"the store holds vectors of embedding model {made_with!r}, this worker has {self._embedding_model!r}; "
                "set VIDASK_EMBEDDING_MODEL back, or index into another folder or database"
            )
            raise StoreUnavailable(msg, passes=False)


def _own(tenant: str, video_id: str) -> str:
    """The collection of one video. Digests, because a name in Chroma takes fewer characters than a tenant or a video may have."""
    return f"video-{digest(tenant)}-{digest(video_id)}"


def _library(tenant: str) -> str:
    """The collection of all of a tenant's chunks."""
    return f"tenant-{digest(tenant)}"


def _nearest(
    collection: Collection, vector: Vector, top_k: int, wanted: Callable[[Document], bool] | None
) -> list[tuple[float, Document]]:
    """Up to `top_k` nearest that are wanted, with their distances; looks further until there are enough or there is no more."""
    if wanted is None:
        return _query(collection, vector, top_k)
    size, looked_at = collection.count(), top_k * _WIDEN
    while True:
        found = [scored for scored in _query(collection, vector, min(looked_at, size)) if wanted(scored[1])]
        if len(found) >= top_k or looked_at >= size:
            return found[:top_k]
        looked_at *= _WIDEN


def _query(collection: Collection, vector: Vector, n: int) -> list[tuple[float, Document]]:
    """The `n` nearest, or all where there are fewer.

    The index is a graph that need not lead to everything in it: not to each of many that are alike, nor to all after many changes.
    """
    if n == 0:
        return []
    reply = cast(
        "dict[str, Any]",
        collection.query(
            query_embeddings=cast("Any", [vector]), n_results=n, include=["distances", "documents", "metadatas"]
        ),
    )
    rows = zip(reply["ids"][0], reply["distances"][0], reply["documents"][0], reply["metadatas"][0], strict=True)
    found = [(distance, _unpacked(id_, text, meta)) for id_, distance, text, meta in rows]
    return found if len(found) == n or len(found) == collection.count() else _measure_all(collection, vector)[:n]


def _measure_all(collection: Collection, vector: Vector) -> list[tuple[float, Document]]:
    """All there is, nearest first, without the index."""
    kept = cast("dict[str, Any]", collection.get(include=["documents", "metadatas", "embeddings"]))
    cosines = kept["embeddings"] @ np.asarray(vector) / np.linalg.norm(kept["embeddings"], axis=1)
    rows = zip(1 - cosines / np.linalg.norm(vector), kept["ids"], kept["documents"], kept["metadatas"], strict=True)
    measured = [(float(distance), _unpacked(id_, text, meta)) for distance, id_, text, meta in rows]
    return sorted(measured, key=lambda scored: scored[0])


def _all(collection: Collection) -> list[Document]:
    kept = cast("dict[str, Any]", collection.get(include=["documents", "metadatas"]))
    rows = zip(kept["ids"], kept["documents"], kept["metadatas"], strict=True)
    return [_unpacked(id_, text, meta) for id_, text, meta in rows]


def _packed(document: Document) -> dict[str, str]:
    """All metadata in one value: Chroma keeps a row for each, and nothing is ever filtered by them."""
    return {_METADATA: json.dumps(document.metadata, ensure_ascii=False, separators=(",", ":"))}


def _unpacked(id_: str, text: str, meta: dict[str, str]) -> Document:
    return Document(id=id_, page_content=text, metadata=json.loads(meta[_METADATA]))


def _add(collection: Collection, documents: Sequence[Document], vectors: Sequence[Vector]) -> None:
    """Those that are not there yet. An id tells the content, so the others are as they should be.

    Writing them again costs as much as at first, and tears holes into the index (`docs/benchmarks.md`).
    """
    there = set(collection.get(ids=[cast("str", document.id) for document in documents], include=[])["ids"])
    new = [pair for pair in zip(documents, vectors, strict=True) if pair[0].id not in there]
    if not new:
        return
    collection.upsert(
        ids=[cast("str", document.id) for document, _ in new],
        embeddings=cast("Any", [vector for _, vector in new]),
        documents=[document.page_content for document, _ in new],
        metadatas=[_packed(document) for document, _ in new],
    )


def _delete(collection: Collection, ids: Sequence[str]) -> None:
    for part in _parts(len(ids)):
        collection.delete(ids=list(ids[part]))


def _parts(length: int) -> Iterator[slice]:
    return (slice(at, at + _UPSERT_BATCH) for at in range(0, length, _UPSERT_BATCH))
