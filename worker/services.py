"""What the tasks work with, built once before the first job: Redis, Chroma, the models, the chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable

from config import Settings
from pipeline.chain import answer_chain
from pipeline.chroma import open_chroma
from pipeline.embeddings import GatheredEmbeddings, load_embeddings
from pipeline.llm import load_llm
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from vidask.connection import connect, queue_errors
from vidask.ledger import Ledger
from vidask.models import Answer, AskJob
from worker.claims import Claims
from worker.videos import Videos


@dataclass(frozen=True)
class Services:
    """One of each in a worker's process, shared by its threads."""

    ledger: Ledger
    claims: Claims
    videos: Videos
    embeddings: Embeddings
    store: ChromaStore
    chain: Runnable[AskJob, Answer]


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Build everything, the quickest to fail first.

    Raises:
        VidaskError: one line that says what is missing or wrong, and what to do.
    """
    ledger = open_ledger(settings)
    with open_chroma(settings) as client:
        store = ChromaStore(client, embedding_model=settings.embedding_model)
        model = load_embeddings(settings.embedding_model, device=settings.embedding_device)
        with closing(GatheredEmbeddings(model)) as embeddings:
            embeddings.embed_query("The first text takes longest; no question should wait for it.")
            yield Services(
                ledger=ledger,
                claims=Claims(ledger),
                videos=Videos(ledger.redis),
                embeddings=embeddings,
                store=store,
                chain=answer_chain(load_llm(settings), VideoRetriever(embeddings=embeddings, store=store)),
            )


def open_ledger(settings: Settings) -> Ledger:
    """The rows of jobs, on a Redis that answers.

    Raises:
        QueueUnavailable: Redis does not answer or refuses us.
        InvalidSettings: the address is not one.
    """
    connection = connect(settings.redis_url)
    with queue_errors(settings.redis_url):
        connection.ping()
    return Ledger(connection)
