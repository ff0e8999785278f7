"""What several tests need."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from celery import Celery

from tests.redis_users import as_admin, as_worker
from vidask.connection import connect

LECTURE = """WEBVTT

00:00.000 --> 00:04.000
Welcome to the lecture on decision trees.

00:04.000 --> 00:09.000
A decision tree asks one question after another.

01:10.000 --> 01:16.000
A deep tree overfits because every leaf holds a single example.

01:16.000 --> 01:20.000
So it memorises the noise.

03:00.000 --> 03:05.000
Pruning removes the branches that do not help on the validation set.
"""


def health(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m worker health`."""
    command = [sys.executable, "-m", "worker", "health", *arguments]
    env = {**os.environ, "VIDASK_REDIS_URL": as_worker(url)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def answers(url: str) -> bool:
    """Whether Redis, or a sentinel, is up and takes our word."""
    with connect(url) as connection:
        try:
            return bool(connection.ping())
        except redis.RedisError:
            return False


def wait_for(what: str, condition: Callable[[], object], limit_s: float = 60.0) -> None:
    """Wait until a described condition holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"after {limit_s:g} s it was still not so that {what}"
        time.sleep(0.02)


@contextmanager
def plain_celery(url: str, **changes: Any) -> Iterator[Celery]:
    """Celery as a backend without vidask has it; its own `close` leaves the connections to the garbage collector."""
    with Celery(broker=url, backend=url, set_as_current=False, changes=changes) as celery:
        yield celery
        backend: Any = celery.backend
        # Results that were waited for talk to Redis when they are collected, whenever that is.
        backend.remove_pending_result = lambda result: result
        backend.result_consumer.stop()
        backend.client.connection_pool.disconnect()


def keys_without_ttl(url: str) -> list[str]:
    """Keys of ours that would stay for ever. The queue itself, which is Celery's, empties as jobs are taken."""
    with redis.Redis.from_url(as_admin(url), decode_responses=True) as connection:
        ours = (key for pattern in ("vidask:*", "celery-task-meta-*") for key in connection.scan_iter(pattern))
        return [key for key in ours if connection.ttl(key) == -1]
