"""Baseline: one task at a time through `langchain_community.llms.VLLM`, as the guides have it."""

from __future__ import annotations

from functools import cache
from typing import Any

from langchain_community.llms import VLLM

from benchmarks.engine.baseline import TASK, Baseline
from benchmarks.engine.options import Options
from benchmarks.engine.workload import Question
from benchmarks.plain_celery import plain_app

app = plain_app("solo")
_baseline = Baseline(Options.from_environment())


@app.task(name=TASK)
def answer(question: dict[str, Any]) -> dict[str, Any]:
    return _baseline.answer(Question.from_json(question), _write)


def _write(prompt: str, max_tokens: int) -> tuple[str, int, int]:
    """The wrapper tells no usage: what was read is counted here, and what was written is taken to be as much as allowed."""
    text = _llm().invoke(prompt, max_tokens=max_tokens)
    return text, len(_llm().client.get_tokenizer().encode(prompt)), max_tokens


@cache
def _llm() -> VLLM:
    options = dict(_baseline.options.engine)
    return VLLM(model=_baseline.options.model, temperature=0.0, dtype=options.pop("dtype", "auto"), vllm_kwargs=options)
