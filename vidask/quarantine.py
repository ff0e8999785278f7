"""Jobs that were set aside because worker after worker ended while it ran them: list, look at, replay or drop them.

The worker's half, setting aside, stands in `worker/sweep.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from vidask import keys
from vidask.errors import InvalidJob
from vidask.ledger import load_script, resolved
from vidask.models import AskJob, State
from vidask.publishing import Publisher
from vidask.validation import parse_json

_FIELDS = ("kind", "crashes", "finished_at_s", "error")
_MORE_FIELDS = (*_FIELDS, "worker", "payload")


@dataclass(frozen=True)
class QuarantinedJob:
    """A job in quarantine.

    Attributes:
        job_id: the job's id.
        kind: `ask`, `index_transcript`, `index_frames` or `forget`.
        crashes: how often a worker ended, or fell silent, while it ran.
        since_s: when it was set aside, Unix seconds by Redis's clock.
        error: what `Job.result` says of it.
    """

    job_id: str
    kind: str
    crashes: int
    since_s: float
    error: str


@dataclass(frozen=True)
class InspectedJob(QuarantinedJob):
    """A job in quarantine, with what may be wrong with it.

    Attributes:
        worker: name of the worker that had it last.
        payload: the job itself, JSON; it may hold a whole transcript.
    """

    worker: str
    payload: str


class Quarantine:
    """The jobs in quarantine on one Redis. Whose job it is that an id names, callers have looked up.

    Args:
        connection: to Redis.
        publisher: sends the message of a job that is replayed.
    """

    def __init__(self, connection: redis.Redis, publisher: Publisher) -> None:
        self._redis = connection
        self._publisher = publisher
        self._list = load_script(connection, "vidask", "quarantined")
        self._replay = load_script(connection, "vidask", "replay")
        self._drop = load_script(connection, "vidask", "drop")

    def of_tenant(self, tenant: str) -> list[QuarantinedJob]:
        """A tenant's jobs in quarantine, newest first."""
        found = resolved(self._list(keys=[keys.QUARANTINE], args=[tenant, keys.job_row(""), *_FIELDS]))
        return [QuarantinedJob(job_id, *_parsed(*fields)) for job_id, fields in found]

    def inspect(self, job_id: str) -> InspectedJob:
        """One of them, with its payload.

        Raises:
            InvalidJob: it is not in quarantine.
        """
        state, *fields, worker, payload = self._read(job_id, "state", *_MORE_FIELDS)
        _check(job_id, state)
        return InspectedJob(job_id, *_parsed(*fields), worker, payload)

    def replay(self, job_id: str, kind: str) -> None:
        """Send it to the workers again. Where the message is lost, or this process ends before it, the sweep sends another.

        Raises:
            InvalidJob: it is not in quarantine.
        """
        line = keys.line(kind, again=True)
        deadline_s = self._deadline_s(job_id) if kind == "ask" else None
        found = resolved(
            self._replay(
                keys=[*_kept_of(job_id), keys.QUARANTINE, keys.waiting(line), keys.DEADLINES],
                args=[keys.QUEUED_TTL_S * 1000, job_id, line, "" if deadline_s is None else deadline_s],
            )
        )
        _check(job_id, found)
        self._publisher.send(job_id, kind, again=True)

    def drop(self, job_id: str) -> None:
        """Remove it, and all that was kept of it.

        Raises:
            InvalidJob: it is not in quarantine.
        """
        found = resolved(self._drop(keys=[*_kept_of(job_id), keys.QUARANTINE, keys.DEADLINES], args=[job_id]))
        _check(job_id, found)

    def _read(self, job_id: str, *fields: str) -> list[Any]:
        return resolved(self._redis.hmget(keys.job_row(job_id), list(fields)))

    def _deadline_s(self, job_id: str) -> float | None:
        [payload] = self._read(job_id, "payload")
        try:
            return parse_json(AskJob, payload or "").deadline_s
        except InvalidJob:  # the worker that reads it says so
            return None


def _kept_of(job_id: str) -> tuple[str, str, str]:
    return keys.job_row(job_id), keys.celery_result(job_id), keys.stream(job_id)


def _parsed(kind: str, crashes: str, since_s: str, error: str) -> tuple[str, int, float, str]:
    return kind, int(crashes), float(since_s), error


def _check(job_id: str, state: State | None) -> None:
    if state != "quarantined":
        raise InvalidJob(
            f"job {job_id} is {state or 'gone'}, not in quarantine; 'vidask quarantine list' names the jobs that are"
        )
