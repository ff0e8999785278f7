"""Leaving because a model has died: what else runs is given back, and the exit status tells a supervisor to start a new worker."""

from __future__ import annotations

import os

from celery.utils.log import get_logger
from celery.worker import state

log = get_logger(__name__)


def leave(reason: str) -> None:
    """Have Celery stop taking jobs, wait for those that run, and exit with a status that means failure."""
    if not is_leaving():
        log.critical("vidask worker: %s; it gives its jobs back and leaves", reason)
    state.should_stop = os.EX_SOFTWARE


def is_leaving() -> bool:
    """Whether `leave` was called."""
    return state.should_stop == os.EX_SOFTWARE
