"""The bound: the same prompts and lengths in two giant offline calls, with nothing around the engine.

Timed are the two calls of `LLM.generate`, which tokenize the prompts themselves. The chat template is applied before, and between
the two the excerpts are looked up, by the pipeline's own retrieval; neither is timed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from vllm import LLM, SamplingParams
from vllm.outputs import RequestOutput

from benchmarks.engine.library import open_store
from benchmarks.engine.options import Options
from benchmarks.engine.prompts import Prompts
from benchmarks.engine.workload import (
    ANSWER_TOKENS,
    REWRITING_TOKENS,
    TOP_K,
    Question,
    questions,
    warm_up_questions,
)
from pipeline.embeddings import load_embeddings


def bound(options: Options) -> dict[str, Any]:
    """Jobs a second that nothing around the engine can beat: the better of two rounds, of which none finds the other's prompts."""
    prompts, asked = Prompts(options.model), questions(options.jobs)
    llm = LLM(model=options.model, **options.engine)
    _generate(llm, [prompts.rewriting(question) for question in warm_up_questions()], REWRITING_TOKENS)
    to_rewrite = [prompts.rewriting(question) for question in asked if question.history]
    _forget_prompts(llm)
    rewriting, first_rewriting_s = _generate(llm, to_rewrite, REWRITING_TOKENS)
    standalone = _standalone(asked, rewriting)
    found = _retrieve(options, asked, standalone)
    to_answer = [prompts.answer(question, documents) for question, documents in zip(standalone, found, strict=True)]
    answers, first_answers_s = _generate(llm, to_answer, ANSWER_TOKENS)
    _save_prompts(options, asked, rewriting, answers)
    _forget_prompts(llm)
    rounds_s = [
        (first_rewriting_s, first_answers_s),
        (_generate(llm, to_rewrite, REWRITING_TOKENS)[1], _generate(llm, to_answer, ANSWER_TOKENS)[1]),
    ]
    rewriting_s, answers_s = min(rounds_s, key=sum)
    return {
        "jobs_per_s": len(asked) / (rewriting_s + answers_s),
        "rewriting_s": rewriting_s,
        "answers_s": answers_s,
        "rounds_s": [sum(round_s) for round_s in rounds_s],
        "rewriting_prompt_tokens": _mean_read(rewriting),
        "answer_prompt_tokens": _mean_read(answers),
        "prompt_tokens": _read([*rewriting, *answers]) / len(asked),
        "completion_tokens": sum(_written(output) for output in [*rewriting, *answers]) / len(asked),
    }


def _forget_prompts(llm: LLM) -> None:
    assert llm.reset_prefix_cache(), "the engine's prefix cache is in use, though nothing runs"


def _standalone(asked: Sequence[Question], rewriting: Sequence[RequestOutput]) -> list[str]:
    """The questions to look up, as the pipeline would: rewritten where there is a history."""
    texts = iter(rewriting)
    return [_text(next(texts)).strip() if question.history else question.question for question in asked]


def _generate(llm: LLM, prompts: list[str], max_tokens: int) -> tuple[list[RequestOutput], float]:
    begun = time.perf_counter()
    outputs = llm.generate(prompts, SamplingParams(temperature=0.0, max_tokens=max_tokens), use_tqdm=False)
    return outputs, time.perf_counter() - begun


def _retrieve(options: Options, asked: Sequence[Question], standalone: list[str]) -> list[list[Document]]:
    vectors = load_embeddings(device=options.embedding_device).embed_documents(standalone)
    with open_store(options) as store:
        return [
            store.search("default", vector, video_ids=[question.video_id], top_k=TOP_K)
            for question, vector in zip(asked, vectors, strict=True)
        ]


def _save_prompts(
    options: Options, asked: Sequence[Question], rewriting: list[RequestOutput], answers: list[RequestOutput]
) -> None:
    """Tokens of both prompts of each question, for the part that drives the engine straight."""
    followed = iter(rewriting)
    options.write(
        "prompts",
        [
            {
                "rewriting": list(next(followed).prompt_token_ids or ()) if question.history else None,
                "answer": list(answer.prompt_token_ids or ()),
            }
            for question, answer in zip(asked, answers, strict=True)
        ],
    )


def _text(output: RequestOutput) -> str:
    return output.outputs[0].text


def _written(output: RequestOutput) -> int:
    return len(output.outputs[0].token_ids)


def _read(outputs: Sequence[RequestOutput]) -> int:
    return sum(len(output.prompt_token_ids or ()) for output in outputs)


def _mean_read(outputs: Sequence[RequestOutput]) -> float:
    return _read(outputs) / len(outputs)
