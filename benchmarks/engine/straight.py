"""Inside a worker's process: its engine driven straight, with nothing of ours around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from vllm import SamplingParams
from vllm.outputs import RequestOutput
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


async def all_answered_s(llm: AsyncLLM, prompts: Sequence[dict[str, Any]], in_flight: int) -> float:
    """Seconds until all are answered, so many at a time; nothing is looked up between a rewriting and its answer."""
    places = asyncio.Semaphore(in_flight)

    async def answered(prompt: dict[str, Any]) -> None:
        async with places:
            async for _ in _outputs(llm, prompt, RequestOutputKind.FINAL_ONLY):
                pass

    begun = time.perf_counter()
    await asyncio.gather(*map(answered, prompts))
    return time.perf_counter() - begun


async def _first_output_s(llm: AsyncLLM, prompt: dict[str, Any]) -> float:
    begun, first_s = time.perf_counter(), 0.0
    async for _ in _outputs(llm, prompt, RequestOutputKind.DELTA):
        first_s = first_s or time.perf_counter() - begun
    return first_s


async def _outputs(
    llm: AsyncLLM, prompt: dict[str, Any], kind: RequestOutputKind
) -> AsyncGenerator[RequestOutput, None]:
    """Those of the answer, after the rewriting where there is one."""
    name = f"straight-{time.perf_counter_ns()}"
    if prompt["rewriting"]:
        rewriting = _sampling(REWRITING_TOKENS, RequestOutputKind.FINAL_ONLY)
        # before others are answered, as `pipeline.chain` does
        tokens: Any = {"prompt_token_ids": prompt["rewriting"]}
        async for _ in llm.generate(tokens, rewriting, f"{name}-rewriting", priority=-1):
            pass
    async for output in llm.generate({"prompt_token_ids": prompt["answer"]}, _sampling(ANSWER_TOKENS, kind), name):
        yield output


def _sampling(max_tokens: int, kind: RequestOutputKind) -> SamplingParams:
    return SamplingParams(
        temperature=0.0, max_tokens=max_tokens, output_kind=kind, detokenize=kind is RequestOutputKind.DELTA
    )
