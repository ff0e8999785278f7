"""Ollama goes away and comes back beside a worker that has somebody else to ask; and what a reader hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.by_hand import WorkerByHand, worker_by_hand
from tests.integration.test_remote_backends import PIECES, Ollama
from tests.redis_users import as_worker, redis_with_users
from tests.support import LECTURE, health, keys_without_ttl
from vidask import Answer, Client, Message, StreamEvent
from worker.embedded import free_port, worker_process

QUOTED = "Quoted from the transcript: "
SAID = "".join(PIECES)


class BreaksOff(Ollama):
    """Breaks off only once all that came before has been read."""

    read = threading.Event()

    def _line(self, content: dict[str, Any]) -> None:
        if "error" in content:
            self.read.wait(30)
        super()._line(content)


class Server:
    """An Ollama on one port, that can be stopped and started."""

    def __init__(self) -> None:
        self.port = free_port()
        self.handler = type("Own", (BreaksOff,), {"asked": [], "keys": [], "refusal": None, "breaks_off": False})

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadingHTTPServer(("127.0.0.1", self.port), self.handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def ollama() -> Server:
    return Server()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker") / "worker.log"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Overrides the usual one, which another worker reads, too."""
    with redis_with_users(tmp_path_factory.mktemp("redis")) as url:
        yield url
        assert keys_without_ttl(url) == []


@pytest.fixture(scope="module")
def client(ollama: Server, log: Path, redis_url: str) -> Iterator[Client]:
    """A producer whose worker starts while Ollama is away."""
    env = {
        "VIDASK_CHROMA_PATH": str(log.parent / "chroma"),
        "VIDASK_LLM_BACKEND": "ollama,extractive",
        "VIDASK_LLM_MODEL": "tiny",
        "VIDASK_LLM_URL": f"http://127.0.0.1:{ollama.port}",
    }
    with worker_process(as_worker(redis_url), env=env, log=log), Client(redis_url) as client:
        client.index_transcript("talk", text=LECTURE).result(timeout_s=60)
        yield client


def ask(client: Client, question: str, *history: Message) -> Answer:
    return client.ask(question, history=history).result(timeout_s=60)


def found_by_health(url: str) -> tuple[int, list[str], list[str]]:
    """The exit status, and what is said of the models: what is well, and what is wrong."""
    done = health(url)
    well = [line for line in done.stdout.splitlines() if line.startswith(("engine", "fallback"))]
    return done.returncode, well, done.stderr.splitlines()


def test_ollama_is_not_there_yet_when_the_worker_starts_and_answers_once_it_is(
    client: Client, ollama: Server, log: Path
) -> None:
    answer = ask(client, "Why does a deep tree overfit?")
    assert (answer.model, answer.text.startswith(QUOTED)) == ("extractive", True)
    assert "llm_backend: 'ollama' does not start, 'extractive' answers instead: http://" in log.read_text()
    with ollama.running():
        assert ask(client, "Why does a deep tree overfit?").model == "tiny"


def test_ollama_goes_in_the_middle_of_a_conversation_and_comes_back(client: Client, ollama: Server, log: Path) -> None:
    before = len(log.read_text())
    with ollama.running():
        first = ask(client, "What is a decision tree?")
    assert (first.model, first.text) == ("tiny", SAID)
    talk = (Message("user", "What is a decision tree?"), Message("assistant", first.text))

    second = ask(client, "And why does it overfit?", *talk)
    assert (second.model, second.text.startswith(QUOTED)) == ("extractive", True)
    assert second.standalone_question == "And why does it overfit? (decision tree)", "it was rewritten by who answered"

    with ollama.running():
        third = ask(client, "And what is pruning?", *talk)
    assert third.model == "tiny"
    assert third.standalone_question == SAID, "it is that model's word"

    lines = [line.partition("WARNING ")[2] for line in log.read_text()[before:].splitlines() if "failover" in line]
    assert lines[0].startswith("pipeline.failover: ollama does not answer, extractive is asked instead: http://127")
    assert lines[1:] == ["pipeline.failover: ollama answers again"]


def test_ollama_breaks_off_an_answer_that_somebody_reads(client: Client, ollama: Server) -> None:
    with ollama.running():
        ollama.handler.breaks_off = True
        job = client.ask("Why does a deep tree overfit?")
        events = job.stream()
        heard: list[StreamEvent] = []
        while "".join(event.text for event in heard) != SAID:  # what has not been sent when it breaks off never is
            heard.append(next(events))
        BreaksOff.read.set()
        heard += events
        ollama.handler.breaks_off = False
    answer = job.result(timeout_s=60)
    assert answer.model == "extractive"
    begun = [event.kind for event in heard].index("restart")
    assert "".join(event.text for event in heard[:begun]) == SAID
    assert "".join(event.text for event in heard[begun:]) == answer.text


def test_health_says_who_is_away_though_the_worker_answers(client: Client, ollama: Server, redis_url: str) -> None:
    status, well, [wrong] = found_by_health(redis_url)
    assert (status, well) == (1, ["fallback extractive: ok, answers"])
    assert wrong.startswith(f"engine: FAILED, http://127.0.0.1:{ollama.port} does not answer")
    with ollama.running():
        assert found_by_health(redis_url) == (0, ["engine: ok, answers", "fallback extractive: ok, answers"], [])
    assert ask(client, "Why does a deep tree overfit?").model == "extractive"


# What a reader hears.


@pytest.fixture
def hand(idle_redis_url: str) -> Iterator[WorkerByHand]:
    with worker_by_hand(idle_redis_url) as hand:
        yield hand


@pytest.mark.parametrize("again", ["Every leaf holds one example.", ""], ids=["in pieces", "whole, at the end"])
def test_a_reader_drops_what_another_model_had_begun(idle_client: Client, hand: WorkerByHand, again: str) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    stream.write("It has too many ")
    assert next(events).text == "It has too many "
    stream.start_over()
    assert next(events).kind == "restart"
    if again:
        stream.write(again)
    stream.close()
    hand.answer(claim, "Every leaf holds one example.")
    assert "".join(event.text for event in events) == "Every leaf holds one example."


def test_who_goes_on_behind_a_place_in_the_dropped_text_is_told_so(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    first = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    stream.write("It has too many ")
    place = next(first).id
    stream.start_over()
    stream.write("Every leaf")
    stream.close()
    hand.answer(claim, "Every leaf")
    kinds = [(event.kind, event.text) for event in job.stream(place) if event.text or event.kind == "restart"]
    assert kinds == [("restart", ""), ("text", "Every leaf")]


def test_a_model_that_fails_before_its_first_word_starts_nothing_over(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    stream.start_over()
    stream.write("Every leaf")
    stream.close()
    hand.answer(claim, "Every leaf")
    assert [(event.kind, event.text) for event in events] == [("text", "Every leaf")]
