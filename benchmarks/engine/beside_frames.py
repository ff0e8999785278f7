"""How long people wait while two thousand frames are imported, over how long without: some who ask without a pause, which keeps the
import small, and then one who asks now and then, when it has everything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.engine.options import Options
from benchmarks.engine.priority import answer_s, answered_s
from benchmarks.engine.slides import frames, imported
from benchmarks.engine.system import System, percentile
from benchmarks.engine.tasks import Tasks, wait_until
from benchmarks.engine.workload import Question, questions
from vidask import Client

_QUESTIONS = 256
#: Of the one who asks now and then, on each side; the import fills the engine again meanwhile.
_FEW = 6
_PAUSE_S = 2.0


def beside_frames(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:  # noqa: ARG001  as all of them
    """Seconds from `ask` to the return of `result`, alone and beside the import, which is then cancelled."""
    asked = questions(min(options.jobs, _QUESTIONS))
    few = min(_FEW, len(asked) // 4)
    seldom, often = asked[: 2 * few], asked[2 * few :]
    half = len(often) // 2
    alone_s, seldom_alone_s = answered_s(running.client, often[:half]), _seldom_s(running.client, seldom[:few])
    job = running.client.index_frames("import", frames(options.slides, imported(options.jobs)))
    wait_until(lambda: job.progress().done > 0, "no frame of the import is done")
    beside_s = answered_s(running.client, often[half:])
    done, total = job.progress().done, job.progress().total
    seldom_beside_s = _seldom_s(running.client, seldom[few:])
    job.cancel()
    return {
        "frames": total,
        "done_meanwhile": done,
        "alone_p50_s": percentile(alone_s, 50),
        "alone_p95_s": percentile(alone_s, 95),
        "beside_p50_s": percentile(beside_s, 50),
        "beside_p95_s": percentile(beside_s, 95),
        "p95_ratio": percentile(beside_s, 95) / percentile(alone_s, 95),
        "seldom_alone_s": seldom_alone_s,
        "seldom_beside_s": seldom_beside_s,
        "seldom_ratio": median(seldom_beside_s) / median(seldom_alone_s),
    }


def _seldom_s(client: Client, asked: Sequence[Question]) -> list[float]:
    """Seconds that each answer took, for one who asks again a moment after the last."""
    took_s = []
    for question in asked:
        time.sleep(_PAUSE_S)  # the person's own
        took_s.append(answer_s(client, question))
    return took_s
