"""Indexing a transcript: read, cut, embed, store."""

from __future__ import annotations

import time
from collections.abc import Callable

from langchain_core.embeddings import Embeddings

from pipeline.chunks import cut
from pipeline.documents import is_transcript_id, transcript_documents
from pipeline.store import ChromaStore
from pipeline.transcripts import Transcript, from_segments, parse_transcript
from vidask.models import IndexReport, IndexTranscriptJob


class PreparedTranscript:
    """A transcript that is read, cut and embedded: all that takes long. `store` then makes it the video's only one."""

    def __init__(self, job: IndexTranscriptJob, embeddings: Embeddings) -> None:
        begun = time.perf_counter()
        self._job = job
        self._transcript = read(job)
        self._documents = transcript_documents(job.video_id, cut(self._transcript.segments))
        read_at = time.perf_counter()
        self._vectors = embeddings.embed_documents([document.page_content for document in self._documents])
        self._timings_s = {"read": read_at - begun, "embed": time.perf_counter() - read_at}

    def store(self, store: ChromaStore, on_progress: Callable[[], object] = lambda: None) -> IndexReport:
        """Take the place of the video's transcript of before; `on_progress` is called now and then meanwhile."""
        begun = time.perf_counter()
        removed = store.replace(
            self._job.tenant,
            self._job.video_id,
            self._documents,
            self._vectors,
            replaced=is_transcript_id,
            on_progress=on_progress,
        )
        return self._report(removed=removed, store=time.perf_counter() - begun)

    def superseded(self) -> IndexReport:
        """The report of a transcript that came after a newer one, and changed nothing."""
        return self._report(superseded=True)

    def _report(self, *, removed: int = 0, superseded: bool = False, **timings_s: float) -> IndexReport:
        timings_s = {name: round(seconds, 6) for name, seconds in (self._timings_s | timings_s).items()}
        return IndexReport(
            video_id=self._job.video_id,
            segments=len(self._transcript.segments),
            chunks=len(self._documents),
            removed=removed,
            superseded=superseded,
            warnings=self._transcript.warnings,
            timings_s=timings_s,
        )


def read(job: IndexTranscriptJob) -> Transcript:
    """The transcript of a job, whichever way it came.

    Raises:
        InvalidTranscript: one line that says what cannot be read.
    """
    if job.segments is not None:
        return from_segments(job.segments)
    return parse_transcript(job.text or "", job.format)
