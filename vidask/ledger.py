"""The rows of jobs in Redis: accept a job once, read it, bring it to its end by compare-and-set.

`vidask/keys.py` lists the fields. The worker's half, claiming, stands in `worker/claims.py`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal, cast

import redis
from redis.commands.core import Script

from vidask import errors, keys
from vidask.models import Progress, State

TerminalState = Literal["succeeded", "failed", "cancelled", "expired", "quarantined"]

_CELERY_STATUS: Mapping[TerminalState, str] = {
    "succeeded": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "REVOKED",
    "expired": "REVOKED",
    "quarantined": "FAILURE",
}
_CELERY_ERROR: Mapping[TerminalState, tuple[str, str]] = {
    "failed": ("JobFailed", "vidask.errors"),
    "quarantined": ("JobQuarantined", "vidask.errors"),
    "cancelled": ("TaskRevokedError", "celery.exceptions"),
    "expired": ("TaskRevokedError", "celery.exceptions"),
}

#: Life of the row after its end, where it is not RESULT_TTL_S.
_LIFE_S: Mapping[TerminalState, int] = {"quarantined": keys.QUEUED_TTL_S}


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its state, and either a result (JSON) or an error."""

    state: TerminalState
    result: str | None = None
    error: str = ""
    error_type: str = ""

    def fields(self) -> dict[str, str]:
        """The fields of the row that say so."""
        if self.result is not None:
            return {"state": self.state, "result": self.result}
        return {"state": self.state, "error": self.error, "error_type": self.error_type}

    def celery_meta(self, job_id: str) -> str:
        """The same as Celery's result backend would have stored it."""
        result: object = json.loads(self.result) if self.result is not None else self._celery_exception()
        return json.dumps(
            {
                "status": _CELERY_STATUS[self.state],
                "result": result,
                "traceback": None,
                "children": [],
                "date_done": datetime.now(UTC).isoformat(),
                "task_id": job_id,
            }
        )

    def _celery_exception(self) -> dict[str, object]:
        name, module = _CELERY_ERROR[self.state]
        return {"exc_type": name, "exc_message": [self.error], "exc_module": module}


@dataclass(frozen=True)
class Row:
    """A job's row, read."""

    state: State
    kind: str
    tenant: str
    attempt: int
    result: str
    error: str
    error_type: str
    done: int
    total: int

    @property
    def progress(self) -> Progress:
        """How far the job is. The worker says so about once a second, and last when it is done."""
        return Progress(self.total if self.state == "succeeded" else self.done, self.total)

    @property
    def ended(self) -> bool:
        """Whether the job has reached a terminal state."""
        return self.state in keys.TERMINAL_STATES


@dataclass(frozen=True)
class Standing:
    """How a job stands: its state (None where the row is gone), who claimed it last, and whether somebody reads its answer."""

    state: State | None
    attempt: int
    streamed: bool


class Ledger:
    """Rows of jobs on one Redis."""

    def __init__(self, connection: redis.Redis) -> None:
        self.redis = connection
        self._enqueue = load_script(connection, "vidask", "enqueue")
        self._finish = load_script(connection, "vidask", "finish")
        self._follow = load_script(connection, "vidask", "follow")

    def create(self, job_id: str, kind: str, tenant: str, payload: str, *, deadline_s: float | None = None) -> bool:
        """Write the row of a new job, and note that it waits for a worker; false where that id exists already."""
        return bool(self._enqueue(**_accepted(job_id, kind, tenant, payload, deadline_s=deadline_s)))

    def create_parts(self, kind: str, tenant: str, parts: Mapping[str, tuple[str, int]]) -> list[bool]:
        """`create` the jobs that are one list of frames together, with no other job accepted between them.

        `parts` are each job's payload and number of frames, by its id.
        """
        with self.redis.pipeline() as pipe:  # pyright: ignore[reportUnknownMemberType]  untyped in redis-py
            for job_id, (payload, frames) in parts.items():
                self._enqueue(**_accepted(job_id, kind, tenant, payload, frames=frames), client=pipe)
            created: list[Any] = pipe.execute()
        return [bool(new) for new in created]

    def read(self, job_id: str) -> Row | None:
        """The row, or nothing where there is none."""
        fields = resolved(self.redis.hgetall(keys.job_row(job_id)))
        if not fields:
            return None
        return Row(
            state=fields["state"],
            kind=fields["kind"],
            tenant=fields["tenant"],
            attempt=int(fields.get("attempt", 0)),
            result=fields.get("result", ""),
            error=fields.get("error", ""),
            error_type=fields.get("error_type", ""),
            done=int(fields.get("done", 0)),
            total=int(fields.get("total", 1)),
        )

    def states(self, job_ids: Collection[str]) -> dict[str, Standing]:
        """How these jobs stand, in one round trip."""
        with self.redis.pipeline(transaction=False) as pipe:  # pyright: ignore[reportUnknownMemberType]  untyped in redis-py
            for job_id in job_ids:
                pipe.hmget(keys.job_row(job_id), ["state", "attempt", "streamed"])
            rows: list[Any] = pipe.execute()
        return {
            job_id: Standing(state, int(attempt or 0), streamed is not None)
            for job_id, (state, attempt, streamed) in zip(job_ids, rows, strict=True)
        }

    def finish(
        self, job_id: str, outcome: Outcome, *, expected: State | None, attempt: int | None = None, **fields: str
    ) -> bool:
        """Write the end of a job that is `expected` (and, given, at `attempt`); false where it had moved on.

        With None any state will do that is no end, and where the job is running its worker is told to stop.
        """
        changed = outcome.fields() | fields
        pairs = [item for pair in changed.items() for item in pair]
        return bool(
            self._finish(
                keys=[keys.job_row(job_id), keys.celery_result(job_id), keys.stream(job_id), keys.LEASES],
                args=[
                    expected or "",
                    "" if attempt is None else attempt,
                    _LIFE_S.get(outcome.state, keys.RESULT_TTL_S) * 1000,
                    outcome.celery_meta(job_id),
                    keys.STREAM_TTL_S * 1000,
                    keys.CONTROL,
                    f"{keys.CANCEL} {job_id}",
                    job_id,
                    keys.WAITING,
                    *pairs,
                ],
            )
        )

    def quarantine(self, job_id: str, outcome: Outcome, attempt: int) -> bool:
        """Set a job aside that is running at `attempt`; false where it had moved on. It is listed first, so that none is missed."""
        clock: Any = self.redis.time()  # pyright: ignore[reportUnknownMemberType]  untyped in redis-py
        seconds, micros = clock
        with self.redis.pipeline() as pipe:  # pyright: ignore[reportUnknownMemberType]  likewise
            pipe.zadd(keys.QUARANTINE, {job_id: seconds})
            pipe.expire(keys.QUARANTINE, keys.QUEUED_TTL_S)
            pipe.execute()
        ended_at_s = f"{seconds}.{micros:06d}"
        return self.finish(job_id, outcome, expected="running", attempt=attempt, finished_at_s=ended_at_s)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job, and tell its worker if it has one; false where the job has ended."""
        outcome = Outcome("cancelled", error=f"job {job_id} was cancelled", error_type=errors.JobCancelled.__name__)
        return self.finish(job_id, outcome, expected=None)

    def follow(self, job_id: str) -> None:
        """Have the job's answer streamed from here on."""
        self._follow(keys=[keys.job_row(job_id)], args=[keys.CONTROL, f"{keys.STREAM} {job_id}"])


def _accepted(
    job_id: str, kind: str, tenant: str, payload: str, *, deadline_s: float | None = None, frames: int | None = None
) -> dict[str, Any]:
    """What `enqueue.lua` is called with."""
    line = keys.line(kind)
    optional = ["" if given is None else given for given in (deadline_s, frames)]
    return {
        "keys": [keys.job_row(job_id), keys.waiting(line), keys.DEADLINES],
        "args": [keys.QUEUED_TTL_S * 1000, kind, tenant, payload, job_id, line, *optional],
    }


def load_script(connection: redis.Redis, package: str, name: str) -> Script:
    """The Lua script `<package>/lua/<name>.lua`, called by its hash."""
    return connection.register_script(files(package).joinpath("lua", f"{name}.lua").read_text())


def resolved(reply: Awaitable[Any] | Any) -> Any:
    """redis-py types every reply as perhaps awaitable; from a synchronous client it never is."""
    return cast(Any, reply)
