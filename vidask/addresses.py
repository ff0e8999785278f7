"""Addresses of Redis. One URL says where it is, who asks, whether over TLS, and which sentinels know the Redis that leads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis import connection as redis_connection
from redis.connection import AbstractConnection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from vidask.errors import InvalidSettings
from vidask.sentinels import PrimaryPool, Sentinels

_DIRECT = "://HOST:PORT/DB"
_SENTINEL = "+sentinel://HOST:26379,HOST:26379/MASTER/DB"
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
#: Begins the options that are for the sentinels alone.
_TO_SENTINELS = "sentinel_"
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_BEFORE_HOST = re.compile(r"(://[^:/@]*:).*@")
_IN_QUERY = re.compile(r"(password=)[^&]*")


@dataclass(frozen=True, repr=False)
class Address:
    """Where Redis is, and how it is spoken to. Shown without its passwords.

    Attributes:
        url: as it was given.
        connection_class: redis-py's class of a connection to it.
        options: what a connection is made with: host, port, db, username, password, the files of TLS.
        sentinels: host and port of each that is asked which Redis leads; none where the address is Redis's own.
        sentinel_options: what a connection to a sentinel is made with.
        master: the name that the sentinels have for the Redis that leads, whichever that is.
    """

    url: str
    connection_class: type[AbstractConnection]
    options: Mapping[str, Any]
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    master: str = ""

    @property
    def encrypted(self) -> bool:
        """Whether over TLS."""
        return issubclass(self.connection_class, SSLConnection)

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports that the URL names; none where it names a socket of this host."""
        if issubclass(self.connection_class, UnixDomainSocketConnection):
            return ()
        return self.sentinels or ((self.options.get("host", "localhost"), self.options.get("port", _REDIS_PORT)),)

    def pool(self, **options: Any) -> redis.ConnectionPool:
        """Connections to it, with these options where the URL has none of that name."""
        options = {"connection_class": self.connection_class, **options, **self.options}
        if not self.sentinels:
            return redis.ConnectionPool(**options)
        return PrimaryPool(self.master, Sentinels(self.sentinels, self.sentinel_options), **options)

    def __str__(self) -> str:
        return redacted(self.url)

    __repr__ = __str__
    #: For kombu, which sends its transport's options to whoever asks a worker for its statistics.
    __json__ = __str__


def read_address(url: str) -> Address:
    """The address that a URL is.

    Raises:
        InvalidSettings: it is none.
    """
    scheme = url.partition("://")[0]
    try:
        address = _READ.get(scheme, _none)(url)
        _check(address)
    except (ValueError, RedisError) as error:
        form = _SENTINEL if "sentinel" in scheme else _DIRECT
        tls = "s" if scheme.startswith("rediss") else ""
        msg = f"{redacted(url)!r} is not a Redis address ({str(error).rstrip('.')}); write redis{tls}{form}"
        raise InvalidSettings(msg) from None
    return address


def redacted(url: str) -> str:
    """The address without the password, for messages and logs."""
    return _IN_QUERY.sub(r"\1***", _BEFORE_HOST.sub(r"\1***@", url))


def _none(url: str) -> Address:
    msg = "that is Celery's way" if url.startswith("sentinel://") else f"it begins with none of {', '.join(_READ)}"
    raise ValueError(msg)


def _direct(url: str) -> Address:
    options = _parsed(url)
    if "db" not in options and "path" not in options and urlsplit(url).path.strip("/"):
        msg = "behind the host stands a database's number"
        raise ValueError(msg)
    return Address(url, options.pop("connection_class", redis.Connection), options)


def _through_sentinels(url: str) -> Address:
    """What stands before and behind the sentinels is read as if it stood around one Redis."""
    scheme, netloc, path, query, _ = urlsplit(url)
    user, at, hosts = netloc.rpartition("@")
    master, _, db = path.strip("/").partition("/")
    if not master or not (db or "0").isdecimal():
        msg = "behind the sentinels stand the master's name and a database's number"
        raise ValueError(msg)
    options = _parsed(f"{scheme.removesuffix('+sentinel')}://{user}{at}/{db or 0}?{query}")
    over_tls = options.pop("connection_class", None) is not None
    own = {name: options.pop(name) for name in list(options) if name.startswith(_TO_SENTINELS)}
    return Address(
        url,
        SentinelManagedSSLConnection if over_tls else SentinelManagedConnection,
        options,
        sentinels=tuple(_host_and_port(host) for host in hosts.split(",")),
        sentinel_options={
            "ssl": over_tls,
            **{name: option for name, option in options.items() if name.startswith("ssl_")},
            **{name.removeprefix(_TO_SENTINELS): option for name, option in own.items()},
        },
        master=unquote(master),
    )


def _parsed(url: str) -> dict[str, Any]:
    parse: Any = redis_connection.parse_url  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  untyped in redis-py
    return parse(url)


def _host_and_port(said: str) -> tuple[str, int]:
    parts = urlsplit(f"//{said}")
    if not parts.hostname:
        msg = "a sentinel has no host"
        raise ValueError(msg)
    return parts.hostname, parts.port or _SENTINEL_PORT


_READ: Mapping[str, Callable[[str], Address]] = {
    "redis": _direct,
    "rediss": _direct,
    "unix": _direct,
    "redis+sentinel": _through_sentinels,
    "rediss+sentinel": _through_sentinels,
}


def _check(address: Address) -> None:
    """Refuse what redis-py would not refuse before it connects, and then not in a sentence."""
    for name in _FILES:
        if (path := address.options.get(name)) and not Path(path).is_file():
            msg = f"{name} {path!r} is no file"
            raise ValueError(msg)
    try:
        address.pool().make_connection()  # connects to nothing yet
    except TypeError as error:
        name = str(error).rpartition(" ")[2].strip("'")
        msg = f"{name} is for rediss://, TLS" if name.startswith("ssl_") else f"{name} is no option of it"
        raise ValueError(msg) from None
