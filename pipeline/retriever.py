"""A LangChain retriever over the chunks of one tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from pipeline.documents import in_order
from pipeline.store import ChromaStore
from vidask.errors import StoreUnavailable

T = TypeVar("T")


class VideoRetriever(BaseRetriever):
    """Embeds a question and finds the chunks nearest to it.

    `retriever.invoke(question, tenant=…, video_ids=[…], start_s=…, end_s=…, top_k=…)` returns documents with the metadata
    that `pipeline.documents` describes, in the order in which they are said; all but the tenant may be left out. While Chroma is
    away it waits, as patiently as the store.

    Not nearest first: of many questions on one video, far more prompts then begin alike, and an engine's prefix cache has the
    beginning already (`docs/benchmarks.md`). How near each is, `rank` says.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    embeddings: Embeddings
    store: ChromaStore

    # The tenant has no default on purpose: no search without saying whose.
    def _get_relevant_documents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002  LangChain hands it over
        tenant: str,
        video_ids: Sequence[str] = (),
        **limits: Any,
    ) -> list[Document]:
        vector = self.embeddings.embed_query(query)
        search = partial(self.store.search, tenant, vector, video_ids=video_ids, **limits)
        return in_order(self.store.patience.call(search))

    async def _aget_relevant_documents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002
        tenant: str,
        video_ids: Sequence[str] = (),
        **limits: Any,
    ) -> list[Document]:
        vector = await self.embeddings.aembed_query(query)
        search = partial(self.store.search, tenant, vector, video_ids=video_ids, **limits)
        return in_order(await self.store.patience.acall(lambda: _in_time(search, self.store.patience.for_s)))


async def _in_time(search: Callable[[], T], limit_s: float) -> T:
    """Search in another thread, and leave it there where Chroma hangs: nobody waits for it any more."""
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await asyncio.to_thread(search)
    except TimeoutError:
        if not limit.expired():
            raise
        raise StoreUnavailable(
            f"Chroma hangs: it has not answered a search for {limit_s:g} s; start it again"
        ) from None
