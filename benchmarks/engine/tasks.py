"""The benchmark's own tasks in the worker, called from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis
from celery import Celery

from benchmarks.engine.results import results
from benchmarks.engine.system import System
from vidask import keys
from vidask.connection import celery_settings

ALONE = "benchmarks.alone"
DESCRIBE = "benchmarks.describe"
FORGET = "benchmarks.forget"
READ = "benchmarks.read"
STRAIGHT = "benchmarks.straight"

#: A caption.
DESCRIBED_TOKENS = 100
#: Captions that a job wants together. A worker has 15 such jobs in hand, and these fill an engine of 240 places.
DESCRIBED_AT_ONCE = 16
#: As long as this key is there, each description is followed by the next.
KEEP_DESCRIBING = "vidask:benchmark:describing"
#: How many descriptions have been begun.
DESCRIPTIONS_BEGUN = "vidask:benchmark:begun"

_KEPT_S = 600
_LIMIT_S = 120.0
_ALONE_LIMIT_S = 900.0

#: Unix seconds, and how many requests the engine ran from then on.
Change = tuple[float, int]


class Tasks:
    """Calls them, through the queue like everything else."""

    def __init__(self, celery: Celery, connection: redis.Redis) -> None:
        self._celery = celery
        self._redis = connection

    def read(self) -> dict[str, Any]:
        """What went on in the worker since the last call; see `watch.Watch.read`."""
        return self._call(READ)

    def forget_prompts(self) -> None:
        """Empty the engine's prefix cache, once it has answered everything.

        Raises:
            TimeoutError: it has not.
        """
        wait_until(lambda: self._call(FORGET), "the engine still answers what was asked before")

    def straight(self, at_s: Sequence[float]) -> list[float]:
        """Seconds to the first token of the prompts of part `bound`, come at these times to the engine itself."""
        return self._call(STRAIGHT, list(at_s), limit_s=at_s[-1] + _LIMIT_S)

    def alone(self) -> float:
        """Seconds in which the engine itself answers the prompts of part `bound`."""
        return self._call(ALONE, limit_s=_ALONE_LIMIT_S)

    def wait_until_running(self, n: int) -> list[Change]:
        """Wait until the engine has had so many requests in a step; returns how their number changed until then.

        Raises:
            TimeoutError: it has not.
        """
        return self._wait(f"has not run {n} requests", lambda running: running >= n)

    def wait_until_left(self, n: int) -> list[Change]:
        """The same until there are no more than `n` left."""
        return self._wait(f"runs more than {n} requests", lambda running: running <= n)

    def _wait(self, otherwise: str, condition: Callable[[int], bool]) -> list[Change]:
        changes = list[Change]()

        def holds() -> bool:
            seen = self.read()
            changes.extend(seen["changes"])
            return condition(seen["running"])

        wait_until(holds, f"the engine {otherwise}")
        return changes

    def _call(self, task: str, *args: Any, limit_s: float = _LIMIT_S) -> Any:
        sent = self._celery.send_task(task, args=args, queue=keys.QUEUE, priority=keys.PRIORITY_QUESTION)
        return results(self._redis, [sent.id], limit_s)[0]

    @contextmanager
    def describing(self, n: int) -> Iterator[None]:
        """Keep `n` jobs that need the model on the queue or in the engine; as many captions have been begun when the block is."""
        self._redis.set(KEEP_DESCRIBING, 1, ex=_KEPT_S)
        self._redis.set(DESCRIPTIONS_BEGUN, 0, ex=_KEPT_S)
        for number in range(n):
            self._celery.send_task(DESCRIBE, args=[number], queue=keys.QUEUE, priority=keys.PRIORITY_FRAMES)
        wait_until(
            lambda: int(cast("str", self._redis.get(DESCRIPTIONS_BEGUN))) >= n, f"{n} descriptions are not begun"
        )
        try:
            yield
        finally:
            self._redis.delete(KEEP_DESCRIBING)


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: after two minutes; says what is the case otherwise.
    """
    deadline = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            msg = f"after {_LIMIT_S:g} s {otherwise}"
            raise TimeoutError(msg)
        time.sleep(0.1)


@contextmanager
def tasks_of(running: System) -> Iterator[Tasks]:
    """The tasks of a worker that was started with `benchmarks.engine.app`."""
    with Celery(set_as_current=False, changes=celery_settings(running.url)) as celery:
        yield Tasks(celery, running.redis)
