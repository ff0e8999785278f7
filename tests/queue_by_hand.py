"""A Redis on which time passes when the test says so, and the queue without Celery, which may lose messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from typing import Any, Self, cast

import redis
from kombu.exceptions import OperationalError

from vidask import keys
from vidask.ledger import resolved
from vidask.publishing import Publisher
from worker.sweep import lines

#: Of each line, the list in Redis that holds its messages.
LISTS = lines()
#: What the scripts take for the time is what the test says.
OWN_CLOCK = """
local server = redis
local redis = {call = function(name, ...)
    if name == 'TIME' then
        return server.call('HMGET', 'clock', 'seconds', 'micros')
    end
    return server.call(name, ...)
end}
"""


class OwnClock(redis.Redis):
    """A connection to Redis on which time passes when the test says so."""

    @classmethod
    def of(cls, url: str) -> Self:
        return cast("Self", cls.from_url(url, decode_responses=True))

    def register_script(self, script: Any) -> Any:
        return super().register_script(OWN_CLOCK + script)

    def time(self, **_: object) -> Any:
        return tuple(int(part) for part in resolved(self.hmget("clock", ["seconds", "micros"])))

    def now_s(self) -> float:
        seconds, micros = self.time()
        return float(f"{seconds}.{micros:06d}")

    def start(self) -> None:
        """Begin with nothing."""
        self.flushdb()
        self.hset("clock", mapping={"seconds": 1_000_000, "micros": 0})

    def tick(self) -> None:
        """No two things happen at the same time."""
        self.hincrby("clock", "micros", 1)

    def pass_time(self, seconds: int) -> None:
        self.hincrby("clock", "seconds", seconds)


class QueueByHand(Publisher):
    """The queue as kombu keeps it: a list a line, pushed on its left, taken from its right."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._number = count()
        self.waiting = 0
        self.down = False
        self.sent: list[str] = []

    def send(self, job_id: str, kind: str, *, again: bool = False) -> None:
        if self.down:
            msg = "the queue does not answer"
            raise OperationalError(msg)
        self._redis.lpush(LISTS[keys.line(kind, again=again)], f"{job_id} {next(self._number)}")
        self.waiting += 1
        if again:
            self.sent.append(job_id)

    def pop(self, first: str) -> str | None:
        """The job of the next message of a line; of another one where that is empty."""
        for line in sorted(LISTS, key=lambda line: line != first):
            if message := self._redis.rpop(LISTS[line]):
                self.waiting -= 1
                return str(message).split()[0]
        return None

    @contextmanager
    def perhaps_down(self, *, down: bool) -> Iterator[None]:
        """Where it is, who wants to send something in the block has an error."""
        self.down = down
        with suppress(OperationalError) if down else nullcontext():
            yield
        self.down = False
