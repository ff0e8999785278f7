"""How long a person waits for an answer while two thousand frames are imported, over how long without: embedded defaults, no model.

People ask one question after the other; the import's pictures are read by OCR on the same cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.engine.slides import IMPORTED, frames
from benchmarks.engine.system import percentile
from benchmarks.engine.tasks import wait_until
from benchmarks.figures import Figure, ratio
from benchmarks.search import jobs_of_the_lectures, queue_with_the_lectures
from vidask import Client, Frame
from vidask.models import AskJob

_ROUNDS = 5
_PEOPLE = 4


def figures() -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidask-bench-")))
        pictures, jobs = frames(folder / "slides", IMPORTED), jobs_of_the_lectures()
        client = queue_with_the_lectures(stack, folder)
        _p95_s(client, jobs)  # warm
        ratios = []
        for _ in range(_ROUNDS):
            alone_s = _p95_s(client, jobs)
            ratios.append(_p95_beside_s(client, jobs, pictures) / alone_s)
    yield ratio("question_p95_beside_an_import_over_alone", ratios, "<=", 1.5)


def _p95_beside_s(client: Client, jobs: Sequence[AskJob], pictures: Sequence[Frame]) -> float:
    job = client.index_frames("import", pictures)
    wait_until(lambda: job.progress().done > 0, "no frame of the import is done")
    p95_s = _p95_s(client, jobs)
    job.cancel()
    return p95_s


def _p95_s(client: Client, jobs: Sequence[AskJob]) -> float:
    def answered_s(job: AskJob) -> float:
        begun = time.perf_counter()
        client.ask(job.question, video_ids=job.video_ids, history=job.history).result(timeout_s=120)
        return time.perf_counter() - begun

    with ThreadPoolExecutor(_PEOPLE) as people:
        taken_s = sorted(people.map(answered_s, jobs))
    return percentile(taken_s, 95)
