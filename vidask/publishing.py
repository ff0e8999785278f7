"""Sending the messages of jobs: no more than the id, by Celery."""

from __future__ import annotations

from celery import Celery

from vidask import keys
from vidask.connection import celery_settings

#: The connection may be open on this side alone, from which the first attempt learns it. A message that came twice is harmless.
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class Publisher:
    """Sends messages to the queue of one Redis. Safe to share between threads.

    Args:
        url: where the queue is.
    """

    def __init__(self, url: str) -> None:
        self._celery = Celery("vidask-producer", set_as_current=False, changes=celery_settings(url))

    def send(self, job_id: str, kind: str, *, again: bool = False) -> None:
        """Send the message of a job; again, where the first one or its worker was lost.

        Raises:
            kombu.exceptions.OperationalError, redis.RedisError: it was not sent.
        """
        self._celery.send_task(
            f"vidask.{kind}",
            task_id=job_id,
            queue=keys.AGAIN if again else keys.QUEUE,
            priority=keys.PRIORITIES[kind],
            ignore_result=True,
            retry=True,
            retry_policy=_ONCE_MORE,
        )

    def close(self) -> None:
        """Close the connections to Redis."""
        self._celery.close()
