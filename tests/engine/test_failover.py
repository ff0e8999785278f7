"""An engine that does not start, or dies, where others answer in its place: the worker goes on, and says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config import Settings
from pipeline.llm import open_llms
from pipeline.llm.vision import takes_images
from pipeline.loop import EventLoopThread
from tests.engine.test_worker import LONG, Running, started
from tests.support import health, wait_for
from vidask.errors import ModelUnavailable
from worker.embedded import redis_server

GONE = "the engine's process has ended; start the worker anew to have it back"


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    with closing(EventLoopThread("answers")) as loop:
        yield loop


def test_an_engine_that_does_not_start_is_a_line_in_the_log_and_its_reason_is_kept(
    loop: EventLoopThread, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = str(tmp_path / "nowhere")
    with open_llms(Settings(llm_backend="vllm,extractive", model_path=nowhere), loop) as llms:
        with pytest.raises(ModelUnavailable, match=f"^model_path: '{nowhere}'"):
            llms["vllm"].invoke("Is anybody there?")
        assert takes_images(llms["vllm"]), "who knows; frames wait for it"
    [record] = [record for record in caplog.records if record.name == "pipeline.llm"]
    assert record.levelno == logging.WARNING
    assert record.message.startswith("llm_backend: 'vllm' does not start, 'extractive' answers instead: model_path: ")
    blind = Settings(llm_backend="vllm,extractive", model_path=nowhere, llm_vision=False)
    with open_llms(blind, loop) as llms:
        assert not takes_images(llms["vllm"])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def running(url: str, tmp_path_factory: pytest.TempPathFactory, engine_env: dict[str, str]) -> Iterator[Running]:
    env = engine_env | {"VIDASK_LLM_BACKEND": "vllm,extractive"}
    with started(url, tmp_path_factory.mktemp("worker"), env) as running:
        yield running
        assert running.process.poll() is None, running.log.read_text()[-3000:]


def found_by_health(url: str) -> tuple[int, set[str], list[str]]:
    """The exit status, what is well, and what is wrong."""
    done = health(url)
    return done.returncode, set(done.stdout.splitlines()), done.stderr.splitlines()


def test_the_engine_dies_in_the_middle_of_answers_and_others_finish_them(running: Running, url: str) -> None:
    assert running.ask("Why does a deep tree overfit?").result(timeout_s=120).model == "tiny"
    assert found_by_health(url)[0] == 0

    asked = [running.ask("What is pruning?", LONG) for _ in range(2)]
    read = running.ask("Why does a deep tree overfit?", LONG)
    events = read.stream()
    assert next(events).text
    wait_for("all are being answered", lambda: {job.status() for job in (*asked, read)} == {"running"})
    running.engine().kill()

    answers = [job.result(timeout_s=120) for job in (*asked, read)]
    assert {answer.model for answer in answers} == {"extractive"}
    rest = list(events)
    assert [event.kind for event in rest].count("restart") == 1
    after = rest[[event.kind for event in rest].index("restart") + 1 :]
    assert "".join(event.text for event in after) == answers[-1].text

    assert running.process.poll() is None, "the worker goes on"
    assert running.ask("What is a decision tree?").result(timeout_s=60).model == "extractive"
    said = running.log.read_text()
    assert said.count(f"vllm does not answer, extractive is asked instead: {GONE}") == 1
    assert "gives its jobs back" not in said


def test_its_health_says_who_is_gone_and_that_another_answers(running: Running, url: str) -> None:
    """After the story above."""
    wait_for("the engine is gone", lambda: GONE in running.log.read_text())
    status, well, wrong = found_by_health(url)
    assert (status, wrong) == (1, [f"engine: FAILED, {GONE}"])
    assert {"queue: ok, takes jobs", "fallback extractive: ok, answers"} < well
