"""OpenAI's protocol as vLLM's own server speaks it."""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from config import Settings
from pipeline.llm.openai import OpenAIChatModel
from pipeline.llm.remote import load_openai
from pipeline.loop import EventLoopThread
from pipeline.steps import acontextualize_query, aget_response, contextualize_query, get_response
from tests.support import wait_for
from vidask.errors import InvalidJob, InvalidSettings, ModelUnavailable
from vidask.models import Message, Sampling
from worker.embedded import START_LIMIT_S, child_process, free_port, reserved_port

HISTORY = (Message("user", "What is a decision tree?"), Message("assistant", "A list of questions."))
DOCUMENTS = [
    Document(
        page_content="Every leaf holds a single example.",
        metadata={"video_id": "talk", "start_s": 70.0, "end_s": 76.0, "cues": [[70.0, 76.0, 0]]},
    )
]
KEY = "swordfish"


@pytest.fixture(scope="module")
def server(tiny_model: Path, engine_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's server with the tiny model under the name `tiny`; it wants a key."""
    log = tmp_path_factory.mktemp("openai") / "server.log"
    with reserved_port() as port:  # vLLM imports for long before it listens
        yield from started(tiny_model, engine_env, port, log)


def started(tiny_model: Path, engine_env: dict[str, str], port: int, log: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(tiny_model), "--served-model-name", "tiny", "--api-key", KEY]
    command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "8192", "--max-num-seqs", "16"]
    with child_process(command, env=engine_env, log=log) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"vLLM's server answers, see {log}", lambda: process.poll() is not None or healthy(url), START_LIMIT_S)
        assert process.poll() is None, log.read_text()[-3000:]
        yield url


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def settings(url: str, model: str = "tiny", key: str = KEY) -> Settings:
    named = {"llm_backend": "openai", "llm_model": model, "llm_url": f"{url}/v1", "llm_api_key": SecretStr(key)}
    return Settings.model_validate(named, by_name=True)


@pytest.fixture(scope="module")
def loop() -> Iterator[EventLoopThread]:
    loop = EventLoopThread()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def llm(server: str, loop: EventLoopThread) -> Iterator[BaseChatModel]:
    llm = load_openai(settings(server))
    yield llm
    assert isinstance(llm, OpenAIChatModel)
    loop.run(llm.root_async_client.close())


def running(server: str) -> Callable[[], float]:
    """How many requests the server's engine works on."""

    def count() -> float:
        with urllib.request.urlopen(f"{server}/metrics", timeout=30) as reply:
            found = re.search(r"^vllm:num_requests_running\{.*\} (\S+)$", reply.read().decode(), re.MULTILINE)
        assert found, "the server counts no requests"
        return float(found[1])

    return count


def test_both_steps_run_at_an_openai_compatible_server(llm: BaseChatModel) -> None:
    rewritten = contextualize_query("And why does it overfit?", HISTORY, llm=llm)
    assert len(rewritten.question) > 20
    assert rewritten.usage.completion_tokens == 256
    sampling = Sampling(max_tokens=30)
    first, again = (get_response("Why?", DOCUMENTS, llm=llm, sampling=sampling) for _ in range(2))
    assert first.text == again.text != ""
    assert first.usage == again.usage
    assert first.usage.completion_tokens == 30
    assert first.usage.prompt_tokens > 50


def test_what_the_caller_chose_reaches_the_server(llm: BaseChatModel) -> None:
    def drawn(seed: int, temperature: float = 1.5) -> str:
        sampling = Sampling(temperature=temperature, top_p=0.9, max_tokens=20, seed=seed)
        return get_response("Why?", DOCUMENTS, llm=llm, sampling=sampling).text

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1, temperature=0) == drawn(2, temperature=0)


def test_a_worker_asks_it_many_questions_at_once_on_its_event_loop(llm: BaseChatModel, loop: EventLoopThread) -> None:
    async def many() -> list[str]:
        sampling = Sampling(max_tokens=4)
        asked = (aget_response(f"Why {number}?", DOCUMENTS, llm=llm, sampling=sampling) for number in range(20))
        return [response.text for response in await asyncio.gather(*asked)]

    assert all(loop.run(many()))
    assert loop.run(acontextualize_query("And why?", HISTORY, llm=llm)).question


def test_the_text_comes_in_pieces_and_with_its_cost(llm: BaseChatModel) -> None:
    # vLLM puts together what is written while its server has no CPU: of few tokens that may be all.
    chunks = list(llm.stream("Why?", max_tokens=200))
    assert len([chunk for chunk in chunks if chunk.text]) > 5
    usages = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]  # pyright: ignore[reportAttributeAccessIssue]
    assert [usage["output_tokens"] for usage in usages] == [200]


def test_a_question_that_is_cancelled_stops_at_the_server_too(
    llm: BaseChatModel, loop: EventLoopThread, server: str
) -> None:
    count = running(server)
    future = loop.submit(aget_response("Why?", DOCUMENTS, llm=llm, sampling=Sampling(max_tokens=4096)))
    wait_for("the server answers the question", lambda: count() == 1)
    future.cancel()
    wait_for("the server has stopped", lambda: count() == 0, limit_s=10)
    with pytest.raises(CancelledError):
        future.result()


def test_a_prompt_that_is_too_long_is_refused_with_the_servers_reason(llm: BaseChatModel) -> None:
    with pytest.raises(InvalidJob, match=r"/v1 refused the prompt: .*8192") as raised:
        get_response("overfit " * 20_000, DOCUMENTS, llm=llm)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_not_there_is_named_beside_those_that_are(server: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^llm_model 'large' is not at .*, which has tiny; set VIDASK_LLM_MODEL"):
        load_openai(settings(server, model="large"))


def test_a_key_that_is_refused_is_not_shown(server: str) -> None:
    with pytest.raises(InvalidSettings, match=r"answers 401; correct VIDASK_LLM_API_KEY$") as raised:
        load_openai(settings(server, key="sardine"))
    assert "sardine" not in str(raised.value)


def test_when_nobody_listens_any_more_the_job_says_so() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    llm = OpenAIChatModel.at(url, "tiny", api_key=SecretStr(KEY))
    with pytest.raises(ModelUnavailable, match=f"^{url} does not answer: Connection error"):
        get_response("Why?", DOCUMENTS, llm=llm)
