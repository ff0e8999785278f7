"""Jobs that may be what ends workers: each is done beside no other of that sort, so that none is blamed for another.

A crash counts against all jobs that the worker had, and after two of them nobody knows yet which one it was. So from then on a
worker takes one of them at a time. The next crash sets aside that one alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker.claims import Claim


class Probation:
    """Of one worker."""

    def __init__(self) -> None:
        self._place = threading.Lock()

    def claimed(self, claim: Callable[[bool], Claim | None]) -> Claim | None:
        """What `claim` gets, told whether it may be a job on probation.

        The place for one is taken before anybody knows whether that is what comes: once it is claimed, a crash counts against it.
        """
        free = self._place.acquire(blocking=False)
        job = None
        try:
            job = claim(free)
        finally:
            if free and not (job and job.on_probation):
                self._place.release()
        return job

    def leave(self, claim: Claim) -> None:
        """The job is worked on no more."""
        if claim.on_probation:
            self._place.release()
