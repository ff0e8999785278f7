"""How long after `Job.cancel` the engine has one request less in its step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.engine.options import Options
from benchmarks.engine.system import System, percentile
from benchmarks.engine.tasks import Change, Tasks
from benchmarks.engine.workload import questions

_RUNNING = 32
#: Longer than this takes.
_ANSWER_TOKENS = 4096
_BETWEEN_S = 0.1


def cancel(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:
    """Cancel long answers one after the other; the last one stays, since an engine that has nothing to do reports nothing."""
    asked = questions(options.jobs)[: min(_RUNNING, options.engine["max_num_seqs"])]
    cancelled_at_s: list[float] = []
    jobs = [replace(question, history=()).ask(running.client, max_tokens=_ANSWER_TOKENS) for question in asked]
    tasks.wait_until_running(len(jobs))
    for job in jobs[:-1]:
        cancelled_at_s.append(time.time())
        assert job.cancel(), f"{job} had ended before it was cancelled, so the engine's count says nothing"
        time.sleep(_BETWEEN_S)
    changes = tasks.wait_until_left(1)
    jobs[-1].cancel()
    taken_s = sorted(_taken_s(cancelled_at_s, len(jobs), changes))
    return {
        "cancelled": len(taken_s),
        "p50_ms": 1000 * percentile(taken_s, 50),
        "p95_ms": 1000 * percentile(taken_s, 95),
        "max_ms": 1000 * taken_s[-1],
    }


def _taken_s(cancelled_at_s: Sequence[float], running: int, changes: Sequence[Change]) -> list[float]:
    """For the first cancelled, until there is one less than at the begin, for the second until two less, and so on."""
    return [
        next(at_s for at_s, left in changes if at_s >= cancelled and left < running - number) - cancelled
        for number, cancelled in enumerate(cancelled_at_s)
    ]
