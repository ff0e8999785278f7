"""How long a person waits while two thousand frames are imported, over how long without."""

from __future__ import annotations

from typing import Any

from benchmarks.engine.options import Options
from benchmarks.engine.priority import answered_s
from benchmarks.engine.slides import IMPORTED, frames
from benchmarks.engine.system import System, percentile
from benchmarks.engine.tasks import Tasks, wait_until
from benchmarks.engine.workload import questions

_QUESTIONS = 256


def beside_frames(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:  # noqa: ARG001  as all of them
    """Seconds from `ask` to the return of `result`, alone and beside the import, which is then cancelled."""
    asked = questions(min(options.jobs, _QUESTIONS))
    half = len(asked) // 2
    alone_s = answered_s(running.client, asked[:half])
    job = running.client.index_frames("import", frames(options.slides, min(IMPORTED, 4 * options.jobs)))
    wait_until(lambda: job.progress().done > 0, "no frame of the import is done")
    beside_s = answered_s(running.client, asked[half:])
    done, total = job.progress().done, job.progress().total
    job.cancel()
    return {
        "frames": total,
        "done_meanwhile": done,
        "alone_p50_s": percentile(alone_s, 50),
        "alone_p95_s": percentile(alone_s, 95),
        "beside_p50_s": percentile(beside_s, 50),
        "beside_p95_s": percentile(beside_s, 95),
        "p95_ratio": percentile(beside_s, 95) / percentile(alone_s, 95),
    }
