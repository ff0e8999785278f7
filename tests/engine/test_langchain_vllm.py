"""The backend `langchain-vllm` on a real engine: what comes of it, and what it cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from config import Settings
from pipeline.llm import open_llm
from pipeline.llm.langchain_vllm import LangchainVLLMChatModel, wrapper_arguments
from pipeline.llm.sampling import sampling_arguments
from pipeline.llm.vision import takes_images
from pipeline.loop import EventLoopThread
from tests.engine.conftest import VLLM_CONFIG
from tests.processes import below
from tests.support import wait_for
from vidask.errors import InvalidJob, InvalidSettings, ModelDied
from vidask.models import Sampling

CHAT = [SystemMessage("Answer briefly."), HumanMessage("Why does a deep tree overfit?")]
SHORT = Sampling(max_tokens=24)


@pytest.fixture(scope="module")
def loop() -> Iterator[EventLoopThread]:
    with closing(EventLoopThread("answers")) as loop:
        yield loop


@pytest.fixture(scope="module")
def llm(tiny_model: Path, loop: EventLoopThread) -> Iterator[LangchainVLLMChatModel]:
    """With what the older guides wrote down twice: `dtype`, and beside it `trust_remote_code`."""
    settings = Settings(
        llm_backend="langchain-vllm",
        model_path=str(tiny_model),
        engine_config={**VLLM_CONFIG, "tensor_parallel_size": 1},
        trust_remote_code=True,
    )
    with open_llm(settings, loop) as llm:
        assert isinstance(llm, LangchainVLLMChatModel)
        yield llm
    wait_for("its engine is gone", lambda: not engines())


def engines() -> list[psutil.Process]:
    return below(None, "EngineCore")


def ask(llm: LangchainVLLMChatModel, chat: list[Any], sampling: Sampling = SHORT) -> str:
    return llm.invoke(chat, **sampling_arguments(llm, sampling)).text


def test_each_argument_reaches_vllm_once() -> None:
    given = {"model": "m", "trust_remote_code": False, "dtype": "auto", "max_model_len": 8192, "scheduling_policy": "x"}
    assert wrapper_arguments(given) == {
        "model": "m",
        "trust_remote_code": False,
        "dtype": "auto",
        "vllm_kwargs": {"max_model_len": 8192, "scheduling_policy": "x"},
    }


def test_it_says_what_vllm_says_to_the_same_chat(llm: LangchainVLLMChatModel) -> None:
    from vllm import SamplingParams

    chat: Any = [{"role": "system", "content": CHAT[0].text}, {"role": "user", "content": CHAT[1].text}]
    [said] = llm.llm.client.chat(chat, SamplingParams(temperature=0.0, max_tokens=24), use_tqdm=False)
    reply = llm.invoke(CHAT, **sampling_arguments(llm, SHORT))
    assert reply.text == said.outputs[0].text != ""
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["input_tokens"] == len(said.prompt_token_ids)
    assert reply.usage_metadata["output_tokens"] > 0


def test_many_at_once_wait_for_each_other_and_each_has_its_own_answer(llm: LangchainVLLMChatModel) -> None:
    chats = [[HumanMessage(f"What is pruning? ({number})")] for number in range(8)]
    alone = [ask(llm, chat) for chat in chats]
    with ThreadPoolExecutor(8) as people:
        assert list(people.map(lambda chat: ask(llm, chat), chats)) == alone


def test_who_reads_along_gets_the_text_in_one_piece(llm: LangchainVLLMChatModel) -> None:
    pieces = [chunk.text for chunk in llm.stream(CHAT, **sampling_arguments(llm, SHORT)) if chunk.text]
    assert pieces == [ask(llm, CHAT)]


def test_what_waits_can_be_cancelled_and_what_runs_goes_on(llm: LangchainVLLMChatModel, loop: EventLoopThread) -> None:
    begun, go_on = Event(), Event()
    written: list[str] = []
    generate = llm.llm.client.generate

    def slowly(prompts: list[str], *arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        written.extend(prompts)
        return generate(prompts, *arguments)

    llm.llm.client.generate = slowly
    try:
        runs, waits = (loop.submit(llm.ainvoke([HumanMessage(text)], max_tokens=4)) for text in ("first", "second"))
        assert begun.wait(60)
        assert waits.cancel()
        runs.cancel()
        loop.run(asyncio.sleep(0))  # both cancellations have arrived
        go_on.set()
        wait_for("the one that ran is written to its end, for nobody", lambda: len(written) == 1)
        ask(llm, [HumanMessage("third")])
    finally:
        llm.llm.client.generate = generate
    assert ["first" in written[0], "third" in written[1]] == [True, True]


def test_a_prompt_that_is_too_long_is_refused_and_pictures_are(llm: LangchainVLLMChatModel) -> None:
    with pytest.raises(InvalidJob, match="the engine refuses this request"):
        ask(llm, [HumanMessage("漢" * 9_000)])
    assert not takes_images(llm)
    picture = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}
    with pytest.raises(InvalidJob, match="is asked with text alone here"):
        ask(llm, [HumanMessage([picture])])
    assert ask(llm, CHAT)


def test_a_package_that_is_not_installed_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, loop: EventLoopThread
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "langchain_community.llms.vllm", None)
    settings = Settings(llm_backend="langchain-vllm", model_path=str(tiny_model), engine_config=VLLM_CONFIG)
    said = r"^langchain-community is not installed .*; run: pip install langchain-community$"
    with pytest.raises(InvalidSettings, match=said), open_llm(settings, loop):
        pytest.fail("it started")


def test_when_the_engine_dies_who_waits_for_it_is_told_and_it_is_the_workers_end(llm: LangchainVLLMChatModel) -> None:
    """The last one, for the engine that the stories above have shared."""
    with ThreadPoolExecutor(1) as people:
        asked = people.submit(ask, llm, CHAT, Sampling(max_tokens=4_000))
        core = engines()[0]
        wait_for("it is being answered", lambda: core.cpu_percent(interval=0.2) > 20)
        core.kill()
        with pytest.raises(ModelDied, match="the engine's process has ended"):
            asked.result(timeout=60)
    with pytest.raises(ModelDied, match="the engine's process has ended"):
        ask(llm, CHAT)
