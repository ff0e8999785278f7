"""Quarantine: a job that worker after worker ended with is set aside, until a person looks at it and replays or drops it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.by_hand import WorkerByHand, worker_by_hand
from tests.redis_users import as_admin, as_worker, redis_with_users
from tests.support import LECTURE, keys_without_ttl, plain_celery, wait_for
from tests.terminal import Terminal
from vidask import Answer, Client, InvalidJob, JobExpired, JobNotFound, JobQuarantined, Message, keys
from vidask.jobs import Job
from worker.claims import Claim, Claims
from worker.embedded import worker_process
from worker.sweep import Sweep

LEASE_S = 0.2
#: Longer than any machine needs to do what is to be done before it has passed.
DEADLINE_S = 600.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_with_users(tmp_path_factory.mktemp("quarantine")) as url:
        yield url


@pytest.fixture
def client(url: str, tenant: str) -> Iterator[Client]:
    with Client(url, tenant=tenant) as client:
        yield client
    assert keys_without_ttl(url) == []


@pytest.fixture
def stranger(url: str, tenant: str) -> Iterator[Client]:
    with Client(url, tenant=f"not-{tenant}") as client:
        yield client


@pytest.fixture
def hand(url: str) -> Iterator[WorkerByHand]:
    with worker_by_hand(url) as hand:
        yield hand


@pytest.fixture
def vidask(url: str, tenant: str, tmp_path: Path) -> Terminal:
    return Terminal(url, tenant, tmp_path, "quarantine")


def crash(hand: WorkerByHand, job: Job[Any], *, written: str = "") -> Claim:
    """A worker takes the job and falls silent, perhaps in mid-sentence, as one does that is killed; another one misses it."""
    claims = Claims(hand.ledger, hand.publisher, lease_s=LEASE_S)
    sweep = Sweep(hand.ledger, hand.publisher, lease_s=LEASE_S)
    claim = claims.claim(job.id, kind="ask", worker="celery@gpu-1", payload="", tenant="")
    assert claim is not None
    with closing(hand.streams.open(claim)) as stream:
        stream.write(written)

    def is_missed() -> bool:
        sweep.run()
        return job.status() != "running"

    wait_for("its worker is missed", is_missed)
    return claim


def set_aside(hand: WorkerByHand, *jobs: Job[Any]) -> None:
    for job in jobs:
        for _ in range(keys.MAX_CRASHES):
            crash(hand, job)
        assert job.status() == "quarantined"


def grow_older(hand: WorkerByHand, question: Job[Any], by_s: float) -> None:
    """As if it had been asked, or replayed, so much earlier."""
    hand.admin.hincrbyfloat(keys.job_row(question.id), "created_at_s", -by_s)
    hand.admin.zincrby(keys.DEADLINES, -by_s, question.id)


def test_a_job_that_ends_three_workers_is_set_aside_and_says_so(client: Client, url: str, hand: WorkerByHand) -> None:
    job = client.ask("Who pulls the plug?")
    crash(hand, job)
    crash(hand, job)
    assert (job.status(), client.quarantined()) == ("queued", []), "twice may be chance"
    crash(hand, job)
    assert job.status() == "quarantined"
    [found] = client.quarantined()
    assert (found.job_id, found.kind, found.crashes) == (job.id, "ask", 3)
    assert found.since_s == pytest.approx(time.time(), abs=60)
    with pytest.raises(JobQuarantined) as raised:
        job.result(5)
    assert str(raised.value) == found.error
    assert f"vidask quarantine show {job.id}" in found.error
    assert f"vidask.errors.JobQuarantined: {found.error}" in _said_by_celery(url, job.id)


def _said_by_celery(url: str, job_id: str) -> str:
    """The error that a backend gets which asks Celery. It is a process of its own: in this one Celery's app, and its results with
    it, would live on, and want to talk to this Redis when it is gone.
    """
    ask = "import sys, celery, vidask; celery.Celery(backend=sys.argv[1]).AsyncResult(sys.argv[2]).get(timeout=5)"
    backend = [sys.executable, "-c", ask, url, job_id]
    return subprocess.run(backend, capture_output=True, text=True, timeout=60, check=False).stderr


def test_what_is_wrong_with_it_can_be_looked_at(client: Client, hand: WorkerByHand) -> None:
    job = client.ask("Who pulls the plug?", video_ids=["power"])
    set_aside(hand, job)
    seen = job.inspect()
    assert (seen.worker, seen.crashes) == ("celery@gpu-1", 3)
    assert json.loads(seen.payload)["question"] == "Who pulls the plug?"
    assert json.loads(seen.payload)["video_ids"] == ["power"]


def test_the_newest_is_listed_first_and_strangers_see_and_touch_nothing(
    client: Client, stranger: Client, hand: WorkerByHand
) -> None:
    older, newer = client.ask("Why?"), client.index_transcript("talk", text=LECTURE)
    set_aside(hand, older, newer)
    wait_for("a later second has begun", lambda: int(time.time()) > int(client.quarantined()[0].since_s))
    newest = client.ask("Why not?")
    set_aside(hand, newest)
    assert client.quarantined()[0].job_id == newest.id
    assert {(job.job_id, job.kind) for job in client.quarantined()[1:]} == {
        (older.id, "ask"),
        (newer.id, "index_transcript"),
    }
    assert stranger.quarantined() == []
    for touch in (Job.inspect, Job.replay, Job.drop):
        with pytest.raises(JobNotFound, match="is not known to tenant 'not-"):
            touch(stranger.job(newest.id))
    assert newest.status() == "quarantined"


def test_a_replayed_job_starts_with_a_clean_record(client: Client, url: str, hand: WorkerByHand) -> None:
    job = client.ask("Why?")
    set_aside(hand, job)
    queued = hand.admin.llen(keys.AGAIN)
    job.replay()
    assert hand.admin.zscore(keys.QUARANTINE, job.id) is None
    assert (job.status(), client.quarantined()) == ("queued", [])
    row = hand.admin.hgetall(keys.job_row(job.id))
    assert isinstance(row, dict)
    assert not {"error", "error_type", "finished_at_s"} & set(row), "who polls the row finds no end"
    assert hand.admin.llen(keys.AGAIN) == queued + 1, "a message was sent"
    with plain_celery(url) as celery:
        assert celery.AsyncResult(job.id).state == "PENDING"
    crash(hand, job)
    assert job.status() == "queued", "that was the first crash, and not the fourth"
    assert hand.answer(hand.claim(job), "So.")
    assert job.result(5).text == "So."
    assert job.status() == "succeeded"


def test_a_worker_that_was_only_silent_does_not_end_the_replayed_job(client: Client, hand: WorkerByHand) -> None:
    job = client.ask("Why?")
    crash(hand, job)
    crash(hand, job)
    silent = crash(hand, job)
    assert not hand.answer(silent, "Too late.")
    job.replay()
    assert not hand.answer(silent, "Still too late.")
    newest = hand.claim(job)
    assert not hand.answer(silent, "And again.")
    assert hand.answer(newest, "So.")
    assert job.result(5).text == "So."


def test_a_job_is_replayed_once(client: Client, hand: WorkerByHand) -> None:
    job = client.ask("Why?")
    set_aside(hand, job)
    queued = hand.admin.llen(keys.AGAIN)

    def replay(_: int) -> str:
        try:
            job.replay()
        except InvalidJob as error:
            return str(error)
        return "replayed"

    with ThreadPoolExecutor(8) as people:
        said = sorted(people.map(replay, range(8)))
    refusal = f"job {job.id} is queued, not in quarantine; 'vidask quarantine list' names the jobs that are"
    assert said == [refusal] * 7 + ["replayed"]
    assert hand.admin.llen(keys.AGAIN) == queued + 1


def test_what_is_not_in_quarantine_is_left_alone(client: Client, hand: WorkerByHand) -> None:
    queued, running, answered = (client.ask("Why?") for _ in range(3))
    claim = hand.claim(running)
    hand.answer(hand.claim(answered), "So.")
    for job, state in ((queued, "queued"), (running, "running"), (answered, "succeeded")):
        for touch in (Job.inspect, Job.replay, Job.drop):
            with pytest.raises(InvalidJob, match=f"is {state}, not in quarantine"):
                touch(job)
        assert job.status() == state
    assert hand.answer(claim, "So.")


def test_the_deadline_of_a_replayed_question_counts_from_there(client: Client, hand: WorkerByHand) -> None:
    job = client.ask("Why?", deadline_s=DEADLINE_S)
    sweep = Sweep(hand.ledger, hand.publisher, lease_s=LEASE_S)

    def state_once_older(by_s: float) -> str:
        grow_older(hand, job, by_s)
        sweep.run()
        return job.status()

    set_aside(hand, job)
    assert state_once_older(DEADLINE_S) == "quarantined"
    job.replay()
    assert state_once_older(DEADLINE_S / 2) == "queued"
    assert state_once_older(DEADLINE_S / 2) == "expired", "nobody has answered it in time"
    with pytest.raises(JobExpired):
        job.result(5)


def test_who_reads_the_answer_of_a_replayed_job_reads_the_new_one(client: Client, hand: WorkerByHand) -> None:
    job = client.ask("Why?")
    job.stream()
    for _ in range(3):
        crash(hand, job, written="Half an")
    assert next(job.stream()).text == "Half an"
    job.replay()
    events = job.stream(timeout_s=20)
    claim = hand.claim(job)
    with closing(hand.streams.open(claim)) as stream:
        stream.write("So")
        assert next(events).text == "So"
        hand.answer(claim, "So.")
    assert [event.text for event in events] == ["."]


def test_a_dropped_job_leaves_nothing_behind(client: Client, url: str, hand: WorkerByHand) -> None:
    job = client.ask("Why?", job_id=f"dropped-{client.tenant}", deadline_s=600)
    job.stream()
    for _ in range(3):
        crash(hand, job, written="Half an")
    assert len(_traces(url, job.id)) == 5, "row, result, stream, quarantine, deadline"
    job.drop()
    assert client.quarantined() == []
    assert _traces(url, job.id) == []
    for touch in (Job.status, Job.drop, Job.replay):
        with pytest.raises(JobNotFound):
            touch(job)
    again = client.ask("Why?", job_id=job.id)
    assert hand.answer(hand.claim(again), "A new job under the old id.")
    assert again.result(5).text == "A new job under the old id."


def _traces(url: str, job_id: str) -> list[str]:
    """Keys that are about the job, or have it among their members."""
    with redis.Redis.from_url(as_admin(url), decode_responses=True) as connection:
        ours = [*connection.scan_iter("vidask:*"), *connection.scan_iter("celery-task-meta-*")]
        sets = [key for key in ours if connection.type(key) == "zset"]
        return [key for key in ours if job_id in key] + [
            key for key in sets if connection.zscore(key, job_id) is not None
        ]


def test_a_job_whose_row_has_expired_is_tidied_away(client: Client, hand: WorkerByHand) -> None:
    job = client.ask("Why?")
    set_aside(hand, job)
    hand.admin.delete(keys.job_row(job.id))
    assert client.quarantined() == []
    assert hand.admin.zscore(keys.QUARANTINE, job.id) is None


def test_a_job_that_is_just_being_set_aside_is_not_tidied_away(client: Client, hand: WorkerByHand) -> None:
    job = client.ask("Why?")
    hand.claim(job)
    hand.admin.zadd(keys.QUARANTINE, {job.id: time.time()})
    hand.admin.expire(keys.QUARANTINE, keys.QUEUED_TTL_S)
    assert client.quarantined() == []
    assert hand.admin.zscore(keys.QUARANTINE, job.id) is not None


def test_a_worker_answers_the_replayed_question_and_a_replayed_transcript_undoes_no_newer_one(tmp_path: Path) -> None:
    older = "WEBVTT\n\n00:00.000 --> 00:04.000\nPruning is what gardeners do in spring.\n"
    with redis_with_users(tmp_path / "redis") as url, Client(url) as client:
        question = client.ask("What does pruning remove?", video_ids=["talk"], deadline_s=DEADLINE_S)
        transcript = client.index_transcript("talk", text=older)
        with worker_by_hand(url) as hand:
            set_aside(hand, question, transcript)
            grow_older(hand, question, DEADLINE_S)
        env = {"VIDASK_CHROMA_PATH": str(tmp_path / "chroma")}
        with worker_process(as_worker(url), env=env, log=tmp_path / "worker.log"):
            assert client.index_transcript("talk", text=LECTURE).result(60).segments == 5
            assert {job.job_id for job in client.quarantined()} == {question.id, transcript.id}
            transcript.replay()
            assert transcript.result(60).superseded
            question.replay()
            answer = question.result(60)
            assert isinstance(answer, Answer)
            assert "Pruning removes the branches" in answer.text
            assert answer.timings_s["queued"] < DEADLINE_S, "the wait counts from the replay, too"
        assert keys_without_ttl(url) == []


def test_the_command_lists_shows_replays_and_drops(client: Client, hand: WorkerByHand, vidask: Terminal) -> None:
    question = client.ask("Why \u202edoes\u200b it \x1b[31moverfit?", history=[Message("user", "Grüße")])
    transcript = client.index_transcript("talk", text=LECTURE)
    set_aside(hand, question, transcript)

    listed = {line.split("\t")[0]: line.split("\t")[1:] for line in vidask("list").stdout.splitlines()}
    assert {job_id: rest[1:] for job_id, rest in listed.items()} == {
        question.id: ["3 crashes", "ask"],
        transcript.id: ["3 crashes", "index_transcript"],
    }
    assert datetime.fromisoformat(listed[question.id][0]).timestamp() == pytest.approx(time.time(), abs=60)

    shown = vidask("show", question.id).stdout
    for said in ("kind     ask", f"tenant   {client.tenant}", "crashes  3", "worker   celery@gpu-1", "is set aside"):
        assert said in shown
    assert r'"question": "Why \u202edoes\u200b it \u001b[31moverfit?"' in shown
    assert '"content": "Grüße"' in shown

    assert vidask("replay", question.id).stdout == f"{question.id}\tqueued\n"
    assert question.status() == "queued"
    again = vidask("replay", question.id)
    assert (again.returncode, again.stdout) == (1, "")
    assert f"job {question.id} is queued, not in quarantine" in again.stderr

    assert vidask("drop", transcript.id).stdout == f"{transcript.id}\tdropped\n"
    gone = vidask("show", transcript.id)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "is not known to tenant" in gone.stderr

    empty = vidask("list")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert empty.stderr == f"vidask: no job of tenant {client.tenant!r} is in quarantine\n"


def test_all_are_replayed_at_once_the_oldest_first(client: Client, hand: WorkerByHand, vidask: Terminal) -> None:
    first, second = client.ask("First?"), client.ask("Second?")
    set_aside(hand, first)
    wait_for("a later second has begun", lambda: int(time.time()) > int(client.quarantined()[0].since_s))
    set_aside(hand, second)
    done = vidask("replay", "--all", "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"job_id": first.id, "status": "queued"},
        {"job_id": second.id, "status": "queued"},
    ]
    assert (done.returncode, first.status(), second.status()) == (0, "queued", "queued")


def test_the_command_speaks_json(client: Client, hand: WorkerByHand, vidask: Terminal) -> None:
    job = client.ask("Why?")
    set_aside(hand, job)
    [listed] = client.quarantined()
    as_listed = {"job_id": job.id, "kind": "ask", "crashes": 3, "since_s": listed.since_s, "error": listed.error}
    assert json.loads(vidask("list", "--json").stdout) == as_listed
    payload = json.loads(job.inspect().payload)
    assert json.loads(vidask("show", job.id, "--json").stdout) == {
        **as_listed,
        "tenant": client.tenant,
        "worker": "celery@gpu-1",
        "payload": payload,
    }
    assert json.loads(vidask("drop", job.id, "--json").stdout) == {"job_id": job.id, "dropped": True}


@pytest.mark.parametrize("arguments", [["replay"], ["replay", "--all", "some-job"]])
def test_which_jobs_to_replay_has_to_be_said(arguments: list[str], vidask: Terminal) -> None:
    done = vidask(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "vidask: give either the id of a job or --all; 'vidask quarantine list' names the jobs\n"
