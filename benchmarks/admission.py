"""How much longer a question takes beside an import's captions than alone, in one engine on the CPU, with nothing around it.

No queue, no retrieval and no OCR: what is left is who is in the engine together (`pipeline.llm.admission`). The model is tiny and
without weights, and pictures are of a size at which reading one takes about as many times as long as a step that only decodes as it
does on a large GPU with a 7B.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from langchain_core.messages import BaseMessage, HumanMessage

from benchmarks.engine.shapes import write_shape
from benchmarks.engine.system import percentile
from benchmarks.engine.workload import lecture_sentences
from benchmarks.figures import Figure, ratio
from config import Settings
from pipeline.llm import open_llm
from pipeline.llm.vllm import VLLMChatModel
from pipeline.loop import EventLoopThread
from tests.drawing import jpeg, slide
from tests.engine.conftest import VLLM_CONFIG
from vidask import keys

_PLACES = 256
_PICTURES = 100
_SIZE = (640, 360)
_PEOPLE = 4
_QUESTIONS_EACH = 25
_SENTENCES = 60
_TOKENS = 120
_ROUNDS = 3
_LIMIT_S = 120.0


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="vidask-bench-") as folder, closing(EventLoopThread("answers")) as loop:
        write_shape("tiny-vl", Path(folder))
        given = {**VLLM_CONFIG, "max_num_seqs": _PLACES, "max_num_batched_tokens": 4096, "load_format": "dummy"}
        with open_llm(Settings(model_path=folder, engine_config=given), loop) as llm:
            assert isinstance(llm, VLLMChatModel)
            people = _People(llm)
            loop.run(people.ask(2))  # warm
            ratios = [loop.run(people.beside_over_alone()) for _ in range(_ROUNDS)]
    yield ratio("question_p95_beside_captions_over_alone", ratios, "<=", 1.5)


class _People:
    """Ask one question after the other, none of them twice."""

    def __init__(self, llm: VLLMChatModel) -> None:
        self._llm = llm
        self._chance = random.Random(1)  # noqa: S311
        self._numbers = itertools.count()
        self._pictures = [self._picture() for _ in range(_PICTURES)]
        self._described = asyncio.Event()

    async def beside_over_alone(self) -> float:
        """The 95th percentile of a question's time beside an import over that without."""
        alone_s = await self.ask(_QUESTIONS_EACH)
        self._described.clear()
        async with asyncio.timeout(_LIMIT_S):
            frames = [asyncio.create_task(self._describe()) for _ in range(_PLACES * 3 // 2)]
            await self._described.wait()
            beside_s = await self.ask(_QUESTIONS_EACH)
        for frame in frames:
            frame.cancel()
        await asyncio.gather(*frames, return_exceptions=True)
        return percentile(beside_s, 95) / percentile(alone_s, 95)

    async def ask(self, each: int) -> list[float]:
        """Seconds that each question took, sorted."""

        async def person() -> list[float]:
            return [await self._answered_s() for _ in range(each)]

        return sorted(itertools.chain(*await asyncio.gather(*(person() for _ in range(_PEOPLE)))))

    async def _answered_s(self) -> float:
        begun = time.perf_counter()
        await self._say([HumanMessage(f"{next(self._numbers)}: {self._text(_SENTENCES)}")], keys.PRIORITY_QUESTION)
        return time.perf_counter() - begun

    async def _describe(self) -> None:
        while True:
            picture = {"type": "image", "base64": self._chance.choice(self._pictures), "mime_type": "image/jpeg"}
            number = {"type": "text", "text": f"{next(self._numbers)}: what is it?"}
            await self._say([HumanMessage([number, picture])], keys.PRIORITY_FRAMES)
            self._described.set()

    async def _say(self, messages: list[BaseMessage], priority: int) -> None:
        await self._llm.ainvoke(messages, {"metadata": {"priority": priority}}, max_tokens=_TOKENS)

    def _picture(self) -> str:
        drawn = slide(self._text(1)[:24], [self._text(1)[:30] for _ in range(4)], size=_SIZE)
        return base64.b64encode(jpeg(drawn, quality=85)).decode()

    def _text(self, n: int) -> str:
        return " ".join(self._chance.choices(lecture_sentences(), k=n))


if __name__ == "__main__":
    for figure in figures():
        print(figure)
