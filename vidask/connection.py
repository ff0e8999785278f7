"""How vidask reaches Redis, and the one place where Redis's errors become ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import redis
from kombu.exceptions import OperationalError
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry

from vidask import keys
from vidask.errors import InvalidSettings, QueueUnavailable

DEFAULT_URL = "redis://127.0.0.1:6379/0"

#: With one retry a server that is gone or hangs is reported within 5 s.
_SOCKET_TIMEOUT_S = 2.0
_BROKER_TIMEOUT_S = 3
#: A connection on which nothing has come for so long is asked whether it lives before it is used.
_SILENCE_S = 3
_BEFORE_HOST = re.compile(r"(://[^:/@]*:).*@")
_IN_QUERY = re.compile(r"(password=)[^&]*")
#: No limit of ours: a worker has a thread a job, a producer perhaps one a stream, and redis-py's own limit is 100.
_MAX_CONNECTIONS = 2**31
_TIMEOUTS = {"socket_timeout": _SOCKET_TIMEOUT_S, "socket_connect_timeout": _SOCKET_TIMEOUT_S}


def connect(url: str) -> redis.Redis:
    """A client for `url`; connects at the first command.

    Raises:
        InvalidSettings: when `url` is not a Redis address.
    """
    try:
        pool = redis.ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]  redis-py leaves it untyped
            url,
            decode_responses=True,
            retry=Retry(ExponentialBackoff(base=0.05, cap=0.2), 1),
            health_check_interval=_SILENCE_S,
            max_connections=_MAX_CONNECTIONS,
            **_TIMEOUTS,
        )
    except ValueError as error:
        msg = f"{redacted(url)!r} is not a Redis address ({error}); write redis://HOST:PORT/DB"
        raise InvalidSettings(msg) from None
    return redis.Redis.from_pool(pool)  # closes it with itself


def celery_settings(url: str) -> dict[str, Any]:
    """What producer and worker must agree on for Celery: broker, queue, JSON only, the order of priorities."""
    return {
        "broker_url": url,
        "result_backend": url,
        "task_default_queue": keys.QUEUE,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_expires": keys.RESULT_TTL_S,
        "broker_connection_timeout": _SOCKET_TIMEOUT_S,
        "broker_transport_options": {
            "queue_order_strategy": "priority",
            "ack_emulation": False,  # rows and leases know better, and sooner, what is lost
            # A connection that Redis no longer answers on is noticed, and made anew.
            "socket_timeout": _BROKER_TIMEOUT_S,
            "socket_connect_timeout": _SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": _SILENCE_S,
        },
    }


@contextlib.contextmanager
def queue_errors(url: str) -> Generator[None]:
    """Turn what redis-py and kombu raise into `QueueUnavailable`, in one line that says what to do."""
    try:
        yield
    except (RedisError, OperationalError) as error:
        raise QueueUnavailable(_explain(error, redacted(url))) from error


def _explain(error: Exception, url: str) -> str:
    """The most specific first; kombu wraps the error of redis-py, which is the one that tells."""
    cause = error.__cause__ if isinstance(error, OperationalError) and error.__cause__ else error
    said = str(cause).rstrip(".")
    match cause:
        case AuthenticationError():
            return f"Redis at {url} refused the user or password ({said}); correct them in VIDASK_REDIS_URL"
        case NoPermissionError():
            return f"Redis at {url} does not permit this to the user ({said}); widen the user's ACL"
        case _ if is_full(cause):
            return f"Redis at {url} is full and refuses writes ({said}); raise maxmemory or remove data"
        case BusyLoadingError():
            return f"Redis at {url} is still loading its data; try again in a moment"
        case _:
            return f"Redis at {url} does not answer ({said}); start it, or correct VIDASK_REDIS_URL"


def is_full(error: BaseException) -> bool:
    """Whether Redis has no memory left. What a script raises of it is not redis-py's own error before Redis 7."""
    return isinstance(error, OutOfMemoryError) or (isinstance(error, RedisError) and "OOM " in str(error))


def passes(error: RedisError) -> bool:
    """Whether the same may succeed later: Redis is away, loading, full, or about to lead again."""
    if isinstance(error, AuthenticationError):  # a kind of ConnectionError to redis-py
        return False
    return isinstance(error, (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError)) or is_full(
        error
    )


def redacted(url: str) -> str:
    """The address without the password, for messages and logs."""
    return _IN_QUERY.sub(r"\1***", _BEFORE_HOST.sub(r"\1***@", url))
