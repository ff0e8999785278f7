"""What is away for a moment costs no job; what stays away, or would fail again, is said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from pipeline.retrying import MODEL, STORE, Patience
from pipeline.steps import acontextualize_query, aget_response, contextualize_query, get_response
from vidask.errors import InvalidJob, ModelUnavailable, StoreUnavailable, Unavailable
from vidask.models import Message

#: Gives up soon; and tries for as long as a busy machine needs.
SHORT = Patience(for_s=0.3, pause_s=0.01)
QUICK = Patience(for_s=20.0, pause_s=0.01)
HISTORY = (Message("user", "What is a tree?"), Message("assistant", "Questions."))
DOCUMENTS = [
    Document("Too many leaves.", metadata={"video_id": "talk", "start_s": 1.0, "end_s": 2.0, "cues": [[1.0, 2.0, 0]]})
]


class Failing:
    """Fails so often, and then works; counts how often it was asked."""

    def __init__(self, times: int, error: Callable[[], Exception] = lambda: StoreUnavailable("Chroma is away")) -> None:
        self.times = times
        self.error = error
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error()
        return "done"

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


# For how long.


def test_what_comes_back_in_time_costs_nothing() -> None:
    assert QUICK.call(Failing(3)) == "done"
    assert asyncio.run(QUICK.acall(Failing(3).later)) == "done"


def test_what_stays_away_is_said_with_how_long_it_was_tried() -> None:
    work = Failing(10_000)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"^Chroma is away; tried for \d s$") as given_up:
        SHORT.call(work)
    with pytest.raises(StoreUnavailable, match=r"^Chroma is away; tried for \d s$"):
        asyncio.run(SHORT.acall(work.later))
    assert time.monotonic() - begun < 10
    assert work.asked > 2
    assert isinstance(given_up.value.__cause__, StoreUnavailable)


@pytest.mark.parametrize(
    "error",
    [lambda: StoreUnavailable("other vectors", passes=False), lambda: InvalidJob("too long"), lambda: KeyError("bug")],
    ids=["does not pass", "the user's", "a bug"],
)
def test_what_would_fail_again_is_asked_once_and_raised_as_it_is(error: Callable[[], Exception]) -> None:
    work = Failing(1, error)
    with pytest.raises(type(error())) as raised:
        QUICK.call(work)
    assert str(raised.value) == str(error())
    with pytest.raises(type(error())):
        asyncio.run(QUICK.acall(Failing(1, error).later))
    assert work.asked == 1


def test_pauses_grow_and_no_two_jobs_come_again_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    STORE.call(Failing(7))
    STORE.call(Failing(7))
    for pause, least in zip(pauses, [0.5, 1, 2, 4, 5, 5, 5] * 2, strict=True):
        assert least <= pause <= least + 0.5
    assert len(set(pauses)) == len(pauses)


def test_a_store_gets_half_a_minute_and_a_model_three_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    with pytest.raises(Unavailable, match=r"; tried for (2\d|30) s"):
        STORE.call(Failing(10_000))
    model = Failing(10_000)
    with pytest.raises(Unavailable, match=r"; tried for [345] s"):
        MODEL.call(model)
    assert model.asked == 3


def test_many_that_wait_are_one_line_each_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    QUICK.call(Failing(3))
    assert [record.getMessage() for record in caplog.records] == ["trying again: Chroma is away"]


# On the event loop.

LONG = Patience(for_s=60.0, pause_s=30.0)


def test_a_deadline_ends_the_waiting() -> None:
    async def answer_in_time() -> None:
        async with asyncio.timeout(0.1):
            await LONG.acall(Failing(10).later)

    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(answer_in_time())
    assert time.monotonic() - begun < 10


def test_a_cancellation_ends_the_waiting_and_others_go_on_meanwhile() -> None:
    async def main() -> str:
        met = asyncio.Event()

        def error() -> Exception:
            met.set()
            return StoreUnavailable("Chroma is away")

        work = Failing(10, error)
        waiting = asyncio.ensure_future(LONG.acall(work.later))
        await met.wait()
        other = await LONG.acall(Failing(0).later)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert work.asked == 1
        return other

    begun = time.monotonic()
    assert asyncio.run(main()) == "done"
    assert time.monotonic() - begun < 10


# The language model.


class Model(BaseChatModel):
    """Fails calls until it has failed so often, each after so many pieces of the answer."""

    times: int
    after: int = 0
    pieces: tuple[str, ...] = ("It has", " too many", " leaves [1].")
    asked: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "failing"

    def _fails(self, messages: list[BaseMessage]) -> bool:
        self.asked.append(messages)
        return len(self.asked) <= self.times

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        if self._fails(messages):
            raise ModelUnavailable("overloaded")  # noqa: EM101
        return ChatResult(generations=[ChatGeneration(message=AIMessageChunk(content="".join(self.pieces)))])

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        fails = self._fails(messages)
        for n, piece in enumerate(self.pieces):
            if fails and n == self.after:
                raise ModelUnavailable("overloaded")  # noqa: EM101
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


class Reader:
    """Reads along from the beginning, or from when the model has been asked so often."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.wanted = wanted
        self.text: list[str] = []

    def when_wanted(self, tell: Callable[[], object] | None) -> None:
        """Nobody comes later."""

    def write(self, text: str) -> None:
        self.text.append(text)

    def start_over(self) -> None:
        self.text.clear()


@pytest.fixture
def _quick_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("steps", "reading"):
        monkeypatch.setattr(f"pipeline.{module}.MODEL", QUICK)


@pytest.mark.usefixtures("_quick_model")
def test_both_steps_survive_a_model_that_fails_twice() -> None:
    said = "It has too many leaves [1]."
    assert contextualize_query("Why?", HISTORY, llm=Model(times=2)).question == said
    assert asyncio.run(acontextualize_query("Why?", HISTORY, llm=Model(times=2))).question == said
    assert get_response("Why?", DOCUMENTS, llm=Model(times=2)).text == said
    assert asyncio.run(aget_response("Why?", DOCUMENTS, llm=Model(times=2))).text == said


@pytest.mark.usefixtures("_quick_model")
@pytest.mark.parametrize("wanted", [True, False], ids=["somebody reads along", "nobody does"])
def test_an_answer_that_fails_before_its_first_word_is_begun_again(wanted: bool) -> None:
    reader, llm = Reader(wanted=wanted), Model(times=2)
    response = asyncio.run(aget_response("Why?", DOCUMENTS, llm=llm, reader=reader))
    assert response.text == "It has too many leaves [1]."
    assert reader.text == (["It has", " too many", " leaves [1]."] if wanted else [])
    assert len(llm.asked) == 3


@pytest.mark.usefixtures("_quick_model")
def test_text_that_was_held_back_in_a_failed_attempt_is_not_in_the_next() -> None:
    reader, llm = Reader(), Model(times=1, after=1, pieces=("[1", "] is why."))
    asyncio.run(aget_response("Why?", DOCUMENTS, llm=llm, reader=reader))
    assert "".join(reader.text) == "[1] is why."


@pytest.mark.usefixtures("_quick_model")
def test_what_somebody_has_read_is_not_written_twice() -> None:
    reader, llm = Reader(), Model(times=1, after=1)
    with pytest.raises(ModelUnavailable, match=r"^overloaded$"):
        asyncio.run(aget_response("Why?", DOCUMENTS, llm=llm, reader=reader))
    assert reader.text == ["It has"]
    assert len(llm.asked) == 1
