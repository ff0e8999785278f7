"""Jobs that may be what ends workers: each is done beside no other of that sort, so that none is blamed for another.

A crash counts against all jobs that the worker had, and after two of them nobody knows yet which one it was. So from then on a
worker takes one of them at a time. The next crash sets aside that one alone.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from worker.claims import Claim
from worker.errors import Postponed


class Probation:
    """Of one worker."""

    def __init__(self) -> None:
        self._taken = threading.Lock()

    @contextmanager
    def beside_no_other(self, claim: Claim) -> Generator[None]:
        """The block, for a job that is under suspicion while no other one is; for any other job at any time.

        Raises:
            Postponed: another one is being done.
        """
        if not claim.on_probation:
            yield
            return
        if not self._taken.acquire(blocking=False):
            msg = f"{claim.crashes} workers ended while it ran, and this one has another such job just now"
            raise Postponed(msg)
        try:
            yield
        finally:
            self._taken.release()
