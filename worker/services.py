"""What the tasks work with, built once before the first job: Redis, Chroma, the models, the chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field

from kombu.exceptions import OperationalError
from langchain_core.runnables import Runnable
from redis.exceptions import RedisError

from config import Settings
from pipeline.chain import AnswerChain
from pipeline.chroma import open_chroma
from pipeline.embedding_process import EmbeddingProcess
from pipeline.embeddings import GatheredEmbeddings
from pipeline.failover import FailoverChain
from pipeline.frames import Places
from pipeline.kept_pictures import KeptPictures
from pipeline.llm import open_llms
from pipeline.loop import EventLoopThread
from pipeline.picture_readers import PictureReaders
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from vidask import keys
from vidask.connection import connect
from vidask.ledger import Ledger
from vidask.models import Answer, AskJob
from vidask.publishing import Publisher
from worker.answers import Answers
from worker.claims import Claims
from worker.concurrency import pictures_in_flight
from worker.controls import Controls
from worker.departure import leave
from worker.fetching import Fetching
from worker.frames import FramesIndexing
from worker.leases import Leases
from worker.metrics import NO_METRICS, Metrics, open_metrics
from worker.parts import Parts
from worker.probation import Probation
from worker.rights import check_rights
from worker.running import Running
from worker.streams import Streams
from worker.sweep import Sweep
from worker.videos import Videos


@dataclass(frozen=True)
class Services:
    """One of each in a worker's process, shared by its threads."""

    ledger: Ledger
    claims: Claims
    videos: Videos
    parts: Parts
    answers: Answers
    frames: FramesIndexing
    running: Running
    metrics: Metrics = NO_METRICS
    probation: Probation = field(default_factory=Probation)

    def give_back(self) -> None:
        """Give all jobs back for other workers: those that can be stopped are, and the others end for nobody."""
        for claim in self.claims.held():
            stopped = self.running.give_back(claim.job_id, "this worker leaves")
            if not stopped and claim.kind != "ask":
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
        metrics = stack.enter_context(open_metrics(settings, ledger.redis))
        store = ChromaStore(stack.enter_context(open_chroma(settings)), embedding_model=settings.embedding_model)
        model = stack.enter_context(
            closing(EmbeddingProcess(settings.embedding_model, device=settings.embedding_device))
        )
        pictures = KeptPictures(settings.pictures_path)
        readers = stack.enter_context(closing(PictureReaders()))
        loop = stack.enter_context(closing(EventLoopThread("answers")))
        llms = stack.enter_context(open_llms(settings, loop, on_death=leave))
        model.wait_ready()
        embeddings = stack.enter_context(closing(GatheredEmbeddings(model)))
        embeddings.embed_query("The first text takes longest; no question should wait for it.")
        retriever = VideoRetriever(embeddings=embeddings, store=store)
        chains = {name: AnswerChain(llm, retriever, pictures, readers) for name, llm in llms.items()}
        chain = FailoverChain(chains) if len(chains) > 1 else chains[settings.llm_backends[0]]
        parts = Parts(embeddings, store, tuple(llms.values()), readers, pictures)
        yield stack.enter_context(services_around(chain, loop, ledger, settings, parts, metrics))


@contextmanager
def services_around(
    chain: Runnable[AskJob, Answer],
    loop: EventLoopThread,
    ledger: Ledger,
    settings: Settings,
    parts: Parts,
    metrics: Metrics = NO_METRICS,
) -> Iterator[Services]:
    """What stands between a chain and Redis, the same for every chain."""
    running, videos, places = Running(loop), Videos(ledger.redis), Places(pictures_in_flight(settings))
    fetching = Fetching(ledger.redis, settings.media_root)
    with (
        _open_streams(loop, ledger, running) as streams,
        _open_claims(settings, ledger, running, metrics) as claims,
    ):
        metrics.watch(claims, parts.llms)
        yield Services(
            ledger=ledger,
            claims=claims,
            videos=videos,
            parts=parts,
            answers=Answers(chain, running, streams, fetching),
            frames=FramesIndexing(running, fetching, ledger, videos, parts, places),
            running=running,
            metrics=metrics,
        )


@contextmanager
def _open_streams(loop: EventLoopThread, ledger: Ledger, running: Running) -> Iterator[Streams]:
    """The answers that are read while they are written, with what reaches running jobs from outside: readers, cancellations."""
    with closing(Streams(ledger, loop.loop)) as streams:

        def look_up() -> None:
            claims = running.claims()
            standings = ledger.states([claim.job_id for claim in claims])
            for claim in claims:
                standing = standings[claim.job_id]
                if (standing.state, standing.attempt) != ("running", claim.attempt):
                    running.cancel(claim.job_id)
                elif standing.streamed:
                    streams.want(claim.job_id)

        orders = {keys.CANCEL: running.cancel, keys.STREAM: streams.want}
        with closing(Controls(ledger.redis, orders, on_reconnect=look_up)):
            yield streams


@contextmanager
def _open_claims(settings: Settings, ledger: Ledger, running: Running, metrics: Metrics) -> Iterator[Claims]:
    """The jobs that the worker holds, with what keeps their leases and looks for what others have lost."""
    with closing(Publisher(settings.redis_url)) as publisher:
        claims = Claims(ledger, publisher, lease_s=settings.lease_s)
        sweep = Sweep(ledger, publisher, lease_s=settings.lease_s, metrics=metrics)
        leases = Leases(
            claims,
            sweep,
            on_lost=lambda claim: running.give_back(claim.job_id, "it is another worker's by now"),
            lease_s=settings.lease_s,
        )
        with closing(leases):
            yield claims


def open_ledger(settings: Settings) -> Ledger:
    """The rows of jobs, on a Redis that answers, and lets us do all that a worker does.

    Raises:
        QueueUnavailable: it does not.
        InvalidSettings: the address is not one.
    """
    check_rights(settings.redis_url)
    return Ledger(connect(settings.redis_url))
