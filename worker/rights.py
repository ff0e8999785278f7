"""What a worker does in Redis, and whether its user may. Without a look at the start, what is missing shows when it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from redis.client import PubSub
from redis.connection import AbstractConnection
from redis.exceptions import NoPermissionError, ResponseError

from vidask import keys
from vidask.addresses import read_address, redacted
from vidask.connection import connect, queue_errors
from vidask.errors import QueueUnavailable
from worker.sweep import lines

REMEDY = "log in as the user worker of deploy/redis-users.acl, or give this one what that has"

_ROW = keys.job_row("-")
#: Its commands, each with arguments that fit. They are never executed.
COMMANDS = (
    *("time", "eval - 0", "evalsha - 0", "script load -", "script exists -"),
    *(f"{name} {_ROW}" for name in ("del", "exists", "get", "hgetall", "smembers", "llen", "zcard")),
    *(f"{name} {_ROW} 1" for name in ("expire", "pexpire", "set", "hget", "hmget", "sadd", "srem", "zrem")),
    *(f"{name} {_ROW} 1" for name in ("lpush", "rpush", "brpop", "blpop")),
    *(f"{name} {_ROW} 1 1" for name in ("setex", "getrange", "hset", "hsetnx", "hincrby", "zadd", "zcount")),
    *(f"{name} {_ROW} 1 1" for name in ("zrangebyscore", "xrevrange")),
    f"xadd {_ROW} * 1 1",
)
_MOST_NAMED = 3


def missing_rights(url: str) -> Sequence[str]:
    """What Redis refuses its user of all that a worker does.

    Redis looks at rights while a transaction is put together, and this one ends with its connection: nothing is executed.

    Raises:
        QueueUnavailable: Redis does not answer, or refuses the password.
        InvalidSettings: the address is not one.
    """
    db = int(read_address(url).options.get("db") or 0)
    with closing(connect(url)) as connection, queue_errors(url):
        link = connection.connection_pool.get_connection()
        missing = _refused(link, ["multi"]) or _refused(link, list(_wishes(db)))
        with connection.pubsub() as pubsub:
            missing += [f"psubscribe {pattern}" for pattern in _patterns(db) if not _hears(pubsub, pattern)]
    return missing


def check_rights(url: str) -> None:
    """See that Redis answers, and refuses its user nothing.

    Raises:
        QueueUnavailable: it does not, or refuses something.
        InvalidSettings: the address is not one.
    """
    if missing := missing_rights(url):
        raise QueueUnavailable(f"Redis at {redacted(url)} refuses its user {named(missing)}; {REMEDY}")


def named(missing: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return f"{', '.join(missing[:_MOST_NAMED])}{more}"


def _wishes(db: int) -> Iterator[str]:
    yield from COMMANDS
    yield from (f"exists {key}" for key in _keys())
    yield from (f"publish {channel} -" for channel in _channels(db))


def _keys() -> Iterator[str]:
    """One of each sort that a worker reads or writes, vidask's own and Celery's."""
    yield from (_ROW, keys.LEASES, keys.waiting("-"), keys.video("-", "-"), keys.video_lock("-", "-"))
    yield from (keys.blob("-", "-"), keys.stream("-"), keys.health("-"), keys.celery_result("-"))
    yield from lines().values()
    yield from ("_kombu.binding.vidask", "_kombu.binding_deadlines", "-.celery.pidbox", "celeryev.-")


def _channels(db: int) -> Iterator[str]:
    """Where it speaks. The names of Celery's hold the number of the database."""
    yield from (keys.CONTROL, keys.celery_result("-"), f"/{db}.celery.pidbox", f"/{db}.celeryev/worker.heartbeat")


def _patterns(db: int) -> Iterator[str]:
    """To what it listens; Redis compares patterns with those of the user word for word."""
    yield from (f"/{db}.celery.pidbox", f"/{db}.celeryev/worker.*")


def _refused(link: AbstractConnection, wishes: Sequence[str]) -> list[str]:
    link.send_packed_command(link.pack_commands([wish.split(" ") for wish in wishes]))
    return [wish for wish in wishes if not _granted(link)]


def _granted(link: AbstractConnection) -> bool:
    try:
        link.read_response()
    except ResponseError as error:  # of another sort where Redis is full, say, which is looked at behind the rights
        return not isinstance(error, NoPermissionError)
    return True


def _hears(pubsub: PubSub, pattern: str) -> bool:
    try:
        pubsub.psubscribe(pattern)
        pubsub.parse_response()
    except NoPermissionError:
        return False
    return True
