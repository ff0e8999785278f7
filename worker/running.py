"""The coroutines that do this worker's jobs on its event loop. Each can be stopped from outside."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any, TypeVar

from pipeline.loop import EventLoopThread
from vidask.errors import JobCancelled, VidaskError
from worker.claims import Claim
from worker.errors import GivenBack

T = TypeVar("T")

#: Ids that were cancelled lately: the news may come between a job's claim and its start.
_REMEMBERED = 256


class Running:
    """Runs a coroutine a job.

    Args:
        loop: where they run.
    """

    def __init__(self, loop: EventLoopThread) -> None:
        self._loop = loop
        self._running: dict[str, tuple[Claim, Future[Any]]] = {}
        self._cancelled: deque[str] = deque(maxlen=_REMEMBERED)
        self._stopped_by: dict[str, VidaskError] = {}
        self._lock = threading.Lock()

    @contextmanager
    def started(self, claim: Claim, work: Callable[[], Coroutine[Any, Any, T]]) -> Generator[Future[T]]:
        """Start the coroutine that `work` makes; the block is to wait for its future.

        Raises:
            JobCancelled: `cancel` was called for the job.
            GivenBack: `give_back` was called for it.
        """
        job_id = claim.job_id
        with self._lock:
            if job_id in self._cancelled:
                raise _cancelled(job_id)
            future = self._loop.submit(work())
            self._running[job_id] = claim, future
        try:
            yield future
        except CancelledError:
            raise self._stopped_by[job_id] from None
        finally:
            with self._lock:
                del self._running[job_id]
                self._stopped_by.pop(job_id, None)

    def claims(self) -> list[Claim]:
        """The jobs whose coroutines run."""
        with self._lock:
            return [claim for claim, _ in self._running.values()]

    def cancel(self, job_id: str) -> None:
        """Stop a job's coroutine, if it is here or about to be; the engine stops decoding."""
        self._cancelled.append(job_id)
        self._stop(job_id, _cancelled(job_id))

    def give_back(self, job_id: str, reason: str) -> bool:
        """Stop a job's coroutine without an end for the job; false where it does not run here."""
        return self._stop(job_id, GivenBack(reason))

    def _stop(self, job_id: str, reason: VidaskError) -> bool:
        with self._lock:
            if job_id not in self._running:
                return False
            self._stopped_by.setdefault(job_id, reason)
            return self._running[job_id][1].cancel()


def _cancelled(job_id: str) -> JobCancelled:
    return JobCancelled(f"job {job_id} was cancelled", job_id=job_id)
