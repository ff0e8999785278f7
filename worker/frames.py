"""Indexing frames: read, describe and embed them on the worker's event loop, then make them the video's."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from langchain_core.runnables import RunnableConfig

from pipeline.frames import Places, PreparedFrames, prepare_frames
from vidask import keys
from vidask.ledger import Ledger, load_script
from vidask.models import FramesReport, IndexFramesJob
from worker.claims import Claim
from worker.fetching import Fetching
from worker.parts import Parts
from worker.progress import ProgressNote
from worker.running import Running
from worker.videos import Videos


class FramesIndexing:
    """Indexes the frames of jobs.

    Args:
        running: where coroutines run, and are stopped.
        fetching: has the pictures.
        ledger: the rows of jobs.
        videos: what was applied to each video.
        parts: read and describe pictures, and keep what comes of it.
        places: for the pictures of all jobs.
    """

    def __init__(
        self, running: Running, fetching: Fetching, ledger: Ledger, videos: Videos, parts: Parts, places: Places
    ) -> None:
        self._running = running
        self._fetching = fetching
        self._videos = videos
        self._parts = parts
        self._places = places
        self._note_progress = load_script(ledger.redis, "worker", "progress")

    def index(self, claim: Claim, job: IndexFramesJob) -> FramesReport:
        """Index the frames of a job. The calling thread waits meanwhile, and says how far it is.

        Raises:
            JobCancelled, GivenBack: it was stopped before anything was changed.
        """
        prepared = self._prepared(claim, job)
        return self._videos.index(
            job.tenant,
            job.video_id,
            claim,
            apply=lambda keep_lock: prepared.store(self._parts.store, self._parts.pictures, keep_lock),
            superseded=prepared.superseded,
            batch=job.batch or "",
        )

    def _prepared(self, claim: Claim, job: IndexFramesJob) -> PreparedFrames:
        note = ProgressNote(claim, len(job.frames), self._note_progress)

        def prepare() -> Coroutine[Any, Any, PreparedFrames]:
            return prepare_frames(
                job,
                fetch=self._fetching.of(job.tenant),
                readers=self._parts.readers,
                llm=self._parts.captioning_llm,
                embeddings=self._parts.embeddings,
                places=self._places,
                on_progress=note.set,
                config=_config(claim),
            )

        with self._running.started(claim, prepare) as future:
            return note.result(future)


def _config(claim: Claim) -> RunnableConfig:
    return {"metadata": {"request_id": claim.job_id, "priority": keys.PRIORITY_FRAMES}}
