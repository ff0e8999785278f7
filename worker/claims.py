"""The worker's half of a job's row: claim it before working, keep the lease meanwhile, and end it or give it back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from celery.utils.log import get_task_logger
from redis.exceptions import RedisError

from vidask import keys
from vidask.connection import passes
from vidask.ledger import Ledger, Outcome, load_script, resolved
from vidask.publishing import Publisher

log = get_task_logger(__name__)

#: How long a worker may be silent before its jobs are given to others, seconds.
LEASE_S = 15.0
#: For so long a worker tries to write the end of a job to a Redis that does not take it, with pauses of so long, seconds.
_STORE_LIMIT_S = 60.0
_PAUSE_S = 0.5

_FIRST_LINES = frozenset(map(keys.line, keys.PRIORITIES))

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds.

    Attributes:
        kind: of the job.
        attempt: how often it was claimed, this time included; the fencing token.
        payload: the job, JSON.
        created_at_s, claimed_at_s: Redis time.
        streamed: somebody reads the answer as it is written.
        crashes: how often a worker ended, or fell silent, while it had the job.
    """

    job_id: str
    kind: str
    attempt: int
    payload: str
    created_at_s: float
    claimed_at_s: float
    streamed: bool
    crashes: int
    _claimed_at: float = field(default_factory=time.monotonic)

    @property
    def queued_s(self) -> float:
        """How long it waited."""
        return max(self.claimed_at_s - self.created_at_s, 0.0)

    @property
    def on_probation(self) -> bool:
        """Whether the next crash sets it aside; no other job of that sort is to run beside it."""
        return self.crashes >= keys.MAX_CRASHES - 1

    def now_s(self) -> float:
        """Redis time, carried on with this process's clock since the claim."""
        return self.claimed_at_s + time.monotonic() - self._claimed_at


class Claims:
    """The jobs that one worker holds.

    Args:
        ledger: the rows of jobs.
        publisher: sends a job that is given back.
        lease_s: how long a claim holds without `renew`, seconds.
    """

    def __init__(self, ledger: Ledger, publisher: Publisher, *, lease_s: float = LEASE_S) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._lease_s = lease_s
        self._claim = load_script(ledger.redis, "worker", "claim")
        self._renew = load_script(ledger.redis, "worker", "renew")
        self._release = load_script(ledger.redis, "worker", "release")
        self._lock = threading.Lock()
        self._held: dict[str, Claim] = {}
        self._newest: dict[str, float] = {}

    def claim(
        self, job_id: str, *, kind: str, worker: str, payload: str, tenant: str, suspects: bool = True
    ) -> Claim | None:
        """Claim a job, or learn that it is not to be worked on: it has ended, somebody holds it, or it is to come again later.

        Args:
            job_id: of the job.
            kind: of the job.
            worker: our name.
            payload: what came with the message; it makes the row of a job whose producer wrote none.
            tenant: likewise.
            suspects: whether it may be one on probation.
        """
        too_often = keys.MAX_CRASHES - 1 if not suspects else keys.MAX_CRASHES
        reply = resolved(
            self._claim(
                keys=[keys.job_row(job_id), keys.LEASES],
                args=[
                    *(worker, self._lease_s, job_id, kind, payload, tenant),
                    *(keys.QUEUED_TTL_S * 1000, keys.WAITING, too_often),
                ],
            )
        )
        if reply == "later":
            log.info("job %s waits: workers ended while it ran, and this one has another such job just now", job_id)
        return None if isinstance(reply, str) else self._hold(job_id, kind, reply)

    def held(self) -> list[Claim]:
        """The jobs that this worker holds."""
        with self._lock:
            return list(self._held.values())

    def renew(self) -> list[Claim]:
        """Renew the leases of all of them in one round trip; returns those that were lost meanwhile, and are held no more."""
        held = self.held()
        with self._lock:
            lines = [item for pair in self._newest.items() for item in pair]
        jobs = [item for claim in held for item in (claim.job_id, claim.attempt)]
        kept = resolved(
            self._renew(
                keys=[keys.LEASES, keys.CLAIMED, *(keys.job_row(claim.job_id) for claim in held)],
                args=[self._lease_s, keys.QUEUED_TTL_S * 1000, len(lines) // 2, *lines, *jobs],
            )
        )
        return [claim for claim, still in zip(held, kept, strict=True) if not still and self.forget(claim)]

    def finish(self, claim: Claim, outcome: Outcome, **fields: str) -> bool:
        """End a claimed job; false where it is another worker's by now, whose end counts then.

        Raises:
            RedisError: Redis did not take it for a minute. The lease ends then, and the job is done again.
        """
        try:
            return _persistently(
                lambda: self._ledger.finish(
                    claim.job_id,
                    outcome,
                    expected="running",
                    attempt=claim.attempt,
                    finished_at_s=f"{claim.now_s():.6f}",
                    **fields,
                )
            )
        finally:
            self.forget(claim)

    def release(self, claim: Claim, *, crashed: bool = False) -> None:
        """Give a job back for another worker; nothing happens where it is not held any more.

        Args:
            claim: the job.
            crashed: this worker ends because of what it was doing, which may have been this job.
        """
        line = keys.line(claim.kind, again=True)
        args = [claim.attempt, claim.job_id, line, keys.QUEUED_TTL_S * 1000, int(crashed)]
        try:
            if crashed and claim.on_probation:
                return  # the sweep counts this crash, too, when the lease is over, and sets the job aside
            row = keys.job_row(claim.job_id)
            if resolved(self._release(keys=[row, keys.LEASES, keys.waiting(line)], args=args)):
                self._publisher.send(claim.job_id, claim.kind, again=True)
        finally:
            self.forget(claim)

    def forget(self, claim: Claim) -> bool:
        """Hold a job no more: its lease is not renewed. False where it was forgotten before, or is held by a later claim."""
        with self._lock:
            if self._held.get(claim.job_id) is not claim:
                return False
            del self._held[claim.job_id]
            return True

    def _hold(self, job_id: str, kind: str, reply: list[Any]) -> Claim:
        attempt, payload, created_at_s, now_s, streamed, line, crashes = reply
        claim = Claim(
            job_id,
            kind,
            int(attempt),
            payload,
            float(created_at_s),
            float(now_s),
            streamed is not None,
            int(crashes or 0),
        )
        with self._lock:
            self._held[job_id] = claim
            if line in _FIRST_LINES:
                self._newest[line] = max(self._newest.get(line, 0.0), claim.created_at_s)
        return claim


def _persistently(write: Callable[[], T]) -> T:
    """Again and again while Redis is away, loading or full, for a minute."""
    limit = time.monotonic() + _STORE_LIMIT_S
    while True:
        try:
            return write()
        except RedisError as error:
            if not passes(error) or time.monotonic() > limit:
                raise
            log.warning("a result waits: Redis: %s", error)
            time.sleep(_PAUSE_S)
