"""How long a person waits while a bulk import runs that needs the same model, over how long without it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.engine.options import Options
from benchmarks.engine.system import TOOK_LIMIT_S, System, percentile
from benchmarks.engine.tasks import Tasks
from benchmarks.engine.workload import Question, questions
from vidask import Client

#: People who ask one question after the other: enough to hear a hundred answers in the time, too few to wait for each other.
_PEOPLE = 8
#: Questions in all, half of them alone and half beside the import; none is asked twice, so that none is found in the cache.
_QUESTIONS = 256
#: No new question on a side after so long.
_ASKING_S = 40.0


def priority(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:
    """Seconds from `ask` to the return of `result`, alone and beside the import."""
    asked = questions(min(options.jobs, _QUESTIONS))
    half = len(asked) // 2
    alone_s = answered_s(running.client, asked[:half])
    with tasks.describing(options.indexing_requests):
        beside_s = answered_s(running.client, asked[half:])
    return {
        "indexing_requests": options.indexing_requests,
        "alone_questions": len(alone_s),
        "beside_questions": len(beside_s),
        "alone_p50_s": percentile(alone_s, 50),
        "alone_p95_s": percentile(alone_s, 95),
        "beside_p50_s": percentile(beside_s, 50),
        "beside_p95_s": percentile(beside_s, 95),
        "p95_ratio": percentile(beside_s, 95) / percentile(alone_s, 95),
    }


def answered_s(client: Client, asked: Sequence[Question]) -> list[float]:
    """Seconds that each question took, sorted; so many people ask one after the other."""
    last_asked_s = time.perf_counter() + _ASKING_S

    def answer(question: Question) -> float | None:
        return None if time.perf_counter() > last_asked_s else answer_s(client, question)

    with ThreadPoolExecutor(_PEOPLE) as people:
        return sorted(took_s for took_s in people.map(answer, asked) if took_s is not None)


def answer_s(client: Client, question: Question) -> float:
    """Seconds from `ask` to the return of `result`."""
    begun = time.perf_counter()
    question.ask(client).result(timeout_s=TOOK_LIMIT_S)
    return time.perf_counter() - begun
