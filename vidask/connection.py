"""How vidask reaches Redis, and the one place where Redis's errors become ours."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import redis
from kombu.exceptions import OperationalError
from kombu.utils.url import as_url
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
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
from redis.sentinel import MasterNotFoundError

from vidask import keys
from vidask.addresses import Address, read_address, redacted
from vidask.errors import QueueUnavailable
from vidask.tls import tls_problem

DEFAULT_URL = "redis://127.0.0.1:6379/0"

#: With one retry a server that is gone or hangs is reported within 5 s.
_SOCKET_TIMEOUT_S = 2.0
_BROKER_TIMEOUT_S = 3
#: A connection on which nothing has come for so long is asked whether it lives before it is used.
_SILENCE_S = 3
#: No limit of ours: a worker has a thread a job, a producer perhaps one a stream, and redis-py's own limit is 100.
_MAX_CONNECTIONS = 2**31
_TIMEOUTS = {"socket_timeout": _SOCKET_TIMEOUT_S, "socket_connect_timeout": _SOCKET_TIMEOUT_S}


def connect(url: str, *, decode_responses: bool = True) -> redis.Redis:
    """A client for `url`; connects at the first command.

    Raises:
        InvalidSettings: when `url` is not a Redis address.
    """
    pool = read_address(url).pool(
        decode_responses=decode_responses,
        retry=Retry(ExponentialBackoff(base=0.05, cap=0.2), 1),
        health_check_interval=_SILENCE_S,
        max_connections=_MAX_CONNECTIONS,
        **_TIMEOUTS,
    )
    return redis.Redis.from_pool(pool)  # closes it with itself


def celery_settings(url: str) -> dict[str, Any]:
    """What producer and worker must agree on for Celery: broker, queue, JSON only, the order of priorities.

    Raises:
        InvalidSettings: when `url` is not a Redis address.
    """
    address = read_address(url)
    return {
        "broker_url": _shown_by_celery(address),
        "broker_transport": "vidask.transport:Transport",
        "result_backend": "vidask.results:Results",
        "task_default_queue": keys.QUEUE,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_expires": keys.RESULT_TTL_S,
        "broker_connection_timeout": _SOCKET_TIMEOUT_S,
        "broker_transport_options": {
            "address": address,
            "queue_order_strategy": "priority",
            "ack_emulation": False,  # rows and leases know better, and sooner, what is lost
            # A connection that Redis no longer answers on is noticed, and made anew.
            "socket_timeout": _BROKER_TIMEOUT_S,
            "socket_connect_timeout": _SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": _SILENCE_S,
        },
    }


def _shown_by_celery(address: Address) -> str:
    """What Celery logs, and by which it knows whether two brokers are one; the connections are made by `address`."""
    host, port = next(iter(address.places), ("localhost", None))
    user, password, db = (address.options.get(name) for name in ("username", "password", "db"))
    return as_url("redis", host, port, user, password, str(db or 0))


@contextlib.contextmanager
def queue_errors(url: str) -> Generator[None]:
    """Turn what redis-py and kombu raise into `QueueUnavailable`, in one line that says what to do."""
    try:
        yield
    except (RedisError, OperationalError) as error:
        raise QueueUnavailable(f"Redis at {redacted(url)} {_explain(error, url)}") from error


def _explain(error: Exception, url: str) -> str:
    """The most specific first; kombu wraps the error of redis-py, which is the one that tells."""
    cause = error.__cause__ if isinstance(error, OperationalError) and error.__cause__ else error
    said = str(cause).rstrip(".").rpartition(": -")[2]  # in front a script says where
    return tls_problem(cause) or _of_many(cause, said) or _of_one(cause, said, url)


def _of_many(cause: BaseException, said: str) -> str | None:
    """What is wrong between one Redis, its replicas and their sentinels."""
    match cause:
        case MasterNotFoundError(__cause__=AuthenticationError() as refusal):
            return f"has sentinels that refuse the password ({refusal}); give it as ?sentinel_password="
        case MasterNotFoundError():
            return f"is not to be found ({said}); start it and its sentinels, or correct VIDASK_REDIS_URL"
        case _ if _follows(cause):
            return (
                f"is a replica and takes no writes ({said}); name the one that leads, or sentinels: redis+sentinel://"
            )
        case _ if _lacks_replicas(cause):
            return f"refuses writes as long as no replica has them, too ({said}); start one"
        case _ if _says("unknown command", cause):
            return (
                "is a sentinel, or is none and taken for one; write redis+sentinel:// for sentinels, redis:// for Redis"
            )
        case _:
            return None


def _of_one(cause: BaseException, said: str, url: str) -> str:
    match cause:
        case AuthenticationError():
            return f"refused the user or password ({said}); correct them in VIDASK_REDIS_URL"
        case _ if _not_permitted(cause):
            return f"does not permit this to the user ({said}); widen the user's ACL"
        case _ if is_full(cause):
            return f"is full and refuses writes ({said}); raise maxmemory or remove data"
        case BusyLoadingError():
            return "is still loading its data; try again in a moment"
        case InvalidResponse():
            return f"does not answer as Redis does ({said}); write rediss:// where it speaks TLS"
        case _:
            return f"does not answer ({said}); start it, or correct VIDASK_REDIS_URL{_doubt(said, url)}"


def _doubt(said: str, url: str) -> str:
    """Neither side of a connection can always tell that the other one speaks TLS, or does not."""
    if url.startswith("rediss"):
        return (
            ", with redis:// where it has no TLS, or ?ssl_certfile=FILE&ssl_keyfile=FILE where it wants a certificate"
        )
    hung_up = "Connection closed" in said or "Connection reset" in said
    return ", with rediss:// where it speaks TLS" if hung_up else ""


def is_full(error: BaseException) -> bool:
    """Whether Redis has no memory left."""
    return isinstance(error, OutOfMemoryError) or _says("OOM", error)


def _not_permitted(error: BaseException) -> bool:
    """Whether a right is missing; inside a script it is a plain error, in words that differ by version."""
    of_a_script = ("The user executing the script can't", "ACL failure in script")
    return isinstance(error, NoPermissionError) or any(words in str(error) for words in of_a_script)


def _follows(error: BaseException) -> bool:
    """Whether another Redis leads, perhaps since a moment ago."""
    return isinstance(error, ReadOnlyError) or _says("READONLY", error)


def _lacks_replicas(error: BaseException) -> bool:
    """Whether Redis is to have replicas that it does not have now; see its `min-replicas-to-write`."""
    return _says("NOREPLICAS", error)


def _says(code: str, error: BaseException) -> bool:
    """What a script raises is not redis-py's own error of that code before Redis 7."""
    return isinstance(error, RedisError) and f"{code} " in str(error)


def passes(error: RedisError) -> bool:
    """Whether the same may succeed later: Redis is away, loading, full, alone, or another one leads by now."""
    if isinstance(error, AuthenticationError):  # a kind of ConnectionError to redis-py
        return False
    away = isinstance(error, (RedisConnectionError, RedisTimeoutError, BusyLoadingError))
    return away or is_full(error) or _follows(error) or _lacks_replicas(error)
