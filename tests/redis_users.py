"""A Redis with the users of deploy/redis-users.acl, as which the tests' clients and workers log in.

What tests themselves do to Redis (look at keys, lose messages, fill it up) they do as its admin. An address names one user; those
of the others are made from it. An address of a Redis without users stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from worker.embedded import redis_server

ACL_FILE = Path(__file__).parents[1] / "deploy" / "redis-users.acl"
#: How redis-py introduces itself, which it may leave: before Redis 7.2 there is no right to that alone.
_INTRODUCTION = "client"


def password_of(user: str) -> str:
    """What stands in the tests' copy of the file instead of `USER-PASSWORD`."""
    return f"{user}-s-own"


def as_user(url: str, user: str) -> str:
    """The address of the same Redis for one of its users."""
    address = urlsplit(url)
    if not address.username:
        return url
    return address._replace(netloc=f"{user}:{password_of(user)}@{address.hostname}:{address.port}").geturl()


def as_worker(url: str) -> str:
    """For a worker, and the commands that belong to one."""
    return as_user(url, "worker")


def as_admin(url: str) -> str:
    """For what tests themselves do to Redis."""
    return as_user(url, "admin")


def users_in(folder: Path) -> Sequence[str]:
    """What redis-server is started with, so that it has the users; their file stands in that folder."""
    text = ACL_FILE.read_text()
    for user in ("admin", "producer", "worker", "flower"):
        text = text.replace(f">{user.upper()}-PASSWORD", f">{password_of(user)}")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "users.acl"
    file.write_text(text)
    return ("--aclfile", str(file))


@contextmanager
def redis_with_users(folder: Path, *, port: int | None = None, arguments: Sequence[str] = ()) -> Iterator[str]:
    """A Redis with users; gives the producer's address. When the block is left, it has refused them nothing."""
    with redis_server(folder, port=port, arguments=[*users_in(folder), *arguments]) as url:
        producer = url.replace("://", f"://producer:{password_of('producer')}@")
        yield producer
        with suppress(redis.ConnectionError):  # a test has killed it, and its log with it
            assert not (entries := refused(producer)), "\n".join(entries)


def refused(url: str) -> list[str]:
    """What Redis has refused its users since it started, or since its log was reset."""
    with redis.Redis.from_url(as_admin(url), decode_responses=True) as connection:
        entries: Any = connection.acl_log()
    return [
        f"{entry['username']}: {entry['reason']} {entry['object']} ({entry['context']}), {entry['client-info']}"
        for entry in entries
        if not (entry["reason"] == "command" and str(entry["object"]).startswith(_INTRODUCTION))
    ]
