"""Inside a worker's process: its engine driven straight, with nothing of ours around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from benchmarks.engine.workload import ANSWER_TOKENS, REWRITING_TOKENS


async def first_outputs_s(llm: AsyncLLM, at_s: Sequence[float], prompts: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds to the first token of each answer, asked for at these seconds. Prompts are tokens, as part `bound` leaves them."""
    begun, waiting = time.perf_counter(), []
    for at, prompt in zip(at_s, prompts, strict=False):
        await asyncio.sleep(begun + at - time.perf_counter())
        waiting.append(asyncio.create_task(_first_output_s(llm, prompt)))
    return await asyncio.gather(*waiting)


async def _first_output_s(llm: AsyncLLM, prompt: dict[str, Any]) -> float:
    begun, name = time.perf_counter(), f"straight-{time.perf_counter_ns()}"
    if prompt["rewriting"]:
        rewriting = SamplingParams(
            temperature=0.0, max_tokens=REWRITING_TOKENS, output_kind=RequestOutputKind.FINAL_ONLY
        )
        async for _ in llm.generate({"prompt_token_ids": prompt["rewriting"]}, rewriting, f"{name}-rewriting"):
            pass
    answer = SamplingParams(temperature=0.0, max_tokens=ANSWER_TOKENS, output_kind=RequestOutputKind.DELTA)
    first_s = 0.0
    async for _ in llm.generate({"prompt_token_ids": prompt["answer"]}, answer, name):
        first_s = first_s or time.perf_counter() - begun
    return first_s
