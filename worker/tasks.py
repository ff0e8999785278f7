"""The Celery tasks: claim, do the work, end the row. What the work is stands in `pipeline`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from celery import Task
from celery.utils.log import get_task_logger
from pydantic import BaseModel

from pipeline.indexing import PreparedTranscript
from vidask.errors import InvalidJob, VidaskError
from vidask.ledger import Outcome
from vidask.models import Answer, AskJob, ForgetJob, ForgetReport, IndexReport, IndexTranscriptJob, JobModel
from vidask.validation import parse_json
from worker.claims import Claim
from worker.services import Services

if TYPE_CHECKING:
    from worker.factory import WorkerApp

log = get_task_logger(__name__)

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
        services = self._services
        claim = self._claim(payload)
        if claim is None:
            return
        self.request.update(claim=claim)  # for `on_failure`
        if positional:
            raise InvalidJob(f"{self.name}: {len(positional)} positional arguments; send keyword arguments only")
        job = parse_json(self.model, claim.payload)
        made = type(self).work(services, claim, job)
        outcome = Outcome("succeeded", result=made.model_dump_json())
        services.claims.finish(claim, outcome, **self.cleared)

    def on_failure(self, exc: Exception, task_id: str, args: object, kwargs: object, einfo: object) -> None:  # noqa: ARG002
        """Celery calls this for whatever was raised; the user gets a sentence, the log of a bug its stack trace."""
        claim: Claim | None = self.request.get("claim")
        if claim is None:
            log.error("job %s could not be claimed: %s", task_id, exc)
            return
        name = type(exc).__name__
        said = str(exc) if isinstance(exc, VidaskError) else f"internal error, {name}: {exc}"
        self._services.claims.finish(claim, Outcome("failed", error=said, error_type=name))

    @property
    def _services(self) -> Services:
        return cast("WorkerApp", self.app).services

    def _claim(self, payload: Mapping[str, object]) -> Claim | None:
        tenant = payload.get("tenant")
        return self._services.claims.claim(
            cast("str", self.request.id),
            kind=self.name.removeprefix("vidask."),
            worker=cast("str", self.request.hostname),
            redelivered=bool((self.request.delivery_info or {}).get("redelivered")),
            payload=json.dumps(payload),
            tenant=tenant if isinstance(tenant, str) else "default",
        )


def _ask(services: Services, claim: Claim, job: AskJob) -> Answer:
    answer = services.chain.invoke(job)
    return answer.model_copy(update={"timings_s": {"queued": round(claim.queued_s, 6), **answer.timings_s}})


def _index_transcript(services: Services, claim: Claim, job: IndexTranscriptJob) -> IndexReport:
    prepared = PreparedTranscript(job, services.embeddings)
    return services.videos.change(
        job.tenant,
        job.video_id,
        "index_transcript",
        claim.created_at_s,
        apply=lambda keep_lock: prepared.store(services.store, keep_lock),
        superseded=prepared.superseded,
    )


def _forget(services: Services, claim: Claim, job: ForgetJob) -> ForgetReport:
    return services.videos.change(
        job.tenant,
        job.video_id,
        "forget",
        claim.created_at_s,
        apply=lambda _: ForgetReport(video_id=job.video_id, removed=services.store.forget(job.tenant, job.video_id)),
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


class ForgetTask(JobTask):
    """Forget a video."""

    name = "vidask.forget"
    model = ForgetJob
    work = staticmethod(_forget)


TASKS: tuple[type[JobTask], ...] = (AskTask, IndexTranscriptTask, ForgetTask)
