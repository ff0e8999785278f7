"""Where a job's time goes at full load: by stage, by thread, waiting for the GIL and for the loop, and how long the card idles."""

from __future__ import annotations

from typing import Any

from benchmarks.engine.gpu import utilization
from benchmarks.engine.options import Options
from benchmarks.engine.system import System, ask_all, summary
from benchmarks.engine.tasks import Tasks
from benchmarks.engine.workload import questions


def account(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:
    """One more round of what `full_load` measures; looking costs a little, so that one does without."""
    before = tasks.read()
    with utilization(options.folder / "account.utilization") as card:
        answers, took_s = ask_all(running.client, questions(options.jobs))
    seen = tasks.read()
    cpu_ms = {
        name: 1000 * (used - before["cpu_s"].get(name, 0.0)) / len(answers) for name, used in seen["cpu_s"].items()
    }
    return {
        "jobs_per_s": len(answers) / took_s,
        "cpu_ms_a_job": dict(sorted(cpu_ms.items(), key=lambda used: -used[1])),
        "gil_late_ms": seen["gil_late_ms"],
        "loop_late_ms": seen["loop_late_ms"],
        "gc_ms": seen["gc_ms"],
        "engine_steps": seen["steps"] - before["steps"],
        "engine_running_mean": seen["running_mean"],
        "engine_idle_share": seen["idle_share"],
        "gpu_idle_share": card.idle_share,
        **summary(answers),
    }
