"""Answering questions: the chain, on the worker's event loop, within a question's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing

from langchain_core.runnables import Runnable, RunnableConfig

from vidask import keys
from vidask.errors import JobExpired
from vidask.models import Answer, AskJob
from worker.claims import Claim
from worker.fetching import Fetching
from worker.running import Running
from worker.streams import JobStream, Streams


class Answers:
    """Answers the questions of one worker.

    Args:
        chain: from a question to its answer.
        running: where its coroutines run, and are stopped.
        streams: where the text goes while it is written, if somebody reads along.
        fetching: has the pictures that questions are about.
    """

    def __init__(self, chain: Runnable[AskJob, Answer], running: Running, streams: Streams, fetching: Fetching) -> None:
        self._chain = chain
        self._running = running
        self._streams = streams
        self._fetching = fetching

    def answer(self, claim: Claim, job: AskJob) -> Answer:
        """Answer a question. The calling thread waits meanwhile.

        Raises:
            InvalidFrame: a picture that it is about cannot be had.
            JobExpired: its deadline passed.
            JobCancelled, GivenBack: it was stopped.
        """
        with (
            closing(self._streams.open(claim)) as stream,
            self._running.started(claim, lambda: self._in_time(claim, job, stream)) as future,
        ):
            return future.result()

    async def _in_time(self, claim: Claim, job: AskJob, stream: JobStream) -> Answer:
        left_s = None if job.deadline_s is None else claim.created_at_s + job.deadline_s - claim.now_s()
        deadline = asyncio.timeout(left_s)
        try:
            async with deadline:
                fetch = self._fetching.of(job.tenant)
                pictures = await asyncio.gather(*(fetch(frame) for frame in job.frames))
                return await self._chain.ainvoke(job, _config(claim, stream, pictures))
        except TimeoutError:
            if not deadline.expired():
                raise
            msg = f"job {claim.job_id} was not answered within its deadline of {job.deadline_s:g} s; allow more"
            raise JobExpired(msg, job_id=claim.job_id) from None


def _config(claim: Claim, stream: JobStream, pictures: Sequence[bytes]) -> RunnableConfig:
    return {
        "metadata": {"request_id": claim.job_id, "priority": keys.PRIORITY_QUESTION},
        "configurable": {"reader": stream, "pictures": list(pictures)},
    }
