"""A handle on a job: look at it, wait for its result, read its answer as it is written, cancel it, take it out of quarantine."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

from pydantic import BaseModel

from vidask import keys
from vidask.connection import queue_errors
from vidask.errors import JobCancelled, JobError, JobExpired, JobFailed, JobNotFound, JobQuarantined, WaitTimeout
from vidask.ledger import Ledger, Row
from vidask.listening import Listeners
from vidask.models import Answer, ForgetReport, FramesReport, IndexReport, Progress, State
from vidask.quarantine import InspectedJob, Quarantine
from vidask.streaming import StreamEvent, StreamReader

Result_co = TypeVar("Result_co", bound=BaseModel, covariant=True)

#: The result's model and Celery task by kind of job.
RESULTS: dict[str, type[BaseModel]] = {
    "ask": Answer,
    "index_transcript": IndexReport,
    "index_frames": FramesReport,
    "forget": ForgetReport,
}

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

    def __init__(
        self, job_id: str, ledger: Ledger, listeners: Listeners, quarantine: Quarantine, *, tenant: str, url: str
    ) -> None:
        self.id = job_id
        self._ledger = ledger
        self._listeners = listeners
        self._quarantine = quarantine
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

    def progress(self) -> Progress:
        """How far the job is: frames done, of all; a job of another kind is one thing. It lags behind by a second or so.

        Raises:
            JobNotFound: no such job of this tenant, or its row has expired.
            QueueUnavailable: Redis does not answer.
        """
        return self._row().progress

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
        row = self._succeeded(_Deadline(timeout_s))
        return RESULTS[row.kind].model_validate_json(row.result)  # pyright: ignore[reportReturnType]  the kind decides

    def stream(self, after: str = "", *, timeout_s: float | None = None) -> Iterator[StreamEvent]:
        """The answer as it is written, until the job has ended.

        The texts of the events, from the last `restart` on, are together `result().text`. A job that had ended before anybody
        asked for its stream gives its text at once; jobs other than questions have none.

        Args:
            after: the id of the last event that was seen, to go on behind it; from the beginning where it is not given.
            timeout_s: how long to wait for the end, in seconds; `None` waits as long as it takes.

        Raises:
            InvalidJob: `after` is no event's id.
            JobNotFound, QueueUnavailable: at the call, or while events are read; go on with the last event's id then.
            WaitTimeout, JobFailed, JobCancelled, JobExpired, JobQuarantined: like `result`, behind the last event.
        """
        reader, deadline = StreamReader(self._ledger.redis, self.id, after), _Deadline(timeout_s)
        row = self._row()
        if row.kind != "ask":
            return self._no_events(deadline)
        if not row.ended:
            with queue_errors(self._url):
                self._ledger.follow(self.id)
        return self._events(reader, deadline, complete=row.ended)

    def cancel(self) -> bool:
        """Cancel the job; one that is running is stopped. False where it has ended already.

        Raises:
            JobNotFound: no such job of this tenant, or its row has expired.
            QueueUnavailable: Redis does not answer.
        """
        self._row()
        with queue_errors(self._url):
            return self._ledger.cancel(self.id)

    def inspect(self) -> InspectedJob:
        """What is known of a job in quarantine, its payload included.

        Raises:
            JobNotFound: no such job of this tenant, or its row has expired.
            InvalidJob: it is not in quarantine.
            QueueUnavailable: Redis does not answer.
        """
        self._row()
        with queue_errors(self._url):
            return self._quarantine.inspect(self.id)

    def replay(self) -> None:
        """Send a job in quarantine to the workers again, as if it had never ended one; wait for it with `result`.

        A question's `deadline_s` counts anew from here. A change to a video keeps its place: where a later one has been applied
        meanwhile, it ends `superseded`.

        Raises:
            JobNotFound: no such job of this tenant, or its row has expired.
            InvalidJob: it is not in quarantine; it was replayed before, say.
            QueueUnavailable: Redis does not answer; `status` says later whether the job was replayed.
        """
        kind = self._row().kind
        with queue_errors(self._url):
            self._quarantine.replay(self.id, kind)

    def drop(self) -> None:
        """Remove a job in quarantine, and all that was kept of it; its id is unknown afterwards.

        Raises:
            JobNotFound: no such job of this tenant, or its row has expired.
            InvalidJob: it is not in quarantine.
            QueueUnavailable: Redis does not answer.
        """
        self._row()
        with queue_errors(self._url):
            self._quarantine.drop(self.id)

    def _row(self) -> Row:
        with queue_errors(self._url):
            row = self._ledger.read(self.id)
        if row is None or row.tenant != self._tenant:
            msg = f"job {self.id!r} is not known to tenant {self._tenant!r}; it was never accepted, was dropped, or has expired"
            raise JobNotFound(msg)
        return row

    def _no_events(self, deadline: _Deadline) -> Iterator[StreamEvent]:
        self._succeeded(deadline)
        yield from ()

    def _events(self, reader: StreamReader, deadline: _Deadline, *, complete: bool) -> Iterator[StreamEvent]:
        """What the stream holds, then what it lacks: the row has the whole text, whatever became of the stream."""
        while not reader.ended:
            with queue_errors(self._url):
                events = reader.read(0.0 if complete else deadline.left_s())
            yield from events
            if (not events or deadline.left_s() <= 0) and self._is_over(deadline):
                break
        row = self._succeeded(deadline)
        yield from reader.rest(row.attempt, Answer.model_validate_json(row.result).text)

    def _is_over(self, deadline: _Deadline) -> bool:
        """Whether the row has ended, or is gone: the stream's own end can be lost."""
        with queue_errors(self._url):
            state = self._ledger.states([self.id])[self.id].state
        if state is None or state in keys.TERMINAL_STATES:
            return True
        deadline.check(self.id, state)
        return False

    def _succeeded(self, deadline: _Deadline) -> Row:
        row = self._wait(deadline)
        if row.state != "succeeded":
            raise _ERRORS[row.state](row.error, job_id=self.id, error_type=row.error_type)
        return row

    def _wait(self, deadline: _Deadline) -> Row:
        """Listen first, look second: an end between the two is then heard."""
        with queue_errors(self._url), self._listeners.on(keys.celery_result(self.id)) as listener:
            while not (row := self._row()).ended:
                deadline.check(self.id, row.state)
                listener.wait(min(_LOOK_AGAIN_S, deadline.left_s()))
            return row


class _Deadline:
    """Until when a caller waits."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._at = time.monotonic() + self._timeout_s

    def left_s(self) -> float:
        """Seconds that are left; below 0 when it has passed."""
        return self._at - time.monotonic()

    def check(self, job_id: str, state: State) -> None:
        """Raise where no time is left."""
        if self.left_s() <= 0:
            msg = f"job {job_id} was still {state} after {self._timeout_s:g} s; it goes on, so ask for its result again"
            raise WaitTimeout(msg)
