"""Finding what is lost, and sending it again. Every worker does it; several at once are harmless."""

from __future__ import annotations

import json
from itertools import chain

from celery.utils.log import get_logger
from kombu.transport.redis import PRIORITY_STEPS, Channel

from vidask import keys
from vidask.ledger import Ledger, Outcome, Row, load_script, resolved
from vidask.publishing import Publisher
from worker.logs import fields
from worker.metrics import NO_METRICS, Metrics

log = get_logger(__name__)

#: A message that was taken from the queue so long ago, and whose job was not claimed, is lost, seconds.
_PATIENCE_S = 5.0
#: Most jobs of a sort that one sweep looks at; Redis does nothing else meanwhile.
_MOST = 500


class Sweep:
    """Looks for jobs whose worker is gone, whose message is, and whose deadline passed while they waited.

    Args:
        ledger: the rows of jobs.
        publisher: sends the messages.
        lease_s: how long a worker may be silent, seconds.
        metrics: are told what is found.
    """

    def __init__(self, ledger: Ledger, publisher: Publisher, *, lease_s: float, metrics: Metrics = NO_METRICS) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._lease_s = lease_s
        self._metrics = metrics
        self._sweep = load_script(ledger.redis, "worker", "sweep")

    def run(self) -> None:
        """Look once, and put right what is found."""
        lost, poison, expired, recovered = resolved(
            self._sweep(
                keys=[keys.LEASES, keys.DEADLINES, keys.CLAIMED, keys.SWEPT],
                args=[
                    self._lease_s,
                    keys.QUEUED_TTL_S * 1000,
                    _MOST,
                    keys.MAX_CRASHES,
                    keys.job_row(""),
                    keys.WAITING,
                    _PATIENCE_S,
                    json.dumps({kind: keys.line(kind, again=True) for kind in keys.PRIORITIES}),
                    *chain.from_iterable(lines().items()),
                ],
            )
        )
        self._metrics.recovered(recovered)
        for job_id, attempt in zip(poison[::2], poison[1::2], strict=True):
            self._set_aside(job_id, int(attempt))
        for job_id in expired:
            self._expire(job_id)
        for job_id in lost:
            self._send(job_id)

    def _send(self, job_id: str) -> None:
        row = self._ledger.read(job_id)
        if row is not None and row.state == "queued":
            log.info("job %s is sent again: its message was lost, or its worker", job_id, extra=_of(job_id, row))
            self._publisher.send(job_id, row.kind, again=True)
            self._metrics.sent_again()

    def _set_aside(self, job_id: str, attempt: int) -> None:
        said = (
            f"its worker ended {keys.MAX_CRASHES} times while it ran; look at it with 'vidask quarantine show {job_id}'"
        )
        outcome = Outcome("quarantined", error=f"job {job_id} is set aside: {said}", error_type="JobQuarantined")
        row = self._ledger.read(job_id)
        if self._ledger.quarantine(job_id, outcome, attempt) and row is not None:
            log.error("job %s is set aside: %s", job_id, said, extra=_of(job_id, row, outcome="quarantined"))
            self._metrics.set_aside(row.kind)

    def _expire(self, job_id: str) -> None:
        said = f"job {job_id} was not answered within its deadline: no worker took it; allow more, or start workers"
        row = self._ledger.read(job_id)
        outcome = Outcome("expired", error=said, error_type="JobExpired")
        if self._ledger.finish(job_id, outcome, expected="queued") and row is not None:
            log.info(
                "job %s: %s expired, no worker took it", job_id, row.kind, extra=_of(job_id, row, outcome="expired")
            )
            self._metrics.ended(row.kind, "expired")


def _of(job_id: str, row: Row, **more: object) -> dict[str, object]:
    """Fields for a line about the job."""
    return fields(job_id=job_id, tenant=row.tenant, kind=row.kind, attempt=row.attempt, **more)


def lines() -> dict[str, str]:
    """Each line, and the list that kombu keeps its messages in."""
    return {
        keys.line(kind, again=again): _list_of(keys.AGAIN if again else keys.QUEUE, priority)
        for again in (False, True)
        for kind, priority in keys.PRIORITIES.items()
    }


def _list_of(queue: str, priority: int) -> str:
    step = max(step for step in PRIORITY_STEPS if step <= priority)
    return f"{queue}{Channel.sep}{step}" if step else queue
