"""What workers are told while they work: a job was cancelled, somebody reads its answer as it is written, or asks how they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery.utils.log import get_logger
from redis.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from vidask import keys

log = get_logger(__name__)

#: How long `close` may have to wait.
_LISTEN_S = 0.25
_PAUSE_S = 1.0
#: When nothing has come for a while, redis-py sends a ping each time it listens. After so many without an answer nobody is there.
_MOST_PINGS = 8


class Controls:
    """Listens on the control channel, on a thread of its own, and calls back there.

    Every worker hears about every job, so ids that are not its own are to be ignored. What is said while there is no connection is
    lost: `on_reconnect` is called whenever there is one, the first time included, to look up how the jobs stand (`Ledger.states`).

    Args:
        connection: to Redis.
        orders: what is called for the first word of a message, with what comes behind it; see `vidask/keys.py`.
        on_reconnect: messages may have been missed. When it raises an error of Redis, it is called again later.
    """

    def __init__(
        self,
        connection: redis.Redis,
        orders: Mapping[str, Callable[[str], object]],
        *,
        on_reconnect: Callable[[], object] = lambda: None,
    ) -> None:
        self._redis = connection
        self._orders = orders
        self._on_reconnect = on_reconnect
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; after it nothing is called back."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen()
            except (RedisError, UnicodeDecodeError) as error:  # the second when somebody publishes what is no text
                if not self._failing:
                    log.warning("not told for now %s: Redis: %s", "about " + ", ".join(self._orders), error)
                self._failing = True
                self._closing.wait(_PAUSE_S)

    def _listen(self) -> None:
        with self._redis.pubsub() as pubsub:
            pubsub.subscribe(keys.CONTROL)
            while not self._closing.is_set():
                message = pubsub.get_message(timeout=_LISTEN_S)
                if message is not None:
                    self._take(message)
                _check_that_it_lives(pubsub)

    def _take(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "subscribe":  # also after redis-py has reconnected by itself
            self._on_reconnect()
            self._failing = False
            return
        verb, _, argument = str(message["data"]).partition(" ")
        if callback := self._orders.get(verb):
            callback(argument)


def _check_that_it_lives(pubsub: PubSub) -> None:
    """A connection that is open on this side alone is as silent as one on which nothing is said; redis-py only counts."""
    if pubsub.health_check_response_counter > _MOST_PINGS:
        msg = "no answer to pings"
        raise RedisTimeoutError(msg)
