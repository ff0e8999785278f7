"""Leaving: because a model has died, which the exit status tells a supervisor, or because the time to finish jobs is over."""

from __future__ import annotations

import os
import threading

from celery.utils.log import get_logger
from celery.worker import state

log = get_logger(__name__)

_taking_no_more = threading.Event()


def leave(reason: str) -> None:
    """Have Celery stop taking jobs, wait for those that run, and exit with a status that means failure."""
    if state.should_stop != os.EX_SOFTWARE:
        log.critical("vidask worker: %s; it gives its jobs back and leaves", reason)
    state.should_stop = os.EX_SOFTWARE
    take_no_more()


def take_no_more() -> None:
    """Have jobs that still come sent back to the queue."""
    _taking_no_more.set()


def takes_no_more() -> bool:
    """Whether `take_no_more` was called."""
    return _taking_no_more.is_set()
