"""Flower, which many have for Celery, sees workers and their jobs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.redis_users import as_user
from tests.support import plain_celery, wait_for
from vidask import Client, QueueUnavailable
from worker.embedded import child_process, free_port, wait_until


@pytest.fixture
def flower(worker: str, tmp_path: Path) -> Iterator[str]:
    """The address of its API. Workers tell it of their jobs because it asks them to."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "celery",
        "--broker",
        as_user(worker, "flower"),
        "flower",
        "--address=127.0.0.1",
        f"--port={port}",
    ]
    env = {"FLOWER_UNAUTHENTICATED_API": "true"}
    url = f"http://127.0.0.1:{port}"
    with child_process(command, env=env, cwd=tmp_path, log=tmp_path / "flower.log") as process:
        wait_until(lambda: _answers(url), process, QueueUnavailable(f"see {tmp_path / 'flower.log'}"))
        yield f"{url}/api"
    with plain_celery(as_user(worker, "flower")) as celery:
        celery.control.disable_events()


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthcheck").is_success
    return False


def test_it_sees_the_worker_and_what_became_of_a_job(flower: str, client: Client) -> None:
    asked: list[str] = []

    def has_seen_one_end() -> bool:
        """Of one job after the other: it knows none that came before the worker heard that somebody listens."""
        job = client.forget("nowhere")
        job.result(60)
        asked.append(job.id)
        tasks = httpx.get(f"{flower}/tasks", timeout=60).json()
        return any(tasks[job_id]["state"] == "SUCCESS" for job_id in asked if job_id in tasks)

    wait_for("it has seen one end", has_seen_one_end)

    def sees_the_worker() -> bool:
        """It asks anew each time, and lists those that answer within a second."""
        workers = httpx.get(f"{flower}/workers", params={"refresh": 1}, timeout=60).json()
        return [name.partition("@")[0] for name in workers] == ["celery"]

    wait_for("it sees the worker", sees_the_worker)
