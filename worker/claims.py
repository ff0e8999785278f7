"""The worker's half of a job's row: claim it before working, and end it with what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from vidask import keys
from vidask.ledger import Ledger, Outcome, load_script, resolved

#: For this long nobody else may claim a job that is being worked on, unless its message was given back. As long as Celery's
#: visibility timeout, after which the message of a worker that was killed comes again.
LEASE_S = 3600


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds.

    Attributes:
        attempt: how often it was claimed, this time included; the fencing token.
        payload: the job, JSON.
        created_at_s, claimed_at_s: Redis time.
        streamed: somebody reads the answer as it is written.
    """

    job_id: str
    attempt: int
    payload: str
    created_at_s: float
    claimed_at_s: float
    streamed: bool
    _claimed_at: float = field(default_factory=time.monotonic)

    @property
    def queued_s(self) -> float:
        """How long it waited."""
        return max(self.claimed_at_s - self.created_at_s, 0.0)

    def now_s(self) -> float:
        """Redis time, carried on with this process's clock since the claim."""
        return self.claimed_at_s + time.monotonic() - self._claimed_at


class Claims:
    """Claims jobs for one worker."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._claim = load_script(ledger.redis, "worker", "claim")

    def claim(
        self, job_id: str, *, kind: str, worker: str, redelivered: bool, payload: str, tenant: str
    ) -> Claim | None:
        """Claim a job, or learn that it is not to be worked on: it has ended, or somebody else holds it.

        `payload` and `tenant` are what came with the message; they make the row of a job whose producer wrote none.
        """
        reply = resolved(
            self._claim(
                keys=[keys.job_row(job_id)],
                args=[worker, LEASE_S, int(redelivered), kind, payload, tenant, keys.QUEUED_TTL_S * 1000],
            )
        )
        if isinstance(reply, str):
            return None
        attempt, row_payload, created_at_s, now_s, streamed = reply
        return Claim(job_id, int(attempt), row_payload, float(created_at_s), float(now_s), streamed is not None)

    def finish(self, claim: Claim, outcome: Outcome, **fields: str) -> bool:
        """End a claimed job; false where another worker has claimed it since, whose end counts then."""
        return self._ledger.finish(
            claim.job_id,
            outcome,
            expected="running",
            attempt=claim.attempt,
            finished_at_s=f"{claim.now_s():.6f}",
            **fields,
        )
