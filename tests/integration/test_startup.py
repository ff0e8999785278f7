"""A worker that cannot start ends with one line that says why, and a status that a supervisor sees."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.redis_users import as_worker, redis_with_users
from tests.support import wait_for
from vidask import Client
from worker.embedded import consumes, free_port, redis_server, worker_process


def _start(**env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
    return subprocess.run(command, env={**_ENV, **env}, capture_output=True, text=True, timeout=300, check=False)


_ENV = {"PATH": "/usr/bin:/bin"}


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("vidask worker:")]
    return line


def test_redis_is_down(tmp_path: Path) -> None:
    said = _said(_start(VIDASK_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", VIDASK_CHROMA_PATH=str(tmp_path)))
    assert "does not answer" in said


def test_the_password_of_redis_is_wrong(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", password="right") as url:
        said = _said(
            _start(VIDASK_REDIS_URL=url.replace("right", "wrong"), VIDASK_CHROMA_PATH=str(tmp_path / "chroma"))
        )
    assert "refused the user or password" in said
    assert "wrong" not in said


def test_another_worker_holds_the_embedded_chroma(worker: str, worker_log: Path) -> None:
    said = _said(_start(VIDASK_REDIS_URL=as_worker(worker), VIDASK_CHROMA_PATH=str(worker_log.parent / "chroma")))
    assert "another worker holds the embedded Chroma" in said
    assert "VIDASK_CHROMA_URL" in said
    wait_for("the first worker works on", lambda: consumes(worker))


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"VIDASK_CONCURRENCY": "many"}, "concurrency: 'many'"),
        ({"VIDASK_LLM_BACKEND": "gpt"}, "llm_backend: 'gpt' is not one of 'extractive'"),
        ({"VIDASK_REDIS_URL": "localhost"}, "'localhost' is not a Redis address"),
        ({"VIDASK_CHROMA_URL": "localhost:8000"}, "chroma_url: 'localhost:8000' is not an address"),
        ({"VIDASK_CHROMA_URL": "http://127.0.0.1:1"}, "Chroma at http://127.0.0.1:1 does not answer"),
        ({"VIDASK_CHROMA_PATH": "/proc/chroma"}, "the folder /proc/chroma cannot be written"),
        ({"VIDASK_EMBEDDING_MODEL": "/nowhere/model"}, "embedding_model: '/nowhere/model' cannot be loaded"),
    ],
)
def test_a_setting_is_wrong(env: dict[str, str], said: str, idle_redis_url: str, tmp_path: Path) -> None:
    well = {"VIDASK_REDIS_URL": as_worker(idle_redis_url), "VIDASK_CHROMA_PATH": str(tmp_path / "chroma")}
    assert said in _said(_start(**(well | env)))


def test_what_was_indexed_is_there_after_a_restart(tmp_path: Path) -> None:
    env = {"VIDASK_CHROMA_PATH": str(tmp_path / "chroma")}
    with redis_with_users(tmp_path / "redis") as url, Client(url) as client:
        with worker_process(as_worker(url), env=env, log=tmp_path / "first.log"):
            client.index_transcript(
                "talk", text="WEBVTT\n\n00:01.000 --> 00:02.000\nThe answer is forty-two.\n"
            ).result(30)
        question = client.ask("What is the answer?")
        assert question.status() == "queued"
        with worker_process(as_worker(url), env=env, log=tmp_path / "second.log"):
            assert "forty-two" in question.result(30).text
