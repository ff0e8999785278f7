"""`kill -9` at each point of a job's way: what the user sees is one right answer, whatever was being done."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.support import LECTURE, keys_without_ttl, wait_for
from vidask import Client, Message, keys
from worker.embedded import redis_server, worker_process

HISTORY = [Message("user", "What is a decision tree?"), Message("assistant", "A list of questions.")]


@dataclass
class Deployment:
    """A queue, and one worker that is started anew when it has died."""

    url: str
    folder: Path
    stack: ExitStack
    worker: subprocess.Popen[bytes]

    def start(self) -> None:
        env = {
            "VIDASK_TEST_POINT": str(self.folder / "point"),
            "VIDASK_CHROMA_PATH": str(self.folder / "chroma"),
            "VIDASK_LEASE_S": "1",
        }
        self.worker = self.stack.enter_context(
            worker_process(self.url, env=env, log=self.folder / "worker.log", app="tests.chaos.points_app")
        )

    def doom(self, point: str) -> None:
        """Have the worker die when it comes to that point."""
        (self.folder / "point").write_text(point)

    def restart(self) -> None:
        """As a supervisor does, once the worker is gone."""
        wait_for("the worker is dead", lambda: self.worker.poll() is not None)
        assert self.worker.returncode == -signal.SIGKILL, (self.folder / "worker.log").read_text()[-3000:]
        self.start()

    def attempts(self, job_id: str) -> int:
        with redis.Redis.from_url(self.url, decode_responses=True) as connection:
            return int(str(connection.hget(keys.job_row(job_id), "attempt")))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("points")
    with redis_server(folder / "redis") as url, ExitStack() as stack:
        made = Deployment(url, folder, stack, None)  # pyright: ignore[reportArgumentType]  the next line starts it
        made.start()
        yield made


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    with Client(deployment.url) as client:
        yield client
    assert keys_without_ttl(deployment.url) == []


@pytest.mark.parametrize(
    ("point", "attempts"),
    [
        ("after the pop", 1),
        ("before the claim", 1),
        ("after the claim", 2),
        ("contextualizing", 2),
        ("retrieving", 2),
        ("responding", 2),
        ("before the result is stored", 2),
        ("after the result is stored", 1),
        ("before the ack", 1),
    ],
)
def test_a_question_is_answered_once_whatever_its_worker_died_of(
    deployment: Deployment, client: Client, point: str, attempts: int
) -> None:
    client.index_transcript("trees", text=LECTURE, format="vtt").result(timeout_s=30)
    deployment.doom(point)
    job = client.ask("And why does a deep tree overfit?", video_ids=["trees"], history=HISTORY)
    deployment.restart()
    answer = job.result(timeout_s=30)
    assert "trees" in {citation.video_id for citation in answer.citations}
    assert deployment.attempts(job.id) == attempts
    assert client.job(job.id).result(timeout_s=1) == answer, "it does not change any more"


@pytest.mark.parametrize(
    ("point", "attempts"),
    [("after the upsert", 2), ("before the result is stored", 2), ("after the result is stored", 1)],
)
def test_a_transcript_is_there_once_whatever_its_worker_died_of(
    deployment: Deployment, client: Client, point: str, attempts: int
) -> None:
    video = f"died {point}"
    deployment.doom(point)
    job = client.index_transcript(video, text=LECTURE, format="vtt")
    deployment.restart()
    report = job.result(timeout_s=30)
    assert deployment.attempts(job.id) == attempts
    assert client.index_transcript(video, text=LECTURE, format="vtt").result(timeout_s=30).chunks == report.chunks
    found = client.ask("Why does a deep tree overfit?", video_ids=[video]).result(timeout_s=30)
    assert len({citation.text for citation in found.citations}) == len(found.citations), "no passage twice"
    assert client.forget(video).result(timeout_s=30).removed == report.chunks
