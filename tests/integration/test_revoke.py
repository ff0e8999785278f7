"""Celery's own `revoke` cancels a job, one that runs as well; a backend that knows nothing of vidask expects no less."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from tests.chaos.work import RECORDS, Work
from tests.redis_users import as_worker, redis_with_users
from tests.support import keys_without_ttl, plain_celery, wait_for
from vidask import Client, JobCancelled
from worker.embedded import worker_process

LONG, SHORT = str(Work(60.0)), str(Work(0.01))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A queue whose worker does one job at a time, and takes as long for it as the question says."""
    folder = tmp_path_factory.mktemp("revoke")
    env = {RECORDS: str(folder), "VIDASK_CONCURRENCY": "1"}
    with (
        redis_with_users(folder / "redis") as url,
        worker_process(as_worker(url), env=env, log=folder / "worker.log", app="tests.chaos.chaos_app"),
    ):
        yield url
        assert keys_without_ttl(url) == []


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def celery(url: str) -> Iterator[Celery]:
    with plain_celery(url) as celery:
        yield celery


@pytest.mark.parametrize("terminate", [False, True])
def test_a_running_job_is_stopped_and_its_worker_takes_the_next(
    client: Client, celery: Celery, terminate: bool
) -> None:
    job = client.ask(LONG)
    wait_for("it runs", lambda: job.status() == "running")
    celery.control.revoke(job.id, terminate=terminate)  # what `AsyncResult.revoke` calls
    with pytest.raises(JobCancelled):
        job.result(timeout_s=10)
    assert celery.backend.get_task_meta(job.id)["status"] == "REVOKED"
    assert client.ask(SHORT).result(timeout_s=10).text


def test_a_job_that_waits_is_never_begun(client: Client, celery: Celery) -> None:
    running, waiting = client.ask(LONG), client.ask(LONG)
    wait_for("the first runs", lambda: running.status() == "running")
    celery.control.revoke([waiting.id, "nobody's"])
    wait_for("it is cancelled", lambda: waiting.status() == "cancelled")
    assert running.status() == "running"
    running.cancel()
    assert client.ask(SHORT).result(timeout_s=10).text


def test_what_has_ended_keeps_its_result(client: Client, celery: Celery) -> None:
    job = client.ask(SHORT)
    answer = job.result(timeout_s=10)
    reply = celery.control.revoke(job.id, reply=True, timeout=20, limit=1)
    assert [list(said.values()) for said in reply or ()] == [[{"ok": "cancelled: none"}]]
    assert job.result(timeout_s=1) == answer
    assert celery.backend.get_task_meta(job.id)["result"]["text"] == answer.text
