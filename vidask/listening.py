"""Listening for the ends of jobs, on connections that are kept between one wait and the next."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import redis
import redis.client
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

#: Redis confirms a subscription at once; where it has not for so long, the connection is open on this side alone. Seconds.
_CONFIRMATION_S = 0.5


class Listener:
    """A subscription to the end of one job."""

    def __init__(self, pubsub: redis.client.PubSub, channel: str) -> None:
        self._pubsub = pubsub
        self._channel = channel

    def begin(self) -> None:
        """Subscribe: what is published from now on is heard. A connection that is dead is left, and the caller may look."""
        self._pubsub.subscribe(self._channel)
        if not self._hears({"subscribe"}, _CONFIRMATION_S):
            self._pubsub.close()

    def wait(self, timeout_s: float) -> None:
        """Return when something was published or may have been missed, or after that many seconds."""
        if not self._pubsub.subscribed:
            self._pubsub.subscribe(self._channel)
        self._hears({"message", "subscribe"}, timeout_s)  # redis-py subscribes once more when it had to connect again

    def end(self) -> None:
        """Unsubscribe, and keep the connection."""
        if self._pubsub.subscribed:
            self._pubsub.unsubscribe(self._channel)  # pyright: ignore[reportUnknownMemberType]  untyped in redis-py

    def _hears(self, types: set[str], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            said = self._next(left)
            if said and said["channel"] == self._channel and said["type"] in types:
                return True
        return False

    def _next(self, timeout_s: float) -> Mapping[str, Any] | None:
        try:
            return cast("Mapping[str, Any] | None", self._pubsub.get_message(timeout=timeout_s))
        except RedisConnectionError:  # of redis-py's ping, the one thing that does not connect again by itself
            self._pubsub.subscribe(self._channel)
            return None


class Listeners:
    """Lends subscriptions to threads that wait. A new connection would cost Redis more than the waiting."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._idle: deque[redis.client.PubSub] = deque()
        self._pid = os.getpid()

    @contextmanager
    def on(self, channel: str) -> Generator[Listener]:
        """A listener on that channel that has begun."""
        pubsub = self._take()
        listener = Listener(pubsub, channel)
        try:
            listener.begin()
            try:
                yield listener
            finally:
                listener.end()
        except RedisError:
            pubsub.close()
            raise
        finally:
            self._idle.append(pubsub)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> redis.client.PubSub:
        if self._pid != os.getpid():  # a fork shares its parent's sockets, which only one of them may read
            self._idle.clear()
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._redis.pubsub()  # pyright: ignore[reportUnknownMemberType]  untyped in redis-py
