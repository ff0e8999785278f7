"""Bad input gets a clear error, and nothing is lost: neither the worker, nor the other jobs, nor half a job in Redis."""

import base64
import json
import pickle
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from tests.redis_users import as_admin, as_worker
from tests.support import LECTURE, plain_celery, wait_for
from vidask import (
    Client,
    InvalidJob,
    InvalidSettings,
    JobFailed,
    JobNotFound,
    Message,
    QueueUnavailable,
    Segment,
    WaitTimeout,
    keys,
)
from vidask.connection import connect
from vidask.ledger import Ledger
from vidask.publishing import Publisher
from worker.embedded import free_port, redis_server
from worker.sweep import Sweep

REFUSED: dict[str, tuple[Callable[[Client], object], str]] = {
    "an empty question": (lambda c: c.ask("  "), "question: is empty"),
    "a question of 10 MB": (
        lambda c: c.ask("x" * 10_000_000),
        "question: 10,000,000 characters, at most 8,000 are taken",
    ),
    "history with an unknown role": (
        lambda c: c.ask("And?", history=[{"role": "wizard", "content": "…"}]),  # type: ignore[list-item]
        "history.0.role: 'wizard' is not one of 'user' or 'assistant'",
    ),
    "a time range that ends before it starts": (
        lambda c: c.ask("What?", start_s=90, end_s=30),
        "the time range ends at 30 s before it starts at 90 s; swap the two",
    ),
    "a negative time": (lambda c: c.ask("What?", start_s=-1), "start_s: -1"),
    "top_k of 0": (lambda c: c.ask("What?", top_k=0), "top_k: 0"),
    "too many videos": (
        lambda c: c.ask("What?", video_ids=[str(n) for n in range(51)]),
        "video_ids: 51 items, at most 50",
    ),
    "a string for a list of videos": (lambda c: c.ask("What?", video_ids="talk"), "video_ids: 'talk' is one string"),
    "a video id with a line break": (
        lambda c: c.index_transcript("a\nb", text="x"),
        "video_id: holds control characters",
    ),
    "a transcript that is neither": (
        lambda c: c.index_transcript("talk"),
        "give the transcript as text or as segments",
    ),
    "an empty transcript": (lambda c: c.index_transcript("talk", text=" \n"), "text: is empty"),
    "an unknown format": (
        lambda c: c.index_transcript("talk", text="x", format="docx"),  # type: ignore[arg-type]
        "format: 'docx' is not one of",
    ),
    "a job id with a space": (lambda c: c.ask("What?", job_id="my job"), "job_id: 'my job' does not match"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_in_one_line_before_anything_is_queued(
    what: str, idle_client: Client, idle_redis_url: str
) -> None:
    ask, said = REFUSED[what]
    with redis.Redis.from_url(as_admin(idle_redis_url)) as connection:
        before = connection.dbsize()
        with pytest.raises(InvalidJob) as refused:
            ask(idle_client)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
        assert connection.dbsize() == before


def test_segments_that_end_before_they_start_are_refused() -> None:
    with pytest.raises(ValueError, match="ends at 1 s before it starts at 2 s"):
        Segment(2.0, 1.0, "backwards")


def test_a_question_about_an_unknown_video_fails_with_its_name(client: Client) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    with pytest.raises(
        JobFailed, match=r"video 'tlak' is not indexed for tenant .*index its transcript first"
    ) as failed:
        client.ask("What?", video_ids=["tlak"]).result(30)
    assert failed.value.error_type == "UnknownVideo"


def test_a_question_before_anything_is_indexed_says_so(client: Client) -> None:
    with pytest.raises(JobFailed, match=r"nothing is indexed for tenant .*; index a transcript first"):
        client.ask("What?").result(30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just some prose", "srt"),
        ('{"segments": [{"start": 0, "end": "soon", "text": "x"}]}', "segment"),
        ('{"segments": [{"start": 0,', "JSON"),
    ],
)
def test_a_transcript_that_cannot_be_read_fails_alone(text: str, said: str, client: Client) -> None:
    broken = client.index_transcript("broken", text=text)
    good = client.index_transcript("good", text=LECTURE)
    with pytest.raises(JobFailed, match=f"(?i){said}") as failed:
        broken.result(30)
    assert "\n" not in str(failed.value)
    assert good.result(30).segments == 5


def test_a_transcript_of_50000_cues_is_indexed_whole(client: Client) -> None:
    cues = "\n\n".join(
        f"{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}.000 --> 99:00:00.000\nx" for n in range(50_000)
    )
    report = client.index_transcript("long", text=f"WEBVTT\n\n{cues}\n").result(600)
    assert report.segments == 50_000


def test_an_unknown_job_is_not_found(client: Client, worker: str) -> None:
    with pytest.raises(JobNotFound, match="job 'nope' is not known to tenant"):
        client.job("nope").status()
    job = client.index_transcript("talk", text=LECTURE)
    with Client(worker, tenant="somebody-else") as other, pytest.raises(JobNotFound):
        other.job(job.id).result(5)


def test_a_job_id_of_another_tenant_is_taken(client: Client, worker: str) -> None:
    job = client.ask("What?")
    with Client(worker, tenant="somebody-else") as other, pytest.raises(InvalidJob, match="is taken by another job"):
        other.ask("What?", job_id=job.id)


def test_waiting_ends_with_the_time_given_and_the_job_goes_on(idle_client: Client) -> None:
    job = idle_client.ask("Never answered?")
    begun = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"was still queued after 0\.3 s; it goes on"):
        job.result(timeout_s=0.3)
    assert time.monotonic() - begun < 4.5, "it does not wait until it would look at the row again"
    assert job.status() == "queued"


def test_redis_down_at_enqueue_is_said_within_5_seconds() -> None:
    begun = time.monotonic()
    with Client(f"redis://:secret@127.0.0.1:{free_port()}/0") as client, pytest.raises(QueueUnavailable) as down:
        client.ask("Is anybody there?")
    assert time.monotonic() - begun < 5
    assert "does not answer" in str(down.value)
    assert "secret" not in str(down.value)


def test_a_job_whose_message_cannot_be_sent_is_accepted_and_found(idle_client: Client, idle_redis_url: str) -> None:
    """The queue's key is made one that cannot be pushed to, so that publishing fails and nothing else does."""
    with redis.Redis.from_url(as_admin(idle_redis_url), decode_responses=True) as connection:
        connection.delete("vidask")
        connection.set("vidask", "not a list")
        try:
            job = idle_client.ask("Half a job?")
        finally:
            connection.delete("vidask")
        assert job.status() == "queued"
        sent: list[str] = []
        publisher = cast("Publisher", SimpleNamespace(send=lambda job_id, *_, **__: sent.append(job_id)))
        with closing(connect(as_worker(idle_redis_url))) as ours:
            sweep = Sweep(Ledger(ours), publisher, lease_s=15.0)
            wait_for("a sweep sends it", lambda: sweep.run() or job.id in sent)


def test_a_wrong_password_is_said_and_not_repeated(tmp_path_factory: pytest.TempPathFactory) -> None:
    with redis_server(tmp_path_factory.mktemp("r"), password="right") as url:
        with Client(url.replace("right", "wrong")) as client, pytest.raises(QueueUnavailable) as refused:
            client.ask("Open?")
        assert "refused the user or password" in str(refused.value)
        assert "wrong" not in str(refused.value)


def test_an_address_that_is_none_is_said() -> None:
    with pytest.raises(InvalidSettings, match="'localhost:6379' is not a Redis address"):
        Client("localhost:6379")


def _publish(url: str, body: bytes, content_type: str, encoding: str, task: str) -> str:
    """A message as another Celery producer would leave it in Redis."""
    job_id = str(uuid.uuid4())
    message: dict[str, Any] = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": encoding,
        "content-type": content_type,
        "headers": {"lang": "py", "task": task, "id": job_id, "root_id": job_id, "argsrepr": "()", "kwargsrepr": "{}"},
        "properties": {
            "correlation_id": job_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "vidask"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    with redis.Redis.from_url(url) as connection:
        connection.lpush("vidask", json.dumps(message))
    return job_id


def _lives(client: Client) -> bool:
    return client.index_transcript("talk", text=LECTURE).result(30).segments == 5


def test_a_pickle_is_refused_unopened_and_the_worker_lives(client: Client, worker: str, tmp_path: Any) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "opened"), "w"))

    body = pickle.dumps(([], {"question": Bomb()}, {}))
    _publish(worker, body, "application/x-python-serialize", "binary", "vidask.ask")
    assert _lives(client)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([[], {}, {}], "question: is missing"),
        ([[], {"question": ""}, {}], "question: is empty"),
        ([[], {"question": "x" * 9000}, {}], "question: 9,000 characters"),
        ([[], {"question": "What?", "schema_version": "2.0"}, {}], "schema_version: '2.0' is not understood here"),
        ([["What?"], {}, {}], "1 positional arguments; send keyword arguments only"),
        ([[], {"question": "What?", "tenant": "../../etc"}, {}], "tenant: '../../etc' does not match"),
        ([[], {"question": "What?", "tenant": 7}, {}], "tenant: 7"),
    ],
)
def test_a_message_that_did_not_come_from_our_client_fails_cleanly(
    body: list[Any], said: str, client: Client, worker: str
) -> None:
    job_id = _publish(worker, json.dumps(body).encode(), "application/json", "utf-8", "vidask.ask")
    with plain_celery(worker) as celery, pytest.raises(JobFailed) as failed:
        celery.AsyncResult(job_id).get(timeout=30)
    assert said in str(failed.value)
    assert _lives(client)


def test_unknown_tasks_and_fields_do_no_harm(client: Client, worker: str) -> None:
    _publish(worker, b"[[], {}, {}]", "application/json", "utf-8", "vidask.mine_bitcoin")
    _publish(worker, b"{ not json", "application/json", "utf-8", "vidask.ask")
    _publish(worker, b'{"not": "a list of three"}', "application/json", "utf-8", "vidask.ask")
    _publish(worker, b'"text"', "application/json", "utf-8", "vidask.ask")
    assert _lives(client)
    newer = {"question": "What is pruning?", "tenant": client.tenant, "schema_version": "1.7", "mood": "curious"}
    job_id = _publish(worker, json.dumps([[], newer, {}]).encode(), "application/json", "utf-8", "vidask.ask")
    with redis.Redis.from_url(as_admin(worker)) as connection:
        wait_for("the row is there", lambda: connection.exists(keys.job_row(job_id)))
    assert "Pruning" in client.job(job_id).result(30).text


@pytest.mark.parametrize("rubbish", ["hello", "{}", '{"body": 1}', "[]", "\x00\xff", json.dumps({"properties": {}})])
def test_rubbish_in_the_queue_is_dropped_and_the_worker_lives(rubbish: str, client: Client, worker: str) -> None:
    with redis.Redis.from_url(worker) as connection:
        connection.lpush("vidask", rubbish)
    assert _lives(client)


def test_the_history_may_hold_a_message_of_both_kinds(client: Client) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    history = [Message("user", "x" * 32_000), Message("assistant", "")]
    assert client.ask("What is pruning?", history=history).result(30).citations
