"""Jobs a second of the worker's engine with nothing around it: what batching across jobs leaves of the bound."""

from __future__ import annotations

from typing import Any

from benchmarks.engine.options import Options
from benchmarks.engine.system import System
from benchmarks.engine.tasks import Tasks


def alone(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:  # noqa: ARG001  as all of them
    """The prompts of part `bound`, as tokens, a rewriting and then its answer; as many in flight as the worker holds."""
    bound = options.found("bound")
    took_s = tasks.alone()
    return {
        "jobs_per_s": options.jobs / took_s,
        "took_s": took_s,
        "prompt_tokens": bound["prompt_tokens"],
        "completion_tokens": bound["completion_tokens"],
    }
