"""The producer's side: put jobs on the queue, get handles on them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from kombu.exceptions import OperationalError
from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError
from uuid_utils import uuid7

from vidask.blobs import Blobs
from vidask.connection import DEFAULT_URL, connect, queue_errors
from vidask.errors import InvalidJob
from vidask.frames import Frame, in_order, jobs_of, only_frames
from vidask.frames_job import FramesJob
from vidask.jobs import Job
from vidask.ledger import Ledger
from vidask.listening import Listeners
from vidask.models import (
    Answer,
    AskJob,
    ForgetJob,
    ForgetReport,
    FrameRef,
    IndexFramesJob,
    IndexReport,
    IndexTranscriptJob,
    JobId,
    JobModel,
    Message,
    Sampling,
    Segment,
    TranscriptFormat,
    VideoId,
)
from vidask.publishing import Publisher
from vidask.quarantine import Quarantine, QuarantinedJob
from vidask.validation import Model, build, describe

log = logging.getLogger(__name__)

_JOB_ID: TypeAdapter[str] = TypeAdapter(JobId)
_VIDEO_ID: TypeAdapter[str] = TypeAdapter(VideoId)


class Client:
    """Puts jobs on the queue of one Redis, for one tenant. Safe to share between threads; cheap to keep open.

    Args:
        redis_url: where the queue is; `VIDASK_REDIS_URL`, or Redis on this host, where it is not given.
        tenant: whose videos and jobs these are; no tenant sees another's.

    Raises:
        InvalidSettings: when `redis_url` is not a Redis address.
    """

    def __init__(self, redis_url: str | None = None, *, tenant: str = "default") -> None:
        self._url = redis_url or os.environ.get("VIDASK_REDIS_URL", DEFAULT_URL)
        self.tenant = build(JobModel, {"tenant": tenant}).tenant
        self._ledger = Ledger(connect(self._url))
        self._blobs = Blobs(self._ledger.redis, self.tenant)
        self._listeners = Listeners(self._ledger.redis)
        self._publisher = Publisher(self._url)
        self._quarantine = Quarantine(self._ledger.redis, self._publisher)

    def index_transcript(
        self,
        video_id: str,
        *,
        text: str | None = None,
        format: TranscriptFormat | None = None,  # noqa: A002  the name that callers expect
        segments: Iterable[Segment] | None = None,
        job_id: str | None = None,
    ) -> Job[IndexReport]:
        """Index a video's transcript; it takes the place of an earlier one.

        Args:
            video_id: your name for the video, up to 256 characters.
            text: the subtitle file's text. Decode files with `vidask.read_subtitles`.
            format: `srt`, `vtt`, `ass`, `ssa` or `whisper` (its JSON); found out from the text where it is not given.
            segments: the transcript in pieces, instead of `text`.
            job_id: your own id for the job; the same id twice is one job.

        Raises:
            InvalidJob: an argument breaks a limit; nothing was queued.
            QueueUnavailable: Redis does not answer in time; call again, with the same `job_id` where twice would be harm.
        """
        fields = {
            "video_id": video_id,
            "text": text,
            "format": format,
            "segments": None if segments is None else tuple(segments),
        }
        return self._enqueue("index_transcript", self._built(IndexTranscriptJob, fields), job_id)

    def index_frames(
        self,
        video_id: str,
        frames: Iterable[Frame],
        *,
        duration_s: float | None = None,
        job_id: str | None = None,
    ) -> FramesJob:
        """Index what a video shows; the frames take the place of those of an earlier call. A frame is shown until the next one.

        Pictures go to Redis first, each once; then one job for each 256 frames is queued. Of a list all times are looked at before
        anything is sent; what only comes one by one, like a generator's, is sent as it comes, and queued when all has come.

        Args:
            video_id: your name for the video, up to 256 characters.
            frames: one or more, in the order of their times.
            duration_s: the video's length in seconds, where the last frame goes.
            job_id: your own id for the whole, as `FramesJob.id`; the same id twice is the same jobs.

        Raises:
            InvalidJob: an argument breaks a limit; nothing was queued.
            QueueUnavailable: Redis does not answer in time; call again, with the same `job_id` where twice would be harm.
        """
        job_id = str(uuid7()) if job_id is None else _checked(job_id, _JOB_ID, "job_id")
        video_id = _checked(video_id, _VIDEO_ID, "video_id")
        refs = self._upload(in_order(frames))
        common = {"video_id": video_id, "tenant": self.tenant, "batch": job_id}
        jobs = jobs_of(job_id, common, refs, duration_s)
        self._enqueue_parts({_checked(part_id, _JOB_ID, "job_id"): job for part_id, job in jobs.items()})
        return self.frames_job(jobs)

    def ask(
        self,
        question: str,
        *,
        video_ids: Iterable[str] = (),
        history: Iterable[Message] = (),
        start_s: float | None = None,
        end_s: float | None = None,
        top_k: int = 6,
        sampling: Sampling | None = None,
        frames: Iterable[Frame] = (),
        deadline_s: float | None = None,
        job_id: str | None = None,
    ) -> Job[Answer]:
        """Ask a question about videos.

        Args:
            question: up to 8,000 characters. It may lean on the history ("and why does it overfit?").
            video_ids: the videos to look in; all of the tenant's where none is given.
            history: the conversation so far, oldest first.
            start_s: only what is said after this time, in seconds.
            end_s: only what is said before this time, in seconds.
            top_k: how many passages to read, 1 to 50.
            sampling: how the answer is written; `Sampling()` where it is not given: no chance in it, up to 512 tokens.
            frames: pictures that the question is about, up to 8; they are shown to a model that takes pictures.
            deadline_s: seconds from now, up to 604,800; a job that has not ended by then ends `expired`.
            job_id: your own id for the job; the same id twice is one job.

        Raises:
            InvalidJob: an argument breaks a limit; nothing was queued.
            QueueUnavailable: Redis does not answer in time; call again, with the same `job_id` where twice would be harm.
        """
        pictures = list(only_frames(frames))
        fields = {
            "question": question,
            "video_ids": _listed("video_ids", video_ids),
            "history": tuple(history),
            "start_s": start_s,
            "end_s": end_s,
            "top_k": top_k,
            "sampling": Sampling() if sampling is None else sampling,
            "frames": tuple(picture.reference() for picture in pictures),
            "deadline_s": deadline_s,
        }
        job = self._built(AskJob, fields)
        self._upload(pictures)
        return self._enqueue("ask", job, job_id)

    def forget(self, video_id: str, *, job_id: str | None = None) -> Job[ForgetReport]:
        """Remove all that was indexed of a video.

        Raises:
            InvalidJob: an argument breaks a limit; nothing was queued.
            QueueUnavailable: Redis does not answer in time; call again, with the same `job_id` where twice would be harm.
        """
        return self._enqueue("forget", self._built(ForgetJob, {"video_id": video_id}), job_id)

    def job(self, job_id: str) -> Job[Any]:
        """A handle on a job that was accepted earlier, here or elsewhere. It is not looked up before it is used."""
        return Job(job_id, self._ledger, self._listeners, self._quarantine, tenant=self.tenant, url=self._url)

    def frames_job(self, job_ids: Iterable[str]) -> FramesJob:
        """A handle on frames that are indexed since an earlier call, here or elsewhere, by `FramesJob.job_ids`.

        Raises:
            InvalidJob: there are no ids.
        """
        jobs = [self.job(job_id) for job_id in _listed("job_ids", job_ids)]
        if not jobs:
            msg = "job_ids: there are none; give those of FramesJob.job_ids"
            raise InvalidJob(msg)
        return FramesJob(jobs)

    def quarantined(self) -> list[QuarantinedJob]:
        """The tenant's jobs that were set aside because worker after worker ended while it ran them, newest first.

        `Client.job(job_id)` has `inspect`, `replay` and `drop` for each.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with queue_errors(self._url):
            return self._quarantine.of_tenant(self.tenant)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._publisher.close()
        self._listeners.close()
        self._ledger.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _built(self, model: type[Model], fields: Mapping[str, object]) -> Model:
        return build(model, {**fields, "tenant": self.tenant})

    def _enqueue(self, kind: str, job: JobModel, job_id: str | None) -> Job[Any]:
        job_id = str(uuid7()) if job_id is None else _checked(job_id, _JOB_ID, "job_id")
        with queue_errors(self._url):
            created = self._ledger.create(
                job_id,
                kind,
                self.tenant,
                job.model_dump_json(exclude_none=True),
                deadline_s=job.deadline_s if isinstance(job, AskJob) else None,
            )
        if created or self._still_queued(job_id, kind):
            self._publish(job_id, kind)
        return self.job(job_id)

    def _upload(self, frames: Iterable[Frame]) -> list[FrameRef]:
        with queue_errors(self._url):
            return self._blobs.upload(frames)

    def _enqueue_parts(self, jobs: Mapping[str, IndexFramesJob]) -> None:
        kind = "index_frames"
        parts = {job_id: (job.model_dump_json(exclude_none=True), len(job.frames)) for job_id, job in jobs.items()}
        with queue_errors(self._url):
            created = self._ledger.create_parts(kind, self.tenant, parts)
        for job_id, is_new in zip(jobs, created, strict=True):
            if is_new or self._still_queued(job_id, kind):
                self._publish(job_id, kind)

    def _still_queued(self, job_id: str, kind: str) -> bool:
        """Whether a job of that id waits: publishing it again is harmless, and mends a call that died half-way."""
        with queue_errors(self._url):
            row = self._ledger.read(job_id)
        if row is not None and (row.tenant, row.kind) != (self.tenant, kind):
            msg = f"job_id: {job_id!r} is taken by another job; choose another"
            raise InvalidJob(msg)
        return row is not None and row.state == "queued"

    def _publish(self, job_id: str, kind: str) -> None:
        """The row is what counts: where its message is not sent, the sweep of a worker sends one."""
        try:
            self._publisher.send(job_id, kind)
        except (RedisError, OperationalError) as error:
            log.warning("job %s is accepted, but its message was not sent (%s); a worker will find it", job_id, error)


def _listed(name: str, items: Iterable[str]) -> tuple[str, ...]:
    """A lone string is an iterable of its letters, which nobody means."""
    if isinstance(items, str):
        msg = f"{name}: {items!r} is one string; put it into a list"
        raise InvalidJob(msg)
    return tuple(items)


def _checked(given: str, model: TypeAdapter[str], name: str) -> str:
    try:
        return model.validate_python(given)
    except ValidationError as error:
        raise InvalidJob(describe(error).replace("job:", f"{name}:", 1)) from None
