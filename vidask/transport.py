"""Celery's Redis transport at an address of ours: what its URL says of TLS and sentinels is to Celery what it is to the client."""

from __future__ import annotations

from typing import Any, cast

import redis as redis_py
from kombu.transport import redis

from vidask.addresses import Address

#: Of kombu's, what is nothing to a socket of this host.
_OF_TCP = ("host", "port", "socket_keepalive", "socket_keepalive_options")


class Channel(redis.Channel):
    """Makes its connections as the address says.

    Attributes:
        address: from the options of the transport.
    """

    address: Address
    from_transport_options = (*redis.Channel.from_transport_options, "address")

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        self.connection_class = self.address.connection_class
        params = cast("dict[str, Any]", super()._connparams(asynchronous))  # pyright: ignore  not in the stubs
        if not self.address.places:
            params = {name: param for name, param in params.items() if name not in _OF_TCP}
        return params | dict(self.address.options)

    def _get_pool(self, asynchronous: bool = False) -> redis_py.ConnectionPool:
        params = self._connparams(asynchronous)
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
        return self.address.pool(**params)


class Transport(redis.Transport):
    """kombu's, with that channel."""

    Channel = Channel
