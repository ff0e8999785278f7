"""Celery's consumer, that looks for a lost Redis every second, for as long as it takes."""

from __future__ import annotations

import time
import warnings
from typing import Any

from celery.exceptions import CPendingDeprecationWarning
from celery.utils.log import get_logger
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from redis.exceptions import ResponseError

log = get_logger(__name__)

_PAUSE_S = 1.0


class Consumer(consumer.Consumer):
    """Celery's own waits two seconds longer each time, up to thirty, which no setting changes, and gives up after a hundred."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Say it in a line; Celery's own is a stack trace, which `worker.factory` keeps out of the log."""
        log.warning("no jobs for now: Redis: %s", exc)
        if isinstance(exc, ResponseError):  # it is there, and full, say: Celery would be back at once
            time.sleep(_PAUSE_S)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CPendingDeprecationWarning)  # what will be otherwise in Celery 6
            super().on_connection_error_after_connected(exc)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; nothing but the end of the worker ends the trying."""
        said = False

        def say(error: Exception, _: float) -> None:
            nonlocal said
            if not said:
                log.error("no jobs for now, Redis is tried again every second: %s", error)
            said = True

        conn.ensure_connection(
            say, interval_start=_PAUSE_S, interval_step=0, interval_max=_PAUSE_S, callback=maybe_shutdown
        )
        return conn
