"""Frames on their way to a worker: pictures that are sent once, one handle on several jobs, and how far they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from tests.by_hand import WorkerByHand, worker_by_hand
from tests.redis_users import as_admin
from tests.support import wait_for
from vidask import (
    Client,
    Frame,
    FrameProblem,
    FramesJob,
    FramesReport,
    InvalidJob,
    JobCancelled,
    JobFailed,
    JobNotFound,
    Progress,
    WaitTimeout,
    keys,
)
from vidask.connection import connect
from vidask.ledger import Outcome, load_script
from vidask.publishing import Publisher
from worker.claims import Claim
from worker.progress import ProgressNote


@pytest.fixture
def connection(idle_redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(as_admin(idle_redis_url), decode_responses=True) as connection:
        yield connection


@pytest.fixture
def hand(idle_redis_url: str) -> Iterator[WorkerByHand]:
    with worker_by_hand(idle_redis_url) as hand:
        yield hand


def frames(number: int, picture: bytes = b"a picture") -> list[Frame]:
    return [Frame(float(at), picture) for at in range(number)]


def blob(client: Client, picture: bytes) -> str:
    return keys.blob(client.tenant, hashlib.sha256(picture).hexdigest())


def times_set(connection: redis.Redis) -> int:
    stats: Any = connection.info("commandstats")
    return int(stats.get("cmdstat_set", {"calls": 0})["calls"])


def work_on(hand: WorkerByHand, job_id: str) -> Claim:
    claim = hand.claims.claim(job_id, kind="index_frames", worker="by hand", payload="", tenant="")
    assert claim is not None
    return claim


def finish(hand: WorkerByHand, claim: Claim, **fields: Any) -> None:
    report = FramesReport(video_id="talk", **fields)
    hand.claims.finish(claim, Outcome("succeeded", result=report.model_dump_json()))


class Counted:
    """A script that says how often it was called, and has come to an end."""

    def __init__(self, script: Any) -> None:
        self._script = script
        self.calls = 0

    def __call__(self, **given: Any) -> None:
        try:
            self._script(**given)
        finally:
            self.calls += 1


def wait_with(note: ProgressNote, script: Counted) -> str:
    """Have a thread wait for some work, as a job's own does, until it has written down how far that is."""
    working: Future[str] = Future()
    before = script.calls
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(note.result, working)
        wait_for("it is written down", lambda: script.calls > before)
        working.set_result("done")
        return waiting.result()


def test_a_picture_is_sent_once_however_often_it_appears(idle_client: Client, connection: redis.Redis) -> None:
    before = times_set(connection)
    idle_client.index_frames("talk", [*frames(300), Frame(300.0, b"another")])
    assert times_set(connection) - before == 2
    idle_client.index_frames("other-talk", frames(3))
    idle_client.ask("What is this?", frames=frames(2))
    assert times_set(connection) - before == 2


def test_a_picture_stays_for_a_day_from_when_it_was_last_sent(idle_client: Client, connection: redis.Redis) -> None:
    idle_client.index_frames("talk", frames(1))
    key = blob(idle_client, b"a picture")
    connection.expire(key, 5)
    idle_client.index_frames("talk", frames(1))
    ttl: Any = connection.ttl(key)
    assert keys.BLOB_TTL_S - 60 < ttl <= keys.BLOB_TTL_S


def test_pictures_of_many_megabytes_arrive_whole(idle_client: Client, idle_redis_url: str) -> None:
    pictures = [bytes([at]) * 3_000_000 for at in range(5)]
    idle_client.index_frames("talk", (Frame(float(at), picture) for at, picture in enumerate(pictures)))
    with redis.Redis.from_url(as_admin(idle_redis_url)) as connection:
        assert [connection.get(blob(idle_client, picture)) for picture in pictures] == pictures


def test_no_tenant_has_anothers_picture_by_its_hash(idle_client: Client, idle_redis_url: str) -> None:
    idle_client.index_frames("talk", frames(1))
    with Client(idle_redis_url, tenant=f"{idle_client.tenant}-b") as other:
        assert blob(other, b"a picture") != blob(idle_client, b"a picture")


def test_a_list_with_a_fault_sends_and_queues_nothing(idle_client: Client, connection: redis.Redis) -> None:
    before = connection.dbsize()
    for wrong in ([*frames(300), Frame(7.0, b"too late")], [*frames(2), "a.jpg"], []):
        with pytest.raises(InvalidJob, match=r"^frames: "):
            idle_client.index_frames("talk", wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidJob, match=r"^video_id: is empty"):
        idle_client.index_frames(" ", frames(1))
    with pytest.raises(InvalidJob, match=r"^frames: 9 items, at most 8 are taken"):
        idle_client.ask("What is this?", frames=frames(9))
    assert connection.dbsize() == before


def test_a_generator_with_a_fault_at_its_end_queues_nothing(idle_client: Client, connection: redis.Redis) -> None:
    with pytest.raises(InvalidJob, match="at 7 s follows one at 299 s"):
        idle_client.index_frames("talk", (frame for frame in [*frames(300), Frame(7.0, b"late")]), job_id="mended")
    assert list(connection.scan_iter("vidask:job:mended*")) == []
    assert len(idle_client.index_frames("talk", frames(300), job_id=f"mended-{idle_client.tenant}").job_ids) == 2


def test_a_long_list_is_several_jobs_and_one_handle(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.index_frames("talk", frames(300), job_id=f"import-{idle_client.tenant}")
    assert job.job_ids == (f"{job.id}:1", f"{job.id}:2")
    assert (job.status(), job.progress()) == ("queued", Progress(0, 300))

    first = work_on(hand, job.job_ids[0])
    assert job.status() == "running"
    finish(hand, first, frames=256, indexed=250, captioned=250, empty=5, notes=("No captions.",), timings_s={"read": 1})
    assert (job.status(), job.progress()) == ("running", Progress(256, 300))
    with pytest.raises(
        WaitTimeout, match=r"^256 of 300 frames were done after 0\.05 s; they go on, so ask for the result"
    ):
        job.result(0.05)

    problem = FrameProblem(time_s=299.0, error="is no picture")
    second = work_on(hand, job.job_ids[1])
    finish(hand, second, frames=44, indexed=43, problems=(problem,), notes=("No captions.",), timings_s={"read": 2})
    report = FramesReport(
        video_id="talk",
        frames=300,
        indexed=293,
        captioned=250,
        empty=5,
        problems=(problem,),
        notes=("No captions.",),
        timings_s={"read": 3},
    )
    assert (job.status(), job.progress(), job.result(5)) == ("succeeded", Progress(300, 300), report)


def test_the_handle_can_be_made_again_elsewhere(idle_client: Client, idle_redis_url: str) -> None:
    job = idle_client.index_frames("talk", frames(300))
    with Client(idle_redis_url, tenant=idle_client.tenant) as elsewhere:
        again = elsewhere.frames_job(job.job_ids)
        assert (again.id, again.job_ids, again.progress()) == (job.id, job.job_ids, Progress(0, 300))
        single = elsewhere.index_frames("talk", frames(1))
        assert single.job_ids == (single.id,)
        with pytest.raises(InvalidJob, match="job_ids: there are none"):
            elsewhere.frames_job([])
        with pytest.raises(InvalidJob, match="put it into a list"):
            elsewhere.frames_job(job.id)
    with Client(idle_redis_url, tenant=f"{idle_client.tenant}-b") as other, pytest.raises(JobNotFound):
        other.frames_job(job.job_ids).progress()


def test_the_first_part_that_fails_is_what_the_whole_raises(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.index_frames("talk", frames(600))
    for job_id, said in zip(job.job_ids[1:], ("the second is broken", "so is the third"), strict=True):
        hand.claims.finish(work_on(hand, job_id), Outcome("failed", error=said, error_type="InvalidFrame"))
    assert job.status() == "running" or job.status() == "queued"
    finish(hand, work_on(hand, job.job_ids[0]), frames=256, indexed=256)
    assert job.status() == "failed"
    with pytest.raises(JobFailed, match="the second is broken") as raised:
        job.result(5)
    assert raised.value.error_type == "InvalidFrame"


def test_cancelling_the_whole_cancels_what_has_not_ended(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.index_frames("talk", frames(600))
    finish(hand, work_on(hand, job.job_ids[0]), frames=256, indexed=256)
    work_on(hand, job.job_ids[1])
    wait_for("the worker listens", lambda: hand.connected)
    assert job.cancel()
    wait_for("the worker is told to stop the second", lambda: hand.cancelled == [job.job_ids[1]])
    assert [idle_client.job(job_id).status() for job_id in job.job_ids] == ["succeeded", "cancelled", "cancelled"]
    assert not job.cancel()
    with pytest.raises(JobCancelled):
        job.result(5)


def test_the_same_id_twice_is_the_same_jobs(idle_client: Client, connection: redis.Redis) -> None:
    def rows() -> list[str]:
        return sorted(connection.scan_iter("vidask:job:*"))

    first = idle_client.index_frames("talk", frames(300), job_id=f"mine-{idle_client.tenant}")
    before = rows()
    second = idle_client.index_frames("talk", frames(300), job_id=first.id)
    assert (second.job_ids, rows()) == (first.job_ids, before)
    question = idle_client.ask("What is this?")
    with pytest.raises(InvalidJob, match="is taken by another job"):
        idle_client.index_frames("talk", frames(1), job_id=question.id)


def test_a_call_that_failed_half_way_may_be_made_again(
    idle_client: Client, monkeypatch: pytest.MonkeyPatch, hand: WorkerByHand
) -> None:
    sent: list[str] = []

    def send(_: Publisher, job_id: str, kind: str, *, again: bool = False) -> None:  # noqa: ARG001
        if len(sent) == 1 and not job_id.endswith("again"):
            sent.append("lost")
            raise OperationalError
        sent.append(job_id)

    monkeypatch.setattr(Publisher, "send", send)
    job_id = f"half-{idle_client.tenant}"
    first = idle_client.index_frames("talk", frames(600), job_id=job_id)
    assert sent == [f"{job_id}:1", "lost", f"{job_id}:3"], "the rows are there, and a worker's sweep finds the second"
    again = idle_client.index_frames("talk", frames(600), job_id=job_id)
    assert (again.job_ids, sent[3:]) == (first.job_ids, list(first.job_ids))
    for part in again.job_ids:
        finish(hand, work_on(hand, part), frames=200, indexed=200)
    assert again.result(5).frames == 600


def test_parts_of_two_imports_are_accepted_one_import_after_the_other(
    idle_client: Client, connection: redis.Redis
) -> None:
    """Else neither list would be the newest, and what is indexed a mixture of both."""
    both = [idle_client.index_frames("talk", frames(1_000)) for _ in range(2)]
    accepted = [
        [float(str(connection.hget(keys.job_row(part), "created_at_s"))) for part in job.job_ids] for job in both
    ]
    assert accepted[0] == sorted(accepted[0])
    assert max(accepted[0]) < min(accepted[1])


def test_progress_is_written_while_the_job_runs_and_by_no_earlier_attempt(
    idle_client: Client, hand: WorkerByHand
) -> None:
    job = idle_client.index_frames("talk", frames(8))
    script = Counted(load_script(hand.ledger.redis, "worker", "progress"))
    lost = ProgressNote(work_on(hand, job.id), 8, script)
    [held] = hand.claims.held()
    hand.claims.release(held)
    assert job.progress() == Progress(0, 8)

    note = ProgressNote(work_on(hand, job.id), 8, script)
    note.set(5)
    lost.set(7)
    wait_with(note, script)
    assert job.progress() == Progress(5, 8)
    wait_with(lost, script)
    assert job.progress() == Progress(5, 8), "an attempt that has lost the job says nothing about it any more"


def test_a_redis_that_is_away_does_not_end_the_work(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.index_frames("talk", frames(8))
    away = Counted(load_script(connect("redis://127.0.0.1:1/0"), "worker", "progress"))
    note = ProgressNote(work_on(hand, job.id), 8, away)
    note.set(5)
    assert wait_with(note, away) == "done"


def test_jobs_of_other_kinds_are_one_thing(idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Why?")
    assert job.progress() == Progress(0, 1)
    hand.answer(hand.claim(job), "So.")
    assert job.progress() == Progress(1, 1)


def test_the_handle_says_what_it_is(idle_client: Client) -> None:
    job: FramesJob = idle_client.index_frames("talk", frames(300))
    assert repr(job) == f"FramesJob({job.id!r}, 2 jobs)"
