"""Cancelling: the row ends at once, and the worker that runs the job hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from tests.by_hand import WorkerByHand, worker_by_hand
from tests.redis_users import as_admin
from tests.support import plain_celery, wait_for
from vidask import Client, JobCancelled, JobExpired, JobNotFound, keys
from vidask.ledger import Outcome, Standing


@pytest.fixture
def hand(idle_redis_url: str) -> Iterator[WorkerByHand]:
    with worker_by_hand(idle_redis_url) as hand:
        wait_for("the worker listens", lambda: hand.connected)
        yield hand


def test_a_running_job_is_cancelled_and_its_worker_is_told(
    idle_client: Client, idle_redis_url: str, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    claim = hand.claim(job)
    assert job.cancel()
    assert job.status() == "cancelled"
    wait_for("the worker has heard of it", lambda: hand.cancelled == [job.id])
    assert not hand.answer(claim, "Too late."), "what the worker writes afterwards does not count"
    with pytest.raises(JobCancelled, match="was cancelled"):
        job.result(5)
    with plain_celery(idle_redis_url) as celery, pytest.raises(TaskRevokedError):
        AsyncResult(job.id, app=celery).get(timeout=5)


def test_it_is_cancelled_once(idle_client: Client, hand: WorkerByHand) -> None:
    job, other = idle_client.ask("Why?"), idle_client.ask("Why not?")
    hand.claim(job)
    assert [job.cancel(), job.cancel(), idle_client.job(job.id).cancel()] == [True, False, False]
    hand.claim(other)
    assert other.cancel()
    wait_for("the worker has heard of the other as well", lambda: other.id in hand.cancelled)
    assert hand.cancelled == [job.id, other.id]


def test_a_queued_job_is_cancelled_without_a_word_to_any_worker(idle_client: Client, hand: WorkerByHand) -> None:
    queued, running = idle_client.ask("Why?"), idle_client.ask("Why not?")
    hand.claim(running)
    assert queued.cancel()
    assert running.cancel()
    wait_for("the worker has heard of the running one", lambda: hand.cancelled)
    assert hand.cancelled == [running.id]
    assert hand.claims.claim(queued.id, kind="ask", worker="w", payload="", tenant="x") is None


def test_what_has_ended_and_what_is_anothers_cannot_be_cancelled(
    idle_client: Client, idle_redis_url: str, hand: WorkerByHand
) -> None:
    answered, expired, running = (idle_client.ask("Why?") for _ in range(3))
    hand.answer(hand.claim(answered), "So.")
    hand.claims.finish(hand.claim(expired), Outcome("expired", error="too late", error_type="JobExpired"))
    hand.claim(running)
    assert not answered.cancel()
    assert answered.result(5).text == "So."
    assert not expired.cancel()
    with pytest.raises(JobExpired, match="too late"):
        expired.result(5)
    with Client(idle_redis_url, tenant="somebody-else") as other, pytest.raises(JobNotFound):
        other.job(running.id).cancel()
    assert running.status() == "running"


def test_who_reads_the_answer_learns_that_it_was_cancelled(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    events = job.stream()
    stream = hand.streams.open(hand.claim(job))
    stream.write("Half an")
    assert next(events).text == "Half an"
    job.cancel()
    stream.write("swer that nobody wants.")
    stream.close()
    with pytest.raises(JobCancelled):
        next(events)


def test_a_worker_that_has_lost_the_connection_hears_again_and_looks_up_what_it_missed(
    idle_client: Client, idle_redis_url: str, hand: WorkerByHand
) -> None:
    job = idle_client.ask("Why?")
    hand.claim(job)
    with redis.Redis.from_url(as_admin(idle_redis_url)) as connection:
        connection.client_kill_filter(_type="pubsub")
        wait_for("the worker is told to look up what it missed", lambda: hand.connected == 2)
    assert job.cancel()
    wait_for("the worker hears again", lambda: hand.cancelled == [job.id])


def test_how_many_jobs_stand_is_looked_up_at_once(idle_client: Client, hand: WorkerByHand) -> None:
    queued, running, streamed, cancelled = jobs = [idle_client.ask("Why?") for _ in range(4)]
    hand.claim(running)
    hand.claim(streamed)
    streamed.stream()
    cancelled.cancel()
    assert hand.ledger.states([*(job.id for job in jobs), "unknown"]) == {
        queued.id: Standing("queued", 0, streamed=False),
        running.id: Standing("running", 1, streamed=False),
        streamed.id: Standing("running", 1, streamed=True),
        cancelled.id: Standing("cancelled", 0, streamed=False),
        "unknown": Standing(None, 0, streamed=False),
    }
    assert hand.ledger.states([]) == {}


@pytest.mark.parametrize("said", [b"\xff\xfe", b"", b"cancel", b"explode now", b"stream unknown"])
def test_what_is_no_order_of_ours_is_ignored(
    said: bytes, idle_client: Client, idle_redis_url: str, hand: WorkerByHand
) -> None:
    with redis.Redis.from_url(idle_redis_url) as connection:
        listeners: Any = connection.publish(keys.CONTROL, said)
        assert listeners == 1
    job = idle_client.ask("Why?")
    hand.claim(job)

    def heard_of_a_cancelled_job() -> bool:
        hand.ledger.redis.publish(keys.CONTROL, f"{keys.CANCEL} {job.id}")
        return job.id in hand.cancelled

    wait_for("the worker still listens", heard_of_a_cancelled_job)
