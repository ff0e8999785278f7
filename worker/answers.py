"""Answering questions: one coroutine a job on the worker's event loop, which can be stopped from outside."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import CancelledError, Future
from contextlib import closing, contextmanager

from langchain_core.runnables import Runnable, RunnableConfig

from pipeline.loop import EventLoopThread
from vidask import keys
from vidask.errors import JobCancelled, JobExpired, VidaskError
from vidask.models import Answer, AskJob
from worker.claims import Claim
from worker.errors import GivenBack
from worker.streams import JobStream, Streams

#: Ids that were cancelled lately: the news may come between a job's claim and its start.
_REMEMBERED = 256


class Answers:
    """The questions that this worker is answering.

    Args:
        chain: from a question to its answer.
        loop: where the chain runs.
        streams: where the text goes while it is written, if somebody reads along.
    """

    def __init__(self, chain: Runnable[AskJob, Answer], loop: EventLoopThread, streams: Streams) -> None:
        self._chain = chain
        self._loop = loop
        self._streams = streams
        self._running: dict[str, tuple[Claim, Future[Answer]]] = {}
        self._cancelled: deque[str] = deque(maxlen=_REMEMBERED)
        self._stopped_by: dict[str, VidaskError] = {}
        self._lock = threading.Lock()

    def answer(self, claim: Claim, job: AskJob) -> Answer:
        """Answer a question. The calling thread waits meanwhile.

        Raises:
            JobExpired: its deadline passed.
            JobCancelled: `cancel` was called for it.
            GivenBack: `give_back` was called for it.
        """
        with closing(self._streams.open(claim)) as stream, self._known(claim, job, stream) as future:
            return future.result()

    def claims(self) -> list[Claim]:
        """The jobs that are being answered."""
        with self._lock:
            return [claim for claim, _ in self._running.values()]

    def cancel(self, job_id: str) -> None:
        """Stop answering a job, if it is here or about to be; the engine stops decoding."""
        self._cancelled.append(job_id)
        self._stop(job_id, _cancelled(job_id))

    def give_back(self, job_id: str, reason: str) -> None:
        """Stop answering a job, if it is here, without an end for it."""
        self._stop(job_id, GivenBack(reason))

    def _stop(self, job_id: str, reason: VidaskError) -> None:
        with self._lock:
            if job_id in self._running:
                self._stopped_by.setdefault(job_id, reason)
                self._running[job_id][1].cancel()

    @contextmanager
    def _known(self, claim: Claim, job: AskJob, stream: JobStream) -> Generator[Future[Answer]]:
        job_id = claim.job_id
        with self._lock:
            if job_id in self._cancelled:
                raise _cancelled(job_id)
            future = self._loop.submit(self._in_time(claim, job, stream))
            self._running[job_id] = claim, future
        try:
            yield future
        except CancelledError:
            raise self._stopped_by[job_id] from None
        finally:
            with self._lock:
                del self._running[job_id]
                self._stopped_by.pop(job_id, None)

    async def _in_time(self, claim: Claim, job: AskJob, stream: JobStream) -> Answer:
        left_s = None if job.deadline_s is None else claim.created_at_s + job.deadline_s - claim.now_s()
        deadline = asyncio.timeout(left_s)
        try:
            async with deadline:
                return await self._chain.ainvoke(job, _config(claim, stream))
        except TimeoutError:
            if not deadline.expired():
                raise
            msg = f"job {claim.job_id} was not answered within its deadline of {job.deadline_s:g} s; allow more"
            raise JobExpired(msg, job_id=claim.job_id) from None


def _cancelled(job_id: str) -> JobCancelled:
    return JobCancelled(f"job {job_id} was cancelled", job_id=job_id)


def _config(claim: Claim, stream: JobStream) -> RunnableConfig:
    return {
        "metadata": {"request_id": claim.job_id, "priority": keys.PRIORITY_QUESTION},
        "configurable": {"reader": stream},
    }
