"""`python -m worker health`: a worker looks at all that it works with, and says what it found.

The command asks on the control channel, as whoever cancels a job does. The worker that is meant looks at each thing on a thread of
its own, and pushes what it found onto a list that the command waits for: first the names of its checks, then a line for each. So
the worker itself proves that it hears, and the command needs none of its models to be loaded.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from uuid import uuid4

import redis
from celery.utils.log import get_logger
from pydantic import BaseModel
from redis.exceptions import RedisError

from vidask import keys
from vidask.addresses import redacted
from vidask.connection import connect, queue_errors
from vidask.errors import QueueUnavailable, one_line
from vidask.ledger import resolved

log = get_logger(__name__)

#: A worker that hears the order says so at once; one that has not after so long does not hear it, seconds.
_HEARD_S = 5.0
#: So long one call waits for a line, less than the connection's own limit, seconds.
_POP_S = 1


class Finding(BaseModel):
    """What a check found.

    Attributes:
        check: its name.
        healthy: whether all is well.
        said: what it saw, or what is wrong, in a line.
    """

    check: str
    healthy: bool
    said: str


class Check:
    """Something to look at, on a thread of its own. There is one look at a time, so that one that hangs is not joined by others.

    Args:
        name: of what is looked at.
        look: returns in a few words what it saw; raises where something is wrong.
        limit_s: how long that may take, seconds.
    """

    def __init__(self, name: str, look: Callable[[], str], *, limit_s: float) -> None:
        self.name = name
        self._look = look
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._began = 0.0
        self._found: Future[Finding] | None = None

    def begin(self) -> Callable[[], Finding]:
        """Look, unless somebody is looking; gives what waits for the finding, until the time is over."""
        with self._lock:
            if self._found is None or self._found.done():
                self._began, self._found = time.monotonic(), Future()
                threading.Thread(target=self._run, args=(self._found,), name=f"health-{self.name}", daemon=True).start()
            return partial(self._wait, self._found, self._began)

    def _wait(self, found: Future[Finding], began: float) -> Finding:
        try:
            return found.result(max(0.0, began + self._limit_s - time.monotonic()))
        except TimeoutError:
            said = f"nothing for {time.monotonic() - began:.0f} s; it hangs, or has too much to do"
            return Finding(check=self.name, healthy=False, said=said)

    def _run(self, found: Future[Finding]) -> None:
        try:
            finding = Finding(check=self.name, healthy=True, said=self._look())
        except Exception as error:  # noqa: BLE001  whatever it is, it is what somebody asks for
            finding = Finding(check=self.name, healthy=False, said=one_line(error))
        found.set_result(finding)


class Health:
    """Answers for one worker.

    Args:
        connection: to Redis.
        worker: the worker's name, like `celery@host`.
        checks: what is looked at.
    """

    def __init__(self, connection: redis.Redis, worker: str, checks: Sequence[Check]) -> None:
        self._redis = connection
        self._worker = worker
        self._checks = checks

    def order(self, argument: str) -> None:
        """Take what came behind `health` on the control channel; looks on other threads, if this worker is meant."""
        nonce, _, worker = argument.partition(" ")
        if worker == self._worker:
            threading.Thread(target=self._answer, args=(nonce,), name="health", daemon=True).start()

    def _answer(self, nonce: str) -> None:
        begun = [check.begin() for check in self._checks]
        try:
            self._say(nonce, json.dumps([check.name for check in self._checks]))
            for finding in begun:
                self._say(nonce, finding().model_dump_json())
        except RedisError as error:
            log.warning("nobody is told how this worker is: Redis: %s", error)

    def _say(self, nonce: str, line: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.rpush(keys.health(nonce), line)
            pipe.expire(keys.health(nonce), keys.HEALTH_TTL_S)
            pipe.execute()


def ask(url: str, worker: str, *, timeout_s: float) -> Iterator[Finding]:
    """Have a worker look at all that it works with; yields what it found, check by check.

    Args:
        url: of Redis.
        worker: the worker's name, like `celery@host`.
        timeout_s: how long to wait for all of it, seconds.

    Raises:
        QueueUnavailable: Redis does not answer, or the worker does not.
        InvalidSettings: the address is not one.
    """
    deadline = time.monotonic() + timeout_s
    nonce = uuid4().hex
    with closing(connect(url)) as connection, queue_errors(url):
        connection.publish(keys.CONTROL, f"{keys.HEALTH} {nonce} {worker}")
        names = _next(connection, nonce, min(deadline, time.monotonic() + _HEARD_S))
        if names is None:
            msg = f"worker {worker} does not answer on {redacted(url)}; it is not there, still starting, or does not hear Redis"
            raise QueueUnavailable(msg)
        for name in json.loads(names):
            line = _next(connection, nonce, deadline)
            missing = Finding(check=name, healthy=False, said=f"no word of it within {timeout_s:g} s")
            yield Finding.model_validate_json(line) if line else missing


def _next(connection: redis.Redis, nonce: str, deadline: float) -> str | None:
    """The next line, or nothing where none has come until then."""
    while time.monotonic() < deadline:
        if popped := resolved(connection.blpop([keys.health(nonce)], timeout=_POP_S)):
            return popped[1]
    return None
