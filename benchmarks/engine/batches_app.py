"""Baseline: celery-batches gathers 64 tasks, and `LLM.generate` does each step for all of them in one call."""

from __future__ import annotations

from functools import cache
from typing import Any

from celery_batches import Batches, SimpleRequest  # pyright: ignore[reportMissingImports]  only where it is measured
from vllm import LLM, SamplingParams

from benchmarks.engine.baseline import TASK, Baseline, reply
from benchmarks.engine.options import Options
from benchmarks.engine.workload import ANSWER_TOKENS, REWRITING_TOKENS, TOP_K, Question
from benchmarks.plain_celery import plain_app

BATCH = 64

app = plain_app("solo")  # a prefork child may not have the engine's processes as children
app.conf.worker_prefetch_multiplier = 2 * BATCH
_baseline = Baseline(Options.from_environment())

_Written = list[tuple[str, int, int]]


@app.task(name=TASK, base=Batches, flush_every=BATCH, flush_interval=1.0)
def answer(requests: list[SimpleRequest]) -> None:
    asked = [Question.from_json(request.args[0]) for request in requests]
    for request, made in zip(requests, _answer(asked), strict=True):
        app.backend.mark_as_done(request.id, made, request=request)


def _answer(asked: list[Question]) -> list[dict[str, Any]]:
    prompts, followed = _baseline.prompts, [question for question in asked if question.history]
    rewritten = iter(_generate([prompts.rewriting(question) for question in followed], REWRITING_TOKENS))
    rewriting = [next(rewritten) if question.history else (question.question, 0, 0) for question in asked]
    standalone = [text.strip() for text, _, _ in rewriting]
    found = [
        _baseline.store.search("default", vector, video_ids=[question.video_id], top_k=TOP_K)
        for question, vector in zip(asked, _baseline.embeddings.embed_documents(standalone), strict=True)
    ]
    answers = _generate(
        [prompts.answer(text, documents) for text, documents in zip(standalone, found, strict=True)], ANSWER_TOKENS
    )
    return [
        reply(text, documents, before[1] + read, before[2] + written)
        for before, documents, (text, read, written) in zip(rewriting, found, answers, strict=True)
    ]


def _generate(prompts: list[str], max_tokens: int) -> _Written:
    if not prompts:
        return []
    outputs = _llm().generate(prompts, SamplingParams(temperature=0.0, max_tokens=max_tokens), use_tqdm=False)
    return [
        (output.outputs[0].text, len(output.prompt_token_ids or ()), len(output.outputs[0].token_ids))
        for output in outputs
    ]


@cache
def _llm() -> LLM:
    return LLM(model=_baseline.options.model, **_baseline.options.engine)
