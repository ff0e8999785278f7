"""The videos: indexed once through the queue, then read by every part from the same folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.engine import gpu
from benchmarks.engine.options import Options
from benchmarks.engine.system import TOOK_LIMIT_S, running_system
from benchmarks.engine.workload import transcript, video_ids
from config import Settings
from pipeline.chroma import open_chroma
from pipeline.embeddings import MINILM
from pipeline.store import ChromaStore

#: In the index's folder: for how many questions it was made.
_JOBS = "jobs.json"


def index(options: Options) -> dict[str, Any]:
    """Index every video that a part asks about, by a worker without a language model; on the card where there is one."""
    shutil.rmtree(options.chroma, ignore_errors=True)
    env = {"VIDASK_LLM_BACKEND": "extractive", "VIDASK_EMBEDDING_DEVICE": "cuda" if gpu.is_there() else "cpu"}
    with running_system(options, app="worker.app", env=env, log="index.worker.log") as running:
        begun = time.perf_counter()
        jobs = [running.client.index_transcript(video, segments=transcript(video)) for video in video_ids(options.jobs)]
        reports = [job.result(timeout_s=TOOK_LIMIT_S) for job in jobs]
        took_s = time.perf_counter() - begun
    (options.chroma / _JOBS).write_text(json.dumps(options.jobs))
    return {"videos": len(reports), "chunks": sum(report.chunks for report in reports), "took_s": took_s}


def is_indexed(options: Options) -> bool:
    """Whether an earlier run has indexed as much as this one asks about, or more."""
    noted = options.chroma / _JOBS
    return noted.exists() and json.loads(noted.read_text()) >= options.jobs


@contextmanager
def open_store(options: Options) -> Iterator[ChromaStore]:
    """The index, for a part that is not a worker of ours."""
    with open_chroma(Settings(chroma_path=options.chroma)) as client:
        yield ChromaStore(client, embedding_model=MINILM)
