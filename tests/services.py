"""Services of workers without models, for the apps that tests start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, cast

import redis
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import Runnable

from config import Settings
from pipeline.chain import AnswerChain
from pipeline.chroma import open_chroma
from pipeline.kept_pictures import KeptPictures
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.loop import EventLoopThread
from pipeline.retriever import VideoRetriever
from pipeline.sights import PictureReader
from pipeline.store import ChromaStore
from vidask.models import Answer, AskJob
from worker.parts import Parts
from worker.services import Services, open_ledger, services_around

_NOTHING = cast("Any", None)


@contextmanager
def with_a_store(
    settings: Settings, read_by: Callable[[redis.Redis], PictureReader] | None = None
) -> Iterator[Services]:
    """A real Chroma, vectors and answers without a model; without a reader there are to be no pictures."""
    ledger = open_ledger(settings)
    with ExitStack() as stack:
        store = ChromaStore(stack.enter_context(open_chroma(settings)), embedding_model="fake")
        loop = stack.enter_context(closing(EventLoopThread("answers")))
        embeddings, llm = DeterministicFakeEmbedding(size=8), ExtractiveChatModel()
        readers, pictures = read_by(ledger.redis) if read_by else _NOTHING, KeptPictures(settings.pictures_path)
        chain = AnswerChain(llm, VideoRetriever(embeddings=embeddings, store=store), readers=readers, pictures=pictures)
        parts = Parts(embeddings, store, (llm,), readers, pictures)
        yield stack.enter_context(services_around(chain, loop, ledger, settings, parts))


@contextmanager
def answered_by(
    settings: Settings, chain_of: Callable[[redis.Redis], Runnable[AskJob, Answer]], embeddings: Any = _NOTHING
) -> Iterator[Services]:
    """A chain that reaches neither models nor store."""
    ledger = open_ledger(settings)
    parts = Parts(embeddings, _NOTHING, (_NOTHING,), _NOTHING, _NOTHING)
    with (
        closing(EventLoopThread("answers")) as loop,
        services_around(chain_of(ledger.redis), loop, ledger, settings, parts) as services,
    ):
        yield services
