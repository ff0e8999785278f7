"""What a worker finds when it looks at itself; the parts that it works with are made of cardboard here."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel

from tests.support import wait_for
from vidask import StoreUnavailable, UnknownVideo, keys
from vidask.errors import ModelDied
from worker.checks import checks_of
from worker.health import Check


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a look that hangs waits for, until the test is over."""
    event = threading.Event()
    yield event
    event.set()


class _Store:
    def search(self, *_: object) -> None:
        raise UnknownVideo("nothing is indexed")  # noqa: EM101  what an empty store says


class _Channel:
    """A channel whose polls Redis answers as often as anybody looks."""

    active_queues: tuple[str, ...] = (keys.AGAIN, keys.QUEUE)
    can_consume = True
    answers = True

    @property
    def polled_at(self) -> float:
        return time.monotonic() if self.answers else 0.0

    @property
    def qos(self) -> Any:
        return SimpleNamespace(can_consume=lambda: self.can_consume)


def _worker(channel: _Channel | None = None, **parts: object) -> dict[str, Check]:
    """The checks of a worker that is well but for what is given."""
    llm = parts.pop("llm", FakeListChatModel(responses=["Yes."]))
    usual = {"embeddings": DeterministicFakeEmbedding(size=4), "store": _Store()}
    services: Any = SimpleNamespace(parts=SimpleNamespace(llms=(llm,), **{**usual, **parts}))
    consumer = SimpleNamespace(task_consumer=SimpleNamespace(channel=channel or _Channel()))
    return {check.name: check for check in checks_of(services, SimpleNamespace(consumer=consumer))}


def _found(checks: dict[str, Check]) -> dict[str, str]:
    """What is wrong, by the names of those that say so."""
    begun = [check.begin() for check in checks.values()]
    findings = [finding() for finding in begun]
    return {finding.check: finding.said for finding in findings if not finding.healthy}


def test_a_worker_that_is_well() -> None:
    checks = _worker()
    assert list(checks) == ["queue", "engine", "embeddings", "store"]
    assert _found(checks) == {}


def test_the_engine_has_died() -> None:
    class Dead(FakeListChatModel):
        def _call(self, *_: object, **__: object) -> str:
            raise ModelDied("the engine's process has ended")  # noqa: EM101

    assert _found(_worker(llm=Dead(responses=[]))) == {"engine": "the engine's process has ended"}


def test_what_is_asked_of_the_engine_is_one_token() -> None:
    asked: list[dict[str, Any]] = []

    class Recorded(FakeListChatModel):
        @property
        def _llm_type(self) -> str:
            return "vllm"

        def _call(self, *_: object, **arguments: Any) -> str:
            asked.append(arguments)
            return "Y"

    assert _found(_worker(llm=Recorded(responses=[]))) == {}
    assert [arguments["max_tokens"] for arguments in asked] == [1]


class _Engine(FakeListChatModel):
    """An engine that writes so many tokens whenever it is looked at, and has no place for one more question."""

    writes: int
    written: int = 0

    @property
    def engine(self) -> Any:
        return SimpleNamespace(stats=self)

    @property
    def generated_tokens(self) -> int:
        self.written += self.writes
        return self.written

    def _call(self, *_: object, **__: object) -> str:
        raise ModelDied("it has no place")  # noqa: EM101


def test_an_engine_that_is_full_and_writes_is_well() -> None:
    assert _found(_worker(llm=_Engine(responses=[], writes=1))) == {}


def test_an_engine_that_is_full_and_writes_nothing_is_not() -> None:
    assert _found(_worker(llm=_Engine(responses=[], writes=0))) == {"engine": "it has no place"}


def test_the_store_is_gone() -> None:
    class Gone:
        def search(self, *_: object) -> None:
            raise StoreUnavailable("Chroma does not answer\n(connection refused)")  # noqa: EM101

    assert _found(_worker(store=Gone())) == {"store": "Chroma does not answer (connection refused)"}


def test_a_worker_that_is_full_does_not_poll_and_is_well() -> None:
    channel = _Channel()
    channel.answers = channel.can_consume = False
    assert _found(_worker(channel)) == {}


def _hasty_worker(monkeypatch: pytest.MonkeyPatch, channel: _Channel) -> dict[str, Check]:
    """The look at the queue has its own limit, which is made short; that of the whole check stays, for a busy machine."""
    checks = _worker(channel)
    monkeypatch.setattr("worker.checks._POLL_LIMIT_S", 0.2)
    return checks


def test_a_poll_that_redis_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = _Channel()
    channel.answers = False
    checks = _hasty_worker(monkeypatch, channel)
    [(check, said)] = _found(checks).items()
    assert check == "queue"
    assert "Redis has not answered its poll for jobs" in said


def test_a_worker_that_was_told_to_leave_one_queue_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = _Channel()
    channel.active_queues = (keys.AGAIN,)
    checks = _hasty_worker(monkeypatch, channel)
    assert _found(checks) == {"queue": "it takes no jobs from vidask; it was told not to, or is connecting to Redis"}


def test_a_look_that_hangs_is_given_up_and_no_other_is_sent_after_it(never: threading.Event) -> None:
    looks = 0

    def look() -> str:
        nonlocal looks
        looks += 1
        never.wait()
        return "answers"

    check = Check("engine", look, limit_s=0.2)
    for _ in range(3):
        [(name, said)] = _found({"engine": check}).items()
        assert name == "engine"
        assert re.fullmatch(r"nothing for \d+ s; it hangs, or has too much to do", said)
    assert looks == 1


def test_what_hung_and_came_back_is_well_again(never: threading.Event) -> None:
    check = Check("engine", lambda: str(never.wait()), limit_s=0.2)
    assert _found({"engine": check})
    never.set()
    wait_for("it is well again", lambda: not _found({"engine": check}))
