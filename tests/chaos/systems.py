"""The two that the drill is done with, vidask and plain Celery, as a producer sees them."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from celery import Celery

from vidask import Client, JobError, JobNotFound, keys
from vidask.connection import celery_settings, connect, queue_errors
from vidask.models import Answer

_LOOK_AGAIN_S = 0.2
#: The same errors by the names under which a producer, and Celery's result, have them.
_ERRORS = {"failed": "JobFailed", "cancelled": "JobCancelled", "expired": "JobExpired", "quarantined": "JobQuarantined"}

Name = Literal["vidask", "plain Celery"]


@dataclass(frozen=True)
class End:
    """How a job stands in Redis at last: the answer, or the error's name, or nothing; and the attempt that the row is at."""

    visible: str = ""
    attempt: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether there is an answer."""
        return self.visible != "" and self.visible not in _ERRORS.values()


class System(ABC):
    """A producer's connection to a queue; to be closed.

    What is asked for while Redis is away raises `vidask.QueueUnavailable`.
    """

    name: Name
    #: What its workers are started with.
    app: str
    #: Whether a result says which attempt wrote it, and the queue knows which one it has let write.
    fences: bool

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis = connect(url)
        self.celery = Celery(set_as_current=False, changes=self._celery_settings())

    @abstractmethod
    def send(self, job_id: str, question: str) -> None:
        """Queue a job."""

    @abstractmethod
    def publish(self, job_id: str, question: str) -> None:
        """Publish its message another time, as a producer does that knows Celery alone."""

    @abstractmethod
    def result(self, job_id: str, timeout_s: float) -> str:
        """Wait for what the job made, see `End.visible`; raises TimeoutError."""

    @abstractmethod
    def ends(self, job_ids: Sequence[str]) -> dict[str, End]:
        """How these jobs stand."""

    def _celery_settings(self) -> dict[str, Any]:
        return celery_settings(self.url)

    def close(self) -> None:
        """Close the connections."""
        self.celery.close()
        self.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Vidask(System):
    name = "vidask"
    app = "tests.chaos.chaos_app"
    fences = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._client = Client(url)

    def send(self, job_id: str, question: str) -> None:
        self._client.ask(question, job_id=job_id)

    def publish(self, job_id: str, question: str) -> None:
        with queue_errors(self.url):
            self.celery.send_task(
                "vidask.ask",
                kwargs={"question": question},
                task_id=job_id,
                priority=keys.PRIORITY_QUESTION,
                retry=False,
            )

    def result(self, job_id: str, timeout_s: float) -> str:
        try:
            return self._client.job(job_id).result(timeout_s).text
        except (JobError, JobNotFound) as error:
            return type(error).__name__

    def ends(self, job_ids: Sequence[str]) -> dict[str, End]:
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(keys.job_row(job_id), ["state", "attempt", "result"])
            rows = pipe.execute()
        return {job_id: _end_of(*row) for job_id, row in zip(job_ids, rows, strict=True)}

    def close(self) -> None:
        self._client.close()
        super().close()


class PlainCelery(System):
    name = "plain Celery"
    app = "tests.chaos.plain_app"
    fences = False

    def send(self, job_id: str, question: str) -> None:
        self.publish(job_id, question)

    def publish(self, job_id: str, question: str) -> None:
        with queue_errors(self.url):
            self.celery.send_task("chaos.work", args=[question], task_id=job_id, retry=False)

    def result(self, job_id: str, timeout_s: float) -> str:
        """Celery's own waiting ends with the connection, which the drill breaks."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with queue_errors(self.url):
                if visible := self.ends([job_id])[job_id].visible:
                    return visible
            time.sleep(_LOOK_AGAIN_S)
        raise TimeoutError(job_id)

    def ends(self, job_ids: Sequence[str]) -> dict[str, End]:
        metas: Any = self.redis.mget([keys.celery_result(job_id) for job_id in job_ids])
        return {job_id: End(visible_in(meta) if meta else "") for job_id, meta in zip(job_ids, metas, strict=True)}

    def _celery_settings(self) -> dict[str, Any]:
        return {"broker_url": self.url, "result_backend": self.url}


SYSTEMS: Mapping[Name, type[System]] = {"vidask": Vidask, "plain Celery": PlainCelery}


def visible_in(meta: str) -> str:
    """What a reader of Celery's result sees: the answer, or the error's name."""
    said = json.loads(meta)
    result = said["result"]
    if said["status"] != "SUCCESS":
        return result["exc_type"]
    return result["text"] if isinstance(result, dict) else result


def _end_of(state: str | None, attempt: str | None, result: str | None) -> End:
    visible = Answer.model_validate_json(result).text if result else _ERRORS.get(state or "", "")
    return End(visible, int(attempt or 0))
