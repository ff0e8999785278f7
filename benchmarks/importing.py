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
from benchmarks.figures import Figure, ratio
from benchmarks.search import LECTURES, jobs_of_the_lectures
from vidask import Client, Frame, read_subtitles
from vidask.models import AskJob
from worker.embedded import redis_server, worker_process

_ROUNDS = 5
_PEOPLE = 4


def figures() -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidask-bench-")))
        pictures, jobs = frames(folder / "slides", IMPORTED), jobs_of_the_lectures()
        url = stack.enter_context(redis_server(folder / "redis"))
        env = {"VIDASK_CHROMA_PATH": str(folder / "chroma")}
        stack.enter_context(worker_process(url, env=env, log=folder / "worker.log"))
        client = stack.enter_context(Client(url))
        for path in sorted(LECTURES.iterdir()):
            client.index_transcript(path.stem, text=read_subtitles(path)).result(timeout_s=120)
        _p95_s(client, jobs)  # warm
        ratios = []
        for _ in range(_ROUNDS):
            alone_s = _p95_s(client, jobs)
            ratios.append(_p95_beside_s(client, jobs, pictures) / alone_s)
    yield ratio("question_p95_beside_an_import_over_alone", ratios, "<=", 1.5)


def _p95_beside_s(client: Client, jobs: Sequence[AskJob], pictures: Sequence[Frame]) -> float:
    job = client.index_frames("import", pictures)
    while not job.progress().done:
        time.sleep(0.1)
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
    return taken_s[int(len(taken_s) * 0.95)]
