"""An answer is read while it is written: a real Redis, the client's half and the worker's half; the chain is the test's hand."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast

import pytest

from tests.by_hand import WorkerByHand, worker_by_hand
from tests.redis_users import redis_with_users
from tests.support import LECTURE, answers, wait_for
from vidask import (
    Client,
    InvalidJob,
    JobCancelled,
    JobFailed,
    JobNotFound,
    StreamEvent,
    WaitTimeout,
    keys,
)
from vidask.jobs import Job
from vidask.ledger import Outcome, load_script
from worker import streams
from worker.embedded import free_port

T = TypeVar("T")


@pytest.fixture
def hand(idle_redis_url: str) -> Iterator[WorkerByHand]:
    with worker_by_hand(idle_redis_url) as hand:
        yield hand


def meanwhile(work: Callable[[], T]) -> Future[T]:
    """Its result, from a thread beside the test's."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001  it is raised again where the result is wanted
            future.set_exception(error)

    Thread(target=run).start()
    return future


def read(job: Job[Any], after: str = "") -> Future[list[StreamEvent]]:
    """All events of a stream, which is asked for before this returns."""
    events = job.stream(after)
    return meanwhile(lambda: list(events))


def text_of(events: list[StreamEvent]) -> str:
    """What a reader has in the end."""
    text = ""
    for event in events:
        text = event.text if event.kind == "restart" else text + event.text
    return text


def read_on(events: Iterator[StreamEvent], length: int) -> str:
    """So many more characters, in however many pieces they come."""
    text = ""
    while len(text) < length:
        text += next(events).text
    return text


def test_words_arrive_while_the_answer_is_still_written(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    assert stream.wanted
    stream.write("A deep tree ")
    assert next(events).text == "A deep tree "
    stream.write("over")
    stream.write("fits 树.")
    assert read_on(events, len("overfits 树.")) == "overfits 树."
    assert job.status() == "running"
    stream.write(" The end.")
    stream.close()
    assert hand.answer(claim, "A deep tree overfits 树. The end.")
    assert [event.text for event in events] == [" The end."]


def test_who_asks_for_the_stream_late_gets_what_was_written_before(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    stream = hand.streams.open(hand.claim(job))
    stream.write("A deep ")
    assert not stream.wanted
    woken = threading.Event()
    hand.loop.call_soon_threadsafe(stream.when_wanted, woken.set)
    wait_for("the worker listens", lambda: hand.connected)
    assert not woken.is_set()
    events = job.stream()
    assert woken.wait(timeout=20)
    assert stream.wanted
    assert next(events).text == "A deep "


def test_a_stream_that_is_asked_for_in_the_moment_of_the_claim_is_not_missed(
    idle_client: Client, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    wait_for("the worker listens", lambda: hand.connected)
    claim = hand.claim(job)
    assert not claim.streamed
    events = job.stream()
    hand.streams.want(job.id)  # what the listener does with the message
    stream = hand.streams.open(claim)
    stream.write("Overfits.")
    assert next(events).text == "Overfits."


def test_a_job_that_nobody_streams_writes_no_stream_and_costs_redis_nothing(
    idle_client: Client, hand: WorkerByHand
) -> None:
    def run(job: Job[Any]) -> None:
        claim = hand.claim(job)
        stream = hand.streams.open(claim)
        stream.write("A deep tree overfits.")
        stream.close()
        hand.answer(claim, "A deep tree overfits.")

    wait_for("the worker listens", lambda: hand.connected)
    run(idle_client.ask("Warm?"))
    job = idle_client.ask("Why?")
    before = _calls(hand)
    run(job)
    spent = _calls(hand) - before
    del spent["info"], spent["ping"]  # ours, and that of connections on which nothing was said for a while
    claiming = "evalsha hmget time zrem hset zadd pexpire"
    assert spent == Counter(f"{claiming} evalsha hmget hset pexpire set publish zrem".split())
    assert not hand.admin.exists(keys.stream(job.id))


def _calls(hand: WorkerByHand) -> Counter[str]:
    stats: Any = hand.admin.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()})


def test_a_stream_is_taken_up_behind_any_event(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    seen = []
    for word in ("One ", "two ", "three"):
        stream.write(word)
        seen.append(next(events))
    stream.close()
    hand.answer(claim, "One two three, and what the stream has lost.")
    seen += events
    assert [event.text for event in seen] == ["One ", "two ", "three", ", and what the stream has lost."]
    for number, event in enumerate(seen):
        assert list(job.stream(event.id)) == seen[number + 1 :]


def test_two_readers_each_get_the_whole(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    readers = [read(job), read(idle_client.job(job.id))]
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    for letter in "A deep tree":
        stream.write(letter)
    stream.close()
    hand.answer(claim, "A deep tree")
    assert [text_of(reader.result(10)) for reader in readers] == ["A deep tree"] * 2


def test_an_answer_that_is_written_anew_after_a_crash_says_that_the_old_text_is_void(
    idle_client: Client, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    crashed = hand.streams.open(hand.claim(job))
    crashed.write("Half an")
    first = next(events)

    claim = hand.claim_again(job)
    stream = hand.streams.open(claim)
    crashed.write("swer of a worker that was thought dead")
    crashed.close()
    stream.write("A whole answer.")
    stream.close()
    hand.answer(claim, "A whole answer.")

    later = list(events)
    assert [(event.kind, event.text) for event in [first, *later]] == [
        ("text", "Half an"),
        ("restart", ""),
        ("text", "A whole answer."),
    ]
    assert list(job.stream(later[0].id)) == later, "who has lost the connection at the restart hears of it again"
    assert list(job.stream(later[1].id)) == []


def test_a_second_worker_that_writes_no_stream_makes_the_first_ones_text_void_too(
    idle_client: Client, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    hand.streams.open(hand.claim(job)).write("Half an")
    first = next(events)
    hand.answer(hand.claim_again(job), "Halfway.")
    assert text_of([first, *events]) == "Halfway."


def test_a_job_that_has_ended_gives_its_text_at_once(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    hand.answer(hand.claim(job), "A deep tree overfits.")
    (event,) = job.stream()
    assert (event.kind, event.text) == ("text", "A deep tree overfits.")
    assert list(job.stream(event.id)) == []
    assert not hand.admin.exists(keys.stream(job.id))


def test_a_stream_that_has_expired_gives_the_whole_text_again(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    stream.write("A deep ")
    last_seen = next(events)
    stream.write("tree")
    stream.close()
    hand.answer(claim, "A deep tree")
    hand.admin.delete(keys.stream(job.id))
    assert text_of(list(job.stream())) == "A deep tree"
    resumed = list(job.stream(last_seen.id))
    assert [event.kind for event in resumed] == ["restart", "text"]
    assert text_of([last_seen, *resumed]) == "A deep tree"


def test_a_stream_that_redis_has_lost_while_it_is_written_is_written_again(
    idle_client: Client, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    stream.write("A deep ")
    first = next(events)
    hand.admin.delete(keys.stream(job.id))
    stream.write("tree")
    again = [next(events), next(events)]
    assert text_of([first, *again]) == "A deep tree"
    stream.close()
    hand.answer(claim, "A deep tree")
    assert list(events) == []


def test_text_that_is_sent_twice_because_the_reply_was_lost_stands_there_once(
    idle_client: Client, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    hand.claim(job)
    send = load_script(hand.ledger.redis, "worker", "stream")
    for _ in range(2):
        held = send(keys=[keys.job_row(job.id), keys.stream(job.id)], args=[60_000, 100, 1, 0, 6, "A deep"])
        assert held == [6]
    assert hand.admin.xlen(keys.stream(job.id)) == 1


def test_an_end_that_is_not_in_the_stream_is_found_in_the_row(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    reader = read(job)
    claim = hand.claim(job)
    hand.admin.hdel(keys.job_row(job.id), "streamed")
    hand.answer(claim, "A deep tree")
    assert text_of(reader.result(10)) == "A deep tree"


@pytest.mark.parametrize(("state", "error"), [("failed", JobFailed), ("cancelled", JobCancelled)])
def test_a_job_that_ends_otherwise_is_raised_behind_its_last_word(
    state: Any, error: type[Exception], idle_client: Client, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    claim = hand.claim(job)
    stream = hand.streams.open(claim)
    stream.write("Half an")
    stream.close()
    hand.claims.finish(claim, Outcome(state, error="it broke", error_type="Broken"))
    assert next(events).text == "Half an"
    with pytest.raises(error, match="it broke"):
        next(events)


def test_waiting_for_words_ends_with_the_time_given(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    begun = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"was still queued after 0\.3 s; it goes on"):
        list(job.stream(timeout_s=0.3))
    stream = hand.streams.open(hand.claim(job))
    stream.write("A deep ")
    with pytest.raises(WaitTimeout, match=r"was still running after 0\.3 s"):
        list(job.stream(timeout_s=0.3))
    assert time.monotonic() - begun < 10


def test_what_cannot_be_streamed_is_refused_at_the_call(idle_client: Client) -> None:
    with pytest.raises(
        InvalidJob, match=r"after: '12' is no event's id; give the id of a StreamEvent, or leave it out"
    ):
        idle_client.job("nope").stream("12")
    with pytest.raises(JobNotFound):
        idle_client.job("nope").stream()


def test_a_stream_is_bounded_and_does_not_stay(
    idle_client: Client, hand: WorkerByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MAX_STREAM_ENTRIES", 100)
    job, connection = idle_client.ask("Why?"), cast("Any", hand.admin)
    events = job.stream()
    for attempt in range(400):
        stream = hand.streams.open(hand.claim_again(job) if attempt else hand.claim(job))
        stream.write("A word.")
        stream.close()
    assert connection.xlen(keys.stream(job.id)) <= 200
    assert 0 < connection.ttl(keys.stream(job.id)) <= keys.STREAM_TTL_S
    hand.answer(hand.claim_again(job), "A whole answer.")
    assert 0 < connection.ttl(keys.stream(job.id)) <= keys.STREAM_TTL_S
    assert text_of(list(events)) == "A whole answer."


def test_what_many_jobs_write_at_once_goes_in_few_round_trips(idle_client: Client, hand: WorkerByHand) -> None:
    """And a client has no limit of its own to how many it reads."""
    jobs = [idle_client.ask(f"Why, number {number}?") for number in range(120)]
    readers = [read(job) for job in jobs]
    claims = [hand.claim(job) for job in jobs]
    opened = [hand.streams.open(claim) for claim in claims]
    sent_before, begun = _calls(hand)["evalsha"], time.monotonic()
    text = ""
    while time.monotonic() - begun < 0.4:
        for stream in opened:
            stream.write("a few words ")
        text += "a few words "
    wait_for("it is on its way", lambda: _calls(hand)["evalsha"] > sent_before)
    assert _calls(hand)["evalsha"] - sent_before <= 3 + (time.monotonic() - begun) / streams.PAUSE_S
    for stream, claim in zip(opened, claims, strict=True):
        stream.close()
        hand.answer(claim, text)
    assert {text_of(reader.result(20)) for reader in readers} == {text}


def test_while_redis_is_away_the_job_goes_on_and_afterwards_the_text_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with ExitStack() as stack:
        with redis_with_users(tmp_path / "redis", port=port, arguments=["--appendfsync", "always"]) as url:
            client = stack.enter_context(Client(url))
            hand = stack.enter_context(worker_by_hand(url))
            job = client.ask("Why?")
            events = job.stream()
            claim = hand.claim(job)
            stream = hand.streams.open(claim)
            stream.write("A deep ")
            first = next(events)
        stream.write("tree ")
        wait_for("the worker has noticed", lambda: "answers are not streamed for now" in caplog.text)
        stream.write("over")
        with redis_with_users(tmp_path / "redis", port=port):
            wait_for("Redis answers", lambda: answers(url))
            stream.write("fits.")
            stream.close()
            assert hand.answer(claim, "A deep tree overfits.")
            assert text_of([first, *job.stream(first.id)]) == "A deep tree overfits."
            assert caplog.text.count("answers are not streamed for now") == 1
            wait_for("the worker hears again", lambda: hand.connected >= 2)
            stack.close()


def test_a_job_that_is_no_question_has_no_words_and_its_stream_ends_with_it(client: Client) -> None:
    assert list(client.index_transcript("talk", text=LECTURE).stream(timeout_s=30)) == []
    with pytest.raises(JobFailed):
        list(client.index_transcript("broken", text="prose").stream(timeout_s=30))


def test_a_real_worker_streams_what_its_result_says(client: Client) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    job = client.ask("Why does a deep tree overfit?", video_ids=["talk"])
    assert text_of(list(job.stream(timeout_s=30))) == job.result(30).text
    with pytest.raises(JobFailed, match="not indexed"):
        list(client.ask("Why?", video_ids=["nowhere"]).stream(timeout_s=30))
