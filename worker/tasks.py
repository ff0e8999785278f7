"""The Celery tasks: claim, do the work, end the row. What the work is stands in `pipeline`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from celery import Task
from celery.exceptions import Reject
from celery.utils.log import get_task_logger
from kombu.exceptions import OperationalError
from pydantic import BaseModel
from redis.exceptions import RedisError

from pipeline.indexing import PreparedTranscript
from vidask.errors import InvalidJob, JobCancelled, JobExpired, ModelDied, VidaskError
from vidask.ledger import Outcome
from vidask.models import (
    Answer,
    AskJob,
    ForgetJob,
    ForgetReport,
    FramesReport,
    IndexFramesJob,
    IndexReport,
    IndexTranscriptJob,
    JobModel,
)
from vidask.validation import parse_json
from worker import logs
from worker.claims import Claim
from worker.departure import leave, takes_no_more
from worker.errors import GivenBack
from worker.forgetting import remove
from worker.services import Services

if TYPE_CHECKING:
    from worker.factory import WorkerApp

log = get_task_logger(__name__)

#: Before a job goes back to the queue, so that a Redis that refuses is not asked a thousand times a second.
_PAUSE_S = 1.0

Job = TypeVar("Job", bound=JobModel)
Work = Callable[[Services, Claim, Job], BaseModel]


class JobTask(Task):
    """A task that ends its job's row, however it ends itself.

    The row and the result that Celery's `AsyncResult` reads are written together by `Ledger.finish`, so Celery stores none.
    """

    ignore_result = True
    acks_late = True
    throws = (VidaskError,)  # these are answers to the user, not bugs: Celery logs them without a stack trace
    model: type[JobModel]
    work: Work[Any]
    #: Fields of the row that are not worth their memory once the job has succeeded.
    cleared: Mapping[str, str] = {}

    def run(self, *positional: object, **payload: object) -> None:
        """Work on the job of this message, if it is ours to work on."""
        logs.begin_job(cast("str", self.request.id), kind_of(self))
        self.request.update(ignore_result=True)  # also where the producer, plain Celery, wants Celery to store one
        claim = self._claim(payload)
        if claim is None:
            return
        self.request.update(claim=claim)
        logs.note(attempt=claim.attempt)
        try:
            self._work_on(claim, positional)
        except GivenBack as error:
            log.info("job %s goes back to the queue: %s", claim.job_id, error)
            self._release(claim)
        except ModelDied as error:
            leave(str(error))
            self._release(claim, crashed=True)
        except RedisError as error:
            log.warning("job %s is left to its lease: Redis: %s", claim.job_id, error)
        finally:
            self._services.claims.forget(claim)
            self._services.probation.leave(claim)

    def on_failure(self, exc: Exception, task_id: str, args: object, kwargs: object, einfo: object) -> None:  # noqa: ARG002
        """A bug: Celery logs its stack trace, and calls this for the job to end with a sentence."""
        claim: Claim | None = self.request.get("claim")
        if claim is not None and not isinstance(exc, VidaskError):
            name = type(exc).__name__
            self._finish(claim, _failed(f"internal error, {name}: {exc}", name))

    def _release(self, claim: Claim, *, crashed: bool = False) -> None:
        """Where that fails, too, the lease ends by itself, and the sweep of some worker finds the job."""
        try:
            self._services.claims.release(claim, crashed=crashed)
        except (RedisError, OperationalError) as error:
            log.warning("job %s is left to its lease: Redis: %s", claim.job_id, error)

    def _work_on(self, claim: Claim, positional: tuple[object, ...]) -> None:
        try:
            if positional:
                raise InvalidJob(f"{self.name}: {len(positional)} positional arguments; send keyword arguments only")
            job = parse_json(self.model, claim.payload)
            logs.note(tenant=job.tenant)
            made = type(self).work(self._services, claim, job)
        except (ModelDied, GivenBack):  # not the job's end, but this worker's with it
            raise
        except JobCancelled:
            self._note_end(claim, Outcome("cancelled"))  # who cancelled it has ended its row
        except JobExpired as error:
            self._finish(claim, Outcome("expired", error=str(error), error_type="JobExpired"))
        except VidaskError as error:
            self._finish(claim, _failed(str(error), type(error).__name__))
            raise
        else:
            self._finish(claim, Outcome("succeeded", result=made.model_dump_json()), made, **self.cleared)

    def _finish(self, claim: Claim, outcome: Outcome, made: BaseModel | None = None, **cleared: str) -> None:
        """End a job. Where it is another worker's by now, that one says how it ended."""
        if self._services.claims.finish(claim, outcome, **cleared):
            self._note_end(claim, outcome, made)

    def _note_end(self, claim: Claim, outcome: Outcome, made: BaseModel | None = None) -> None:
        """Say how a job ended, once."""
        seconds = round(claim.now_s() - claim.claimed_at_s, 6)
        log.info(
            "job %s: %s %s after %.3f s, queued %.3f s",
            claim.job_id,
            claim.kind,
            f"{outcome.state} ({outcome.error_type})" if outcome.error_type else outcome.state,
            seconds,
            claim.queued_s,
            extra=logs.fields(outcome=outcome.state, seconds=seconds, queued_s=round(claim.queued_s, 6)),
        )
        self._services.metrics.ended(claim.kind, outcome.state, queued_s=claim.queued_s, made=made)

    @property
    def _services(self) -> Services:
        return cast("WorkerApp", self.app).services

    def _claim(self, payload: Mapping[str, object]) -> Claim | None:
        """None where the job is not to be worked on. A message that cannot be looked at goes back to the queue."""
        try:
            if takes_no_more():
                raise GivenBack("this worker takes no more jobs")  # noqa: EM101, TRY301
            return self._services.probation.claimed(
                lambda suspects: self._services.claims.claim(
                    cast("str", self.request.id),
                    kind=kind_of(self),
                    worker=cast("str", self.request.hostname),
                    payload=json.dumps(payload),
                    tenant=tenant_of(payload),
                    suspects=suspects,
                )
            )
        except (RedisError, GivenBack) as error:
            log.warning("job %s goes back to the queue: %s", self.request.id, error)
            time.sleep(_PAUSE_S)  # this worker may be given the same message again, as long as it takes any
            raise Reject(error, requeue=True) from error


def kind_of(task: Task) -> str:
    """The kind of job that a task does."""
    return task.name.removeprefix("vidask.")


def tenant_of(payload: Mapping[str, object]) -> str:
    """Whose job a message of plain Celery is; whether that is a tenant's name is checked with the rest of the payload."""
    tenant = payload.get("tenant")
    return tenant if isinstance(tenant, str) else "default"


def _failed(said: str, error_type: str) -> Outcome:
    return Outcome("failed", error=said, error_type=error_type)


def _ask(services: Services, claim: Claim, job: AskJob) -> Answer:
    answer = services.answers.answer(claim, job)
    return answer.model_copy(update={"timings_s": {"queued": round(claim.queued_s, 6), **answer.timings_s}})


def _index_transcript(services: Services, claim: Claim, job: IndexTranscriptJob) -> IndexReport:
    prepared = PreparedTranscript(job, services.parts.embeddings)
    return services.videos.index(
        job.tenant,
        job.video_id,
        claim,
        apply=lambda keep_lock: prepared.store(services.parts.store, keep_lock),
        superseded=prepared.superseded,
    )


def _index_frames(services: Services, claim: Claim, job: IndexFramesJob) -> FramesReport:
    return services.frames.index(claim, job)


def _forget(services: Services, claim: Claim, job: ForgetJob) -> ForgetReport:
    def apply(kinds: frozenset[str]) -> ForgetReport:
        removed = remove(services.parts.store, services.parts.pictures, job.tenant, job.video_id, kinds)
        return ForgetReport(video_id=job.video_id, removed=removed)

    return services.videos.forget(
        job.tenant,
        job.video_id,
        claim,
        apply=apply,
        superseded=lambda: ForgetReport(video_id=job.video_id, removed=0, superseded=True),
    )


class AskTask(JobTask):
    """Answer a question."""

    name = "vidask.ask"
    model = AskJob
    work = staticmethod(_ask)


class IndexTranscriptTask(JobTask):
    """Index a transcript."""

    name = "vidask.index_transcript"
    model = IndexTranscriptJob
    cleared: Mapping[str, str] = {"payload": ""}
    work = staticmethod(_index_transcript)


class IndexFramesTask(JobTask):
    """Index frames."""

    name = "vidask.index_frames"
    model = IndexFramesJob
    cleared: Mapping[str, str] = {"payload": ""}
    work = staticmethod(_index_frames)


class ForgetTask(JobTask):
    """Forget a video."""

    name = "vidask.forget"
    model = ForgetJob
    work = staticmethod(_forget)


TASKS: tuple[type[JobTask], ...] = (AskTask, IndexTranscriptTask, IndexFramesTask, ForgetTask)
