"""One model over two processes, as over two cards: it says what the undivided model says, and both end with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from config import Settings
from pipeline.llm import open_llm
from pipeline.loop import EventLoopThread
from tests.engine.conftest import VLLM_CONFIG
from tests.processes import below
from tests.support import wait_for

QUESTION = "Why does a deep tree overfit?"
MAX_TOKENS = 8
OVER_TWO = {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"}
#: Two processes share two cores; threads that wait for each other by spinning would take half a second a token.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass
class Divided:
    """A model whose two halves are processes, and what was said of its death."""

    llm: BaseChatModel
    deaths: list[str] = field(default_factory=list)

    def halves(self) -> list[psutil.Process]:
        """Those that live."""
        return below(None, "Worker_TP")


@pytest.fixture(scope="module")
def divided(tiny_model: Path) -> Iterator[Divided]:
    settings = Settings(model_path=str(tiny_model), engine_config={**VLLM_CONFIG, **OVER_TWO})
    deaths: list[str] = []
    with pytest.MonkeyPatch.context() as monkeypatch, closing(EventLoopThread("answers")) as loop:
        for name, value in ONE_THREAD.items():
            monkeypatch.setenv(name, value)
        with open_llm(settings, loop, on_death=deaths.append) as llm:
            divided = Divided(llm, deaths)
            yield divided
    wait_for("no card's memory stays taken", lambda: not divided.halves())


@pytest.fixture(scope="module")
def said_undivided(tiny_model: Path) -> str:
    """What the model answers in transformers, without vLLM."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_model)
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(tiny_model)
    chat = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**prompt, max_new_tokens=MAX_TOKENS)
    return tokenizer.decode(written[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


def test_two_halves_say_what_the_whole_says(divided: Divided, said_undivided: str) -> None:
    assert len(divided.halves()) == 2
    assert divided.llm.invoke([HumanMessage(QUESTION)], max_tokens=MAX_TOKENS).text == said_undivided


def test_the_death_of_one_half_is_the_engines_and_the_other_half_ends(divided: Divided) -> None:
    """Nobody waits for an answer of which half is missing, and no card stays taken."""
    first, _ = divided.halves()
    first.kill()
    wait_for("the worker is told", lambda: divided.deaths == ["the engine's process has ended"])
    wait_for("the other half has ended", lambda: not divided.halves())
