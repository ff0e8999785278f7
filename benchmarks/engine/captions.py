"""Captions a second: the worker's, from `index_frames` to the report, and vLLM's own `LLM.chat` on the same pictures and prompts.

`LLM.chat` is given what a worker has to make first: pictures that are scaled, and the text that was read on them. The reading is
timed alone before it: no engine can be faster than that.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import Any, cast

from langchain_core.messages import convert_to_openai_messages

from benchmarks.engine.options import Options
from benchmarks.engine.slides import frames, imported
from benchmarks.engine.system import TOOK_LIMIT_S, System
from benchmarks.engine.tasks import Tasks
from pipeline.documents import plain_lines
from pipeline.picture_readers import PictureReaders
from pipeline.pictures import ReadPicture
from pipeline.prompts import caption_messages

#: As long as a worker lets a caption become; a model without trained weights never ends before.
CAPTION_TOKENS = 120
#: Read and described before; enough for each process that reads to start.
_WARM_UP = 16


def chat(options: Options) -> dict[str, Any]:
    """What batching alone can do: one call for all pictures."""
    from vllm import LLM, SamplingParams  # noqa: PLC0415  not to be loaded by the process that starts a worker

    n = imported(options.jobs)
    read, read_s = asyncio.run(_read(options, n))
    prompts: list[Any] = [
        convert_to_openai_messages(caption_messages(each.jpeg, plain_lines(each.text))) for each in read
    ]
    llm = LLM(model=options.model, limit_mm_per_prompt={"image": 1}, **options.engine)
    sampling = SamplingParams(temperature=0.0, max_tokens=CAPTION_TOKENS)
    llm.chat(prompts[n:], sampling, use_tqdm=False)
    begun = time.perf_counter()
    outputs = llm.chat(prompts[:n], sampling, use_tqdm=False)
    took_s = time.perf_counter() - begun
    return {
        "captions_per_s": n / took_s,
        "took_s": took_s,
        "read_per_s": n / read_s,
        "prompt_tokens": sum(len(output.prompt_token_ids or ()) for output in outputs) / n,
        "completion_tokens": sum(len(output.outputs[0].token_ids) for output in outputs) / n,
    }


def captions(options: Options, running: System, tasks: Tasks) -> dict[str, Any]:
    """The whole system: pictures into Redis, read, described, embedded, stored."""
    n = imported(options.jobs)
    running.client.index_frames("warm-up", frames(options.slides, _WARM_UP, begin=n)).result(timeout_s=TOOK_LIMIT_S)
    pictures = frames(options.slides, n)
    tasks.read()
    begun = time.perf_counter()
    report = running.client.index_frames("slides", pictures).result(timeout_s=TOOK_LIMIT_S)
    took_s = time.perf_counter() - begun
    assert report.captioned == n, (
        f"{report.captioned} of {n} slides have captions: {report.problems[:3]} {report.notes}"
    )
    return {"captions_per_s": n / took_s, "took_s": took_s, "watched": tasks.read()}


async def _read(options: Options, n: int) -> tuple[list[ReadPicture], float]:
    """`n` pictures, the seconds that they took, and those of the warm-up at the end."""
    images = [cast("bytes", frame.image) for frame in frames(options.slides, n + _WARM_UP)]
    with closing(PictureReaders()) as readers:
        warm_up = await asyncio.gather(*map(readers.read, images[n:]))
        begun = time.perf_counter()
        read = await asyncio.gather(*map(readers.read, images[:n]))
        return [*read, *warm_up], time.perf_counter() - begun
