"""Listening for the ends of jobs, on connections that are kept between one wait and the next."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import redis
import redis.client
from redis.exceptions import RedisError


class Listener:
    """A subscription to the end of one job."""

    def __init__(self, pubsub: redis.client.PubSub) -> None:
        self._pubsub = pubsub

    def wait(self, timeout_s: float) -> None:
        """Return when something was published, or after that many seconds.

        Confirmations of the subscription do not count; a message about an earlier job at worst makes the caller look once more.
        """
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if self._pubsub.get_message(timeout=left) is not None:
                return


class Listeners:
    """Lends subscriptions to threads that wait. A new connection would cost Redis more than the waiting."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._idle: deque[redis.client.PubSub] = deque()
        self._pid = os.getpid()

    @contextmanager
    def on(self, channel: str) -> Generator[Listener]:
        """A listener on that channel."""
        pubsub = self._take()
        try:
            pubsub.subscribe(channel)
            try:
                yield Listener(pubsub)
            finally:
                pubsub.unsubscribe(channel)  # pyright: ignore[reportUnknownMemberType]  untyped in redis-py
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
            pubsub = self._redis.pubsub  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  untyped in redis-py
            return pubsub(ignore_subscribe_messages=True)
