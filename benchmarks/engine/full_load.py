"""Jobs a second of the whole system, when all questions are asked at once."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.engine.options import Options
from benchmarks.engine.system import System, ask_all, summary
from benchmarks.engine.tasks import Tasks
from benchmarks.engine.workload import questions
from vidask import Answer


def full_load(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:
    """From the first question accepted to the last answer in the producer's hands; the median of the rounds."""
    answers: list[Answer] = []
    took_s: list[float] = []
    for _ in range(options.rounds):
        tasks.forget_prompts()
        answered, round_s = ask_all(running.client, questions(options.jobs))
        answers += answered
        took_s.append(round_s)
    typical_s = median(took_s)
    return {
        "jobs_per_s": options.jobs / typical_s,
        "took_s": typical_s,
        "rounds_s": took_s,
        "spread": (max(took_s) - min(took_s)) / typical_s,
        **summary(answers),
    }
