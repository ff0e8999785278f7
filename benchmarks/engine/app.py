"""The worker as it is, but for four things.

A rewritten question ends after REWRITING_TOKENS: a model with weights ends it by itself, one without never does. There is a task
that needs the model at an indexing job's priority, which no indexing job does yet. It can be asked what goes on in it. And its
engine can be made to forget earlier prompts, and be driven straight.

celery -A benchmarks.engine.app worker
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any, cast

from langchain_core.messages import BaseMessage, HumanMessage

from benchmarks.engine.options import Options
from benchmarks.engine.straight import all_answered_s, first_outputs_s
from benchmarks.engine.tasks import (
    ALONE,
    DESCRIBE,
    DESCRIBED_AT_ONCE,
    DESCRIBED_TOKENS,
    DESCRIPTIONS_BEGUN,
    FORGET,
    KEEP_DESCRIBING,
    READ,
    STRAIGHT,
)
from benchmarks.engine.watch import Watch
from benchmarks.engine.workload import REWRITING_TOKENS, lecture_sentences
from config import Settings
from pipeline import steps
from pipeline.llm.vllm import VLLMChatModel
from vidask import Sampling, keys
from worker.factory import create_app
from worker.services import open_services

_SENTENCES_DESCRIBED = 24

steps.REWRITING = Sampling(max_tokens=REWRITING_TOKENS)
_options = Options.from_environment()
app = create_app(Settings.from_environment(), open_services)


@app.task(name=DESCRIBE, acks_late=True, ignore_result=True)
def describe(number: int) -> None:
    """While it is wanted: caption some texts of about four hundred tokens at once, as a frame job does, and have the next do so."""
    if not app.services.ledger.redis.exists(KEEP_DESCRIBING):
        return
    app.services.ledger.redis.incrby(DESCRIPTIONS_BEGUN, DESCRIBED_AT_ONCE)
    config: Any = {"metadata": {"request_id": f"describe-{number}", "priority": keys.PRIORITY_FRAMES}}
    _llm().batch([_described(number, part) for part in range(DESCRIBED_AT_ONCE)], config, max_tokens=DESCRIBED_TOKENS)
    describe.apply_async(args=(number + _options.indexing_requests,), priority=keys.PRIORITY_FRAMES)


def _described(number: int, part: int) -> list[BaseMessage]:
    said = random.Random(f"{number}.{part}").choices(lecture_sentences(), k=_SENTENCES_DESCRIBED)  # noqa: S311
    return [HumanMessage(f"{number}.{part}: {' '.join(said)}")]


@app.task(name=READ, ignore_result=False)
def read() -> dict[str, Any]:
    """What went on since the last call."""
    return _watch().read()


@app.task(name=FORGET, ignore_result=False)
def forget() -> bool:
    """Empty the prefix cache; False where the engine still answers something."""
    engine = _llm().engine
    return engine.loop.run(engine._llm.reset_prefix_cache())  # noqa: SLF001  nothing but a benchmark wants this of it


@app.task(name=STRAIGHT, ignore_result=False)
def straight(at_s: list[float]) -> list[float]:
    """Seconds to the first token of the prompts of part `bound`, come at these times."""
    engine = _llm().engine
    return engine.loop.run(first_outputs_s(engine._llm, at_s, _options.found("prompts")))  # noqa: SLF001  likewise


@app.task(name=ALONE, ignore_result=False)
def alone() -> float:
    """Seconds in which the engine itself answers all prompts of part `bound`, with as many in flight as the worker holds."""
    engine, prompts = _llm().engine, _options.found("prompts")
    return engine.loop.run(all_answered_s(engine._llm, prompts, _options.in_flight))  # noqa: SLF001  likewise


@cache
def _watch() -> Watch:
    return Watch(_llm().engine)


def _llm() -> VLLMChatModel:
    return cast("VLLMChatModel", app.services.parts.llms[0])
