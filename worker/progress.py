"""How far a long job is, said in its row once a second."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import RedisError

from vidask import keys
from worker.claims import Claim

T = TypeVar("T")

_PAUSE_S = 1.0


class ProgressNote:
    """Of one job. Its event loop says how far it is; the thread that waits for the job writes that down.

    Args:
        claim: the job.
        total: frames it has.
        script: `progress.lua`.
    """

    def __init__(self, claim: Claim, total: int, script: Callable[..., object]) -> None:
        self._claim = claim
        self._total = total
        self._script = script
        self._done = 0

    def set(self, done: int) -> None:
        """So many frames are done."""
        self._done = done

    def result(self, future: Future[T]) -> T:
        """Wait for the job's coroutine, and write down meanwhile how far it is."""
        written: Any = None
        while not future.done():
            if self._done != written:
                written = self._write(self._done)
            wait([future], timeout=_PAUSE_S)
        return future.result()

    def _write(self, done: int) -> int:
        with suppress(RedisError):  # it is said again with the next frame
            self._script(keys=[keys.job_row(self._claim.job_id)], args=[self._claim.attempt, done, self._total])
        return done
