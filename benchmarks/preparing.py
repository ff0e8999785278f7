"""How long vLLM takes to prepare a slide for its engine, on this machine's CPU, by how many threads (`renderer_num_workers`).

    python -m benchmarks.engine.shapes qwen2.5-vl-7b /tmp/q7vl
    python -m benchmarks.preparing /tmp/q7vl 1

The second round finds the memory of the first one, which is new to it.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

from langchain_core.messages import convert_to_openai_messages
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.renderers.registry import renderer_from_config

from benchmarks.engine.slides import frames
from pipeline.llm.engine import CHAT
from pipeline.prompts import caption_messages

_SLIDES = 64
_AT_ONCE = 8
#: Prompts that are in memory, as while their captions are written.
_HELD = 32


def main(model: str, workers: int) -> None:
    config = AsyncEngineArgs(
        model=model, load_format="dummy", max_model_len=8192, mm_processor_cache_gb=0, renderer_num_workers=workers
    ).create_engine_config()
    renderer = renderer_from_config(config)
    with tempfile.TemporaryDirectory(prefix="vidask-bench-") as folder:
        pictures = [cast("bytes", frame.image) for frame in frames(Path(folder), _SLIDES)]
    prompts = [convert_to_openai_messages(caption_messages(picture, "A slide.")) for picture in pictures]
    asyncio.run(_rounds(renderer, prompts))
    renderer.shutdown()


async def _rounds(renderer: Any, prompts: list[Any]) -> None:
    held = deque[Any](maxlen=_HELD)
    room = asyncio.Semaphore(_AT_ONCE)

    async def prepare(prompt: Any) -> None:
        async with room:
            held.append(await renderer.render_chat_async([prompt], CHAT))

    await prepare(prompts[0])  # loads what it needs
    for number in (1, 2):
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await asyncio.gather(*map(prepare, prompts))
        took_s, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        faults = (after.ru_minflt - before.ru_minflt) / _SLIDES
        print(
            f"round {number}: {1000 * took_s / _SLIDES:.1f} ms a slide, {1000 * cpu_s / _SLIDES:.1f} ms of CPU, "
            f"{faults:.0f} pages of memory touched for the first time",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
