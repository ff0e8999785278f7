"""What a worker hears about the jobs it runs: one was cancelled, somebody reads the answer of another as it is written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery.utils.log import get_logger
from redis.exceptions import RedisError

from vidask import keys

log = get_logger(__name__)

#: How long `close` may have to wait.
_LISTEN_S = 0.25
_PAUSE_S = 1.0


class Controls:
    """Listens on the control channel, on a thread of its own, and calls back there with the ids of jobs.

    Every worker hears about every job, so ids that are not its own are to be ignored. What is said while there is no connection is
    lost: `on_reconnect` is called whenever there is one, the first time included, to look up how the jobs stand (`Ledger.states`).

    Args:
        connection: to Redis.
        on_cancel: a running job was cancelled.
        on_stream: somebody reads a running job's answer as it is written.
        on_reconnect: messages may have been missed. When it raises an error of Redis, it is called again later.
    """

    def __init__(
        self,
        connection: redis.Redis,
        *,
        on_cancel: Callable[[str], object],
        on_stream: Callable[[str], object],
        on_reconnect: Callable[[], object],
    ) -> None:
        self._redis = connection
        self._on_reconnect = on_reconnect
        self._on: Mapping[str, Callable[[str], object]] = {keys.CANCEL: on_cancel, keys.STREAM: on_stream}
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
                    log.warning("not told for now which jobs are cancelled or read: Redis: %s", error)
                self._failing = True
                self._closing.wait(_PAUSE_S)

    def _listen(self) -> None:
        with self._redis.pubsub() as pubsub:
            pubsub.subscribe(keys.CONTROL)
            while not self._closing.is_set():
                message = pubsub.get_message(timeout=_LISTEN_S)
                if message is not None:
                    self._take(message)

    def _take(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "subscribe":  # also after redis-py has reconnected by itself
            self._on_reconnect()
            self._failing = False
            return
        verb, _, job_id = str(message["data"]).partition(" ")
        if callback := self._on.get(verb):
            callback(job_id)
