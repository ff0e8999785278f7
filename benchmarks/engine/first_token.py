"""Time to the first token of the answer at half load: through queue and stream, and of the same engine driven straight.

For a question with a history both include the rewriting before it; the straight way knows the excerpts already.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.engine.arrivals import MAX_ARRIVALS, arrivals_s, first_tokens
from benchmarks.engine.options import Options
from benchmarks.engine.system import TOOK_LIMIT_S, System
from benchmarks.engine.tasks import Tasks
from benchmarks.engine.workload import Question, questions
from vidask import Client


def through_queue(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:  # noqa: ARG001  as all of them
    """From `ask` to the first event of `stream`."""
    at_s, asked = arrivals_s(options), questions(options.jobs)
    with ThreadPoolExecutor(MAX_ARRIVALS) as producers:
        begun = time.perf_counter()
        waiting = []
        for at, question in zip(at_s, asked, strict=False):
            time.sleep(max(0.0, begun + at - time.perf_counter()))
            waiting.append(producers.submit(_first_event_s, running.client, question))
        return first_tokens([first.result() for first in waiting], at_s)


def _first_event_s(client: Client, question: Question) -> float:
    begun = time.perf_counter()
    events = question.ask(client).stream(timeout_s=TOOK_LIMIT_S)
    next(event for event in events if event.kind == "text")
    first_s = time.perf_counter() - begun
    for _ in events:  # to the end, as a reader does
        pass
    return first_s


def straight(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:  # noqa: ARG001  likewise
    """The prompts of part `bound` at the same times, from `AsyncLLM.generate` to its first output."""
    options.found("prompts")
    at_s = arrivals_s(options)
    return first_tokens(tasks.straight(at_s), at_s)
