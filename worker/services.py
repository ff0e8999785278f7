"""What the tasks work with, built once before the first job: Redis, Chroma, the models, the chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field

from kombu.exceptions import OperationalError
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from redis.exceptions import RedisError

from config import Settings
from pipeline.chain import AnswerChain
from pipeline.chroma import open_chroma
from pipeline.embedding_process import EmbeddingProcess
from pipeline.embeddings import GatheredEmbeddings
from pipeline.llm import open_llm
from pipeline.loop import EventLoopThread
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from vidask import keys
from vidask.connection import connect, queue_errors
from vidask.ledger import Ledger
from vidask.models import Answer, AskJob
from vidask.publishing import Publisher
from worker.answers import Answers
from worker.claims import Claims
from worker.controls import Controls
from worker.departure import leave
from worker.leases import Leases
from worker.probation import Probation
from worker.streams import Streams
from worker.sweep import Sweep
from worker.videos import Videos


@dataclass(frozen=True)
class Services:
    """One of each in a worker's process, shared by its threads."""

    ledger: Ledger
    claims: Claims
    videos: Videos
    embeddings: Embeddings
    store: ChromaStore
    llm: BaseChatModel
    answers: Answers
    probation: Probation = field(default_factory=Probation)

    def give_back(self) -> None:
        """Give all jobs back for other workers: those that can be stopped are, and the others end for nobody."""
        for claim in self.claims.held():
            self.answers.give_back(claim.job_id, "this worker leaves")
            if claim.kind != "ask":
                with suppress(RedisError, OperationalError):  # the lease ends by itself
                    self.claims.release(claim)


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Build everything, the quickest to fail first; the embedding model loads meanwhile.

    Raises:
        VidaskError: one line that says what is missing or wrong, and what to do.
    """
    ledger = open_ledger(settings)
    with ExitStack() as stack:
        store = ChromaStore(stack.enter_context(open_chroma(settings)), embedding_model=settings.embedding_model)
        model = stack.enter_context(
            closing(EmbeddingProcess(settings.embedding_model, device=settings.embedding_device))
        )
        loop = stack.enter_context(closing(EventLoopThread("answers")))
        llm = stack.enter_context(open_llm(settings, loop, on_death=leave))
        model.wait_ready()
        embeddings = stack.enter_context(closing(GatheredEmbeddings(model)))
        embeddings.embed_query("The first text takes longest; no question should wait for it.")
        chain = AnswerChain(llm, VideoRetriever(embeddings=embeddings, store=store))
        yield stack.enter_context(
            services_around(chain, loop, ledger, settings, embeddings=embeddings, store=store, llm=llm)
        )


@contextmanager
def services_around(
    chain: Runnable[AskJob, Answer],
    loop: EventLoopThread,
    ledger: Ledger,
    settings: Settings,
    *,
    embeddings: Embeddings,
    store: ChromaStore,
    llm: BaseChatModel,
) -> Iterator[Services]:
    """What stands between a chain and Redis, the same for every chain; the rest is handed on to those that want it."""
    with _open_answers(chain, loop, ledger) as answers, _open_claims(settings, ledger, answers) as claims:
        yield Services(
            ledger=ledger,
            claims=claims,
            videos=Videos(ledger.redis),
            embeddings=embeddings,
            store=store,
            llm=llm,
            answers=answers,
        )


@contextmanager
def _open_answers(chain: Runnable[AskJob, Answer], loop: EventLoopThread, ledger: Ledger) -> Iterator[Answers]:
    """The answering of questions, with what reaches it from outside: readers of the text, and cancellations."""
    with closing(Streams(ledger, loop.loop)) as streams:
        answers = Answers(chain, loop, streams)

        def look_up() -> None:
            claims = answers.claims()
            standings = ledger.states([claim.job_id for claim in claims])
            for claim in claims:
                standing = standings[claim.job_id]
                if (standing.state, standing.attempt) != ("running", claim.attempt):
                    answers.cancel(claim.job_id)
                elif standing.streamed:
                    streams.want(claim.job_id)

        orders = {keys.CANCEL: answers.cancel, keys.STREAM: streams.want}
        with closing(Controls(ledger.redis, orders, on_reconnect=look_up)):
            yield answers


@contextmanager
def _open_claims(settings: Settings, ledger: Ledger, answers: Answers) -> Iterator[Claims]:
    """The jobs that the worker holds, with what keeps their leases and looks for what others have lost."""
    with closing(Publisher(settings.redis_url)) as publisher:
        claims = Claims(ledger, publisher, lease_s=settings.lease_s)
        sweep = Sweep(ledger, publisher, lease_s=settings.lease_s)
        leases = Leases(
            claims,
            sweep,
            on_lost=lambda claim: answers.give_back(claim.job_id, "it is another worker's by now"),
            lease_s=settings.lease_s,
        )
        with closing(leases):
            yield claims


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
