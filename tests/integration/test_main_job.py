"""Ask a video a question through the queue: real Redis, a real Celery worker process, real Chroma."""

from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from tests.redis_users import as_admin, as_worker
from tests.support import LECTURE, plain_celery, wait_for
from vidask import Client, JobExpired, JobFailed, Message, Segment, WaitTimeout, keys
from vidask.connection import celery_settings


def test_an_indexed_video_is_asked_and_says_where_the_answer_stands(client: Client) -> None:
    report = client.index_transcript("talk", text=LECTURE, format="vtt").result(timeout_s=30)
    assert (report.segments, report.removed, report.warnings) == (5, 0, ())

    answer = client.ask("Why does a deep tree overfit?", video_ids=["talk"]).result(timeout_s=30)

    assert "every leaf holds a single example" in answer.text
    first = answer.citations[0]
    assert (first.video_id, first.start_s, first.end_s) == ("talk", 70.0, 76.0)
    assert first.text == "A deep tree overfits because every leaf holds a single example."
    assert answer.model == "extractive"
    assert list(answer.timings_s) == ["queued", "contextualize", "retrieve", "respond"]


def test_a_follow_up_is_understood_with_its_history(client: Client) -> None:
    client.index_transcript("talk", text=LECTURE).result(timeout_s=30)
    history = [Message("user", "What is a decision tree?"), Message("assistant", "It asks one question after another.")]

    answer = client.ask("And why does it overfit?", history=history).result(timeout_s=30)

    assert "tree" in answer.standalone_question
    assert "every leaf holds a single example" in answer.text


def test_a_transcript_can_come_in_segments(client: Client) -> None:
    client.index_transcript("talk", segments=[Segment(0.0, 4.2, "The mitochondrion is the powerhouse.")]).result(30)
    citation = client.ask("What is the mitochondrion?").result(30).citations[0]
    assert (citation.start_s, citation.end_s) == (0.0, 4.2)


def test_a_time_range_keeps_what_is_said_within_it(client: Client) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    answer = client.ask("Why does a deep tree overfit?", video_ids=["talk"], start_s=120.0, end_s=300.0).result(30)
    assert [citation.start_s for citation in answer.citations] == [180.0]


def test_without_videos_all_of_the_tenants_are_searched(client: Client) -> None:
    jobs = [
        client.index_transcript("trees", text=LECTURE),
        client.index_transcript(
            "bread", segments=[Segment(5.0, 9.0, "Sourdough bread needs a starter of wild yeast.")]
        ),
    ]
    for job in jobs:
        job.result(30)
    assert client.ask("What does sourdough need?").result(30).citations[0].video_id == "bread"
    assert client.ask("Why does a tree overfit?").result(30).citations[0].video_id == "trees"
    asked_of_bread = client.ask("Why does a tree overfit?", video_ids=["bread"]).result(30)
    assert {citation.video_id for citation in asked_of_bread.citations} == {"bread"}


def test_indexing_twice_changes_nothing(client: Client) -> None:
    first = client.index_transcript("talk", text=LECTURE).result(30)
    before = client.ask("What is pruning?", top_k=50).result(30)
    second = client.index_transcript("talk", text=LECTURE).result(30)
    after = client.ask("What is pruning?", top_k=50).result(30)
    assert (second.chunks, second.removed) == (first.chunks, 0)
    assert after.citations == before.citations
    assert client.forget("talk").result(30).removed == first.chunks


def test_a_changed_transcript_leaves_nothing_of_the_old_one(client: Client) -> None:
    old = client.index_transcript("talk", text=LECTURE).result(30)
    new = client.index_transcript("talk", segments=[Segment(0.0, 3.0, "Only this is said now.")]).result(30)
    assert (new.chunks, new.removed) == (1, old.chunks)
    for videos in (["talk"], []):
        answer = client.ask("Why does a deep tree overfit?", video_ids=videos).result(30)
        assert "Only this is said now." in answer.text


def test_the_newest_transcript_wins_whatever_is_worked_on_first(client: Client) -> None:
    jobs = [
        client.index_transcript("talk", segments=[Segment(0.0, 1.0, f"Version {number} of the talk.")] * (21 - number))
        for number in range(1, 21)
    ]
    for job in jobs:
        job.result(30)
    answer = client.ask("Which version of the talk?", video_ids=["talk"]).result(30)
    assert "Version 20 of the talk." in answer.text


def test_a_forgotten_video_is_gone(client: Client) -> None:
    indexing = client.index_transcript("talk", text=LECTURE)
    forgetting = client.forget("talk")
    indexing.result(30)
    forgetting.result(30)
    client.index_transcript("other", segments=[Segment(0.0, 1.0, "Something else.")]).result(30)
    assert client.ask("Why does a deep tree overfit?").result(30).citations[0].video_id == "other"
    assert client.forget("talk").result(30).removed == 0


def test_two_tenants_never_see_each_other(worker: str, tenant: str) -> None:
    with Client(worker, tenant=f"{tenant}-a") as one, Client(worker, tenant=f"{tenant}-b") as other:
        one.index_transcript("talk", segments=[Segment(0.0, 1.0, "The password is swordfish.")]).result(30)
        other.index_transcript("talk", segments=[Segment(0.0, 1.0, "The weather is fine.")]).result(30)
        for videos in (["talk"], []):
            answer = other.ask("What is the password?", video_ids=videos, top_k=50).result(30)
            assert "swordfish" not in answer.model_dump_json()
        other.forget("talk").result(30)
        assert "swordfish" in one.ask("What is the password?").result(30).text


def test_a_job_handle_can_be_picked_up_elsewhere(client: Client, worker: str, tenant: str) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    job_id = client.ask("What is pruning?").id
    with Client(worker, tenant=tenant) as elsewhere:
        assert "Pruning" in elsewhere.job(job_id).result(30).text
        assert elsewhere.job(job_id).status() == "succeeded"


def test_any_language_can_poll_the_row(client: Client, worker: str) -> None:
    job = client.index_transcript("talk", text=LECTURE)
    job.result(30)
    with redis.Redis.from_url(worker, decode_responses=True) as connection:
        row = connection.hgetall(f"vidask:job:{job.id}")
        assert isinstance(row, dict)
        assert (row["state"], row["kind"], row["attempt"]) == ("succeeded", "index_transcript", "1")
        assert float(row["created_at_s"]) <= float(row["started_at_s"]) <= float(row["finished_at_s"])
        assert 0 < connection.ttl(f"vidask:job:{job.id}") <= keys.RESULT_TTL_S
        assert row["payload"] == "", "an indexed transcript does not stay in Redis"


def test_clients_that_come_and_go_leave_no_connections_behind(idle_redis_url: str, tenant: str) -> None:
    """Some stay: kombu keeps a pool for the process, by address."""

    def ask() -> None:
        with Client(idle_redis_url, tenant=tenant) as client, pytest.raises(WaitTimeout):
            client.ask("Never answered?").result(0.05)

    with redis.Redis.from_url(as_admin(idle_redis_url)) as connection:
        ask()
        after_one = len(connection.client_list())
        for _ in range(5):
            ask()
        wait_for("there are no more than after one", lambda: len(connection.client_list()) <= after_one)


def test_celerys_own_result_works(client: Client, worker: str) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    job = client.ask("What is pruning?")
    with plain_celery(worker) as celery:
        result = AsyncResult(job.id, app=celery).get(timeout=30)
    assert result["text"] == job.result(30).text


def test_a_backend_without_vidask_can_send_the_task_and_get_the_answer(
    client: Client, worker: str, tenant: str
) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    with plain_celery(worker) as celery:
        sent = celery.send_task(
            "vidask.ask", kwargs={"question": "What is pruning?", "tenant": tenant}, queue="vidask", priority=0
        )
        assert "Pruning removes" in sent.get(timeout=30)["text"]
        assert client.job(sent.id).status() == "succeeded"
        failing = celery.send_task("vidask.ask", kwargs={"question": "", "tenant": tenant}, queue="vidask", priority=5)
        with pytest.raises(JobFailed, match="question: is empty"):
            failing.get(timeout=30)
    with plain_celery(worker) as later:
        assert "Pruning removes" in AsyncResult(sent.id, app=later).get(timeout=30)["text"], (
            "Celery itself stores nothing"
        )


def test_a_message_that_expired_ends_expired(client: Client, worker: str, tenant: str) -> None:
    with plain_celery(worker) as celery:
        sent = celery.send_task("vidask.ask", kwargs={"question": "?", "tenant": tenant}, queue="vidask", expires=-1)
        with pytest.raises(TaskRevokedError, match="expired"):
            sent.get(timeout=30)  # Celery's word, a moment before the row's
        job = client.job(sent.id)
    with redis.Redis.from_url(as_admin(worker)) as connection:
        wait_for("it has a row", lambda: connection.exists(keys.job_row(job.id)))
    with pytest.raises(JobExpired):
        job.result(30)


def test_a_job_goes_back_to_the_queue_while_redis_refuses_its_row(
    client: Client, worker: str, worker_log: Path
) -> None:
    client.index_transcript("talk", text=LECTURE).result(30)
    job_id = f"refused-{client.tenant}"
    with redis.Redis.from_url(as_admin(worker)) as connection, plain_celery(worker) as celery:
        connection.set(keys.job_row(job_id), "no hash, so that the claim fails", ex=60)
        arguments = {"question": "What is pruning?", "tenant": client.tenant}
        sent = celery.send_task("vidask.ask", task_id=job_id, kwargs=arguments, queue="vidask")
        wait_for(
            "the worker has given it back", lambda: f"job {job_id} goes back to the queue" in worker_log.read_text()
        )
        connection.delete(keys.job_row(job_id))
        assert "Pruning removes" in sent.get(timeout=30)["text"]


def test_the_same_job_id_twice_is_one_job(client: Client) -> None:
    first = client.index_transcript("talk", text=LECTURE, job_id="my-own-id:1" + client.tenant)
    second = client.index_transcript("talk", text=LECTURE, job_id=first.id)
    assert first.result(30) == second.result(30)


def test_questions_overtake_indexing(idle_client: Client, idle_redis_url: str) -> None:
    with (
        Celery(set_as_current=False, changes=celery_settings(as_worker(idle_redis_url))) as celery,
        celery.connection_for_read() as connection,
    ):
        queue = connection.SimpleQueue(keys.QUEUE)
        queue.clear()
        idle_client.index_transcript("talk", text=LECTURE)
        question = idle_client.ask("What is pruning?")
        assert queue.get(timeout=30).headers["id"] == question.id
        queue.clear()
        queue.close()


def test_a_queued_job_can_be_cancelled_and_a_finished_one_cannot(idle_client: Client, client: Client) -> None:
    queued = idle_client.ask("Never answered?")
    assert queued.status() == "queued"
    assert queued.cancel()
    assert queued.status() == "cancelled"
    assert not queued.cancel()

    finished = client.index_transcript("talk", text=LECTURE)
    finished.result(30)
    assert not finished.cancel()
    assert finished.status() == "succeeded"


def test_celerys_revoke_cancels_a_queued_job(client: Client, worker: str) -> None:
    with plain_celery(worker) as celery:
        job_id = f"revoked-{client.tenant}"
        celery.control.revoke(job_id)
        wait_for(
            "the worker has heard of the revocation",
            lambda: job_id in next(iter((celery.control.inspect(timeout=1).revoked() or {"": []}).values())),
        )
        job = client.ask("What is pruning?", job_id=job_id)
        wait_for("the job is cancelled", lambda: job.status() == "cancelled")
