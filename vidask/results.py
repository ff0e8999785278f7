"""Celery's results, in the Redis that its messages go through."""

from __future__ import annotations

from typing import Any

import redis
from celery.backends.redis import RedisBackend

from vidask.addresses import Address
from vidask.connection import connect


class Results(RedisBackend):
    """Makes its connections as the address says."""

    @property
    def _address(self) -> Address:
        celery: Any = self
        return celery.app.conf.broker_transport_options["address"]

    def _create_client(self, **_: Any) -> redis.Redis:
        return connect(self._address.url, decode_responses=False)

    def as_uri(self, include_password: bool = False) -> str:
        """The address."""
        return self._address.url if include_password else str(self._address)
