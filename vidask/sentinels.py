"""Asking sentinels which Redis leads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

#: A sentinel answers from memory. Where the host of one is gone, each new connection may have to wait so long for it first.
_TIMEOUT_S = 0.5


class Sentinels(Sentinel):
    """Several sentinels, of which any one that answers will do.

    redis-py's own waits for seconds for one that is gone, and does not say why there is no master.

    Args:
        sentinels: host and port of each.
        options: what connections to them are made with.
    """

    def __init__(self, sentinels: Iterable[tuple[str, int]], options: Mapping[str, Any]) -> None:
        timeouts = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
        super().__init__(sentinels, sentinel_kwargs={**timeouts, **options})  # pyright: ignore[reportUnknownMemberType]  untyped

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the Redis that leads.

        Raises:
            MasterNotFoundError: no sentinel knows one, and why.
        """
        said, failed = "no sentinel answers", None
        for sentinel in self.sentinels:
            try:
                masters = cast("dict[str, dict[str, Any]]", sentinel.sentinel_masters())
            except (RedisConnectionError, RedisTimeoutError) as error:
                failed = error
                continue
            state = masters.get(service_name)
            if state is None:
                said = f"the sentinels know no {service_name!r}, but {', '.join(sorted(masters)) or 'nothing'}"
            elif self.check_master_state(state, service_name):  # pyright: ignore[reportUnknownMemberType]  untyped
                self.sentinels = [sentinel, *(other for other in self.sentinels if other is not sentinel)]
                return state["ip"], state["port"]
            else:
                said = f"{service_name!r} is down, and no replica of it leads yet"
        raise MasterNotFoundError(said) from failed

    def close(self) -> None:
        """Close the connections; redis-py does not everywhere before 8.1."""
        for sentinel in self.sentinels:
            sentinel.close()


class PrimaryPool(SentinelConnectionPool):
    """Connections to the Redis that leads, as the sentinels say. Closing them closes those to the sentinels as well."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections that are not in use, or all."""
        super().disconnect(inuse_connections)
        if inuse_connections:  # the others are closed while another thread may be asking a sentinel
            cast("Sentinels", self.sentinel_manager).close()  # pyright: ignore[reportUnknownMemberType]  untyped
