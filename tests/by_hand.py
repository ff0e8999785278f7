"""A worker without Celery: it claims, writes and ends jobs when a test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.redis_users import as_admin, as_worker
from vidask import keys
from vidask.connection import connect
from vidask.jobs import Job
from vidask.ledger import Ledger, Outcome
from vidask.models import Answer
from vidask.publishing import Publisher
from worker.claims import Claim, Claims
from worker.controls import Controls
from worker.streams import Streams


class WorkerByHand:
    """The parts of a worker that stand between Redis and the chain, on one Redis.

    Attributes:
        admin: for what a test does to Redis itself.
    """

    def __init__(self, url: str) -> None:
        self.admin = connect(as_admin(url))
        self.ledger = Ledger(connect(as_worker(url)))
        self.publisher = Publisher(as_worker(url))
        self.claims = Claims(self.ledger, self.publisher)
        self.loop = asyncio.new_event_loop()
        self.streams = Streams(self.ledger, self.loop)
        self.cancelled: list[str] = []
        self.connected = 0
        orders = {keys.CANCEL: self.cancelled.append, keys.STREAM: self.streams.want}
        self.controls = Controls(self.ledger.redis, orders, on_reconnect=self._count)

    def claim(self, job: Job[Any]) -> Claim:
        """Claim a job that is ours to claim."""
        claim = self.claims.claim(job.id, kind="ask", worker="by hand", payload="", tenant="default")
        assert claim is not None
        return claim

    def claim_again(self, job: Job[Any]) -> Claim:
        """The next attempt at a job that this worker has, as if it had been another."""
        [held] = [claim for claim in self.claims.held() if claim.job_id == job.id]
        self.claims.release(held)
        return self.claim(job)

    def answer(self, claim: Claim, text: str) -> bool:
        """End a job with an answer; whether that counted."""
        made = Answer(text=text, standalone_question="?", model="hand").model_dump_json()
        return self.claims.finish(claim, Outcome("succeeded", result=made))

    def close(self) -> None:
        self.controls.close()
        self.streams.close()
        self.publisher.close()
        self.ledger.redis.close()
        self.admin.close()

    def _count(self) -> None:
        self.connected += 1


@contextmanager
def worker_by_hand(url: str) -> Iterator[WorkerByHand]:
    """Its loop runs on a thread of its own."""
    hand = WorkerByHand(url)
    thread = threading.Thread(target=hand.loop.run_forever)
    thread.start()
    try:
        yield hand
    finally:
        hand.close()
        hand.loop.call_soon_threadsafe(hand.loop.stop)
        thread.join()
        hand.loop.close()
