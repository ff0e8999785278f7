"""A handle on a job: look at it, wait for its result, cancel it."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

from pydantic import BaseModel

from vidask import keys
from vidask.connection import queue_errors
from vidask.errors import JobCancelled, JobError, JobExpired, JobFailed, JobNotFound, JobQuarantined, WaitTimeout
from vidask.ledger import Ledger, Row
from vidask.listening import Listeners
from vidask.models import Answer, ForgetReport, IndexReport, State

Result_co = TypeVar("Result_co", bound=BaseModel, covariant=True)

#: The result's model and Celery task by kind of job.
RESULTS: dict[str, type[BaseModel]] = {"ask": Answer, "index_transcript": IndexReport, "forget": ForgetReport}

_ERRORS: dict[str, type[JobError]] = {
    "failed": JobFailed,
    "cancelled": JobCancelled,
    "expired": JobExpired,
    "quarantined": JobQuarantined,
}

#: A notification can be lost with a connection, so the row is looked at again this often, seconds.
_LOOK_AGAIN_S = 5.0


class Job(Generic[Result_co]):
    """A job that was accepted. Handles are light; make as many as you like with `Client.job`."""

    def __init__(self, job_id: str, ledger: Ledger, listeners: Listeners, *, tenant: str, url: str) -> None:
        self.id = job_id
        self._ledger = ledger
        self._listeners = listeners
        self._tenant = tenant
        self._url = url

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> State:
        """The state now: queued, running, succeeded, failed, cancelled, expired or quarantined.

        Raises:
            JobNotFound: no such job of this tenant, or its row has expired.
            QueueUnavailable: Redis does not answer.
        """
        return self._row().state

    def result(self, timeout_s: float | None = None) -> Result_co:
        """Wait until the job has ended, and return what it made.

        Args:
            timeout_s: how long to wait, in seconds; `None` waits as long as it takes.

        Raises:
            WaitTimeout: not finished in time; the job goes on, and `result` can be called again.
            JobFailed, JobCancelled, JobExpired, JobQuarantined: the job ended otherwise.
            JobNotFound: no such job of this tenant, or its row has expired.
            QueueUnavailable: Redis does not answer.
        """
        row = self._wait(timeout_s)
        if row.state != "succeeded":
            raise _ERRORS[row.state](row.error, job_id=self.id, error_type=row.error_type)
        return RESULTS[row.kind].model_validate_json(row.result)  # pyright: ignore[reportReturnType]  the kind decides

    def cancel(self) -> bool:
        """Cancel the job if it is still queued. False where it is running already or has ended.

        Raises:
            JobNotFound: no such job of this tenant, or its row has expired.
            QueueUnavailable: Redis does not answer.
        """
        self._row()
        with queue_errors(self._url):
            return self._ledger.cancel(self.id)

    def _row(self) -> Row:
        with queue_errors(self._url):
            row = self._ledger.read(self.id)
        if row is None or row.tenant != self._tenant:
            msg = f"job {self.id!r} is not known to tenant {self._tenant!r}; it was never accepted, or has expired"
            raise JobNotFound(msg)
        return row

    def _wait(self, timeout_s: float | None) -> Row:
        """Listen first, look second: an end between the two is then heard."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with queue_errors(self._url), self._listeners.on(keys.celery_result(self.id)) as listener:
            while not (row := self._row()).ended:
                left = _LOOK_AGAIN_S if deadline is None else min(_LOOK_AGAIN_S, deadline - time.monotonic())
                if left <= 0:
                    msg = f"job {self.id} was still {row.state} after {timeout_s:g} s; it goes on, so ask for its result again"
                    raise WaitTimeout(msg)
                listener.wait(left)
            return row
