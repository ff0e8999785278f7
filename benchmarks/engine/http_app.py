"""Baseline: Celery threads that call vLLM's OpenAI server over HTTP; as many as our own worker has jobs in flight."""

from __future__ import annotations

import os
from typing import Any

from celery import signals
from openai import OpenAI

from benchmarks.engine.baseline import SERVED_MODEL, SERVER_VARIABLE, TASK, Baseline
from benchmarks.engine.options import Options
from benchmarks.engine.workload import Question
from benchmarks.plain_celery import plain_app

_baseline = Baseline(Options.from_environment())
app = plain_app("threads", _baseline.options.in_flight)
_server = OpenAI(base_url=os.environ[SERVER_VARIABLE], api_key="none", timeout=600.0, max_retries=0)
signals.worker_init.connect(lambda **_: _baseline.load(), weak=False)


@app.task(name=TASK)
def answer(question: dict[str, Any]) -> dict[str, Any]:
    return _baseline.answer(Question.from_json(question), _write)


def _write(prompt: str, max_tokens: int) -> tuple[str, int, int]:
    done = _server.completions.create(model=SERVED_MODEL, prompt=prompt, max_tokens=max_tokens, temperature=0.0)
    assert done.usage is not None
    return done.choices[0].text, done.usage.prompt_tokens, done.usage.completion_tokens
