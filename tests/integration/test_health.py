"""`python -m worker health`: whoever watches over a worker learns whether it works, and what does not."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from tests.redis_users import as_worker, redis_with_users
from tests.support import health, keys_without_ttl, plain_celery, wait_for
from vidask import keys
from vidask.addresses import redacted
from worker.embedded import child_process, free_port, is_free, worker_process

#: For a server that starts, or for a few calls of the command, on a machine that does other things as well.
SOON_S = 120.0
WELL = ["queue: ok, takes jobs", "engine: ok, answers", "embeddings: ok, embeds", "store: ok, finds"]


class Chroma:
    """A Chroma server that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._stack = ExitStack()

    def start(self) -> None:
        program = str(Path(sys.executable).with_name("chroma"))
        command = [program, "run", "--path", str(self._folder / "chroma"), "--port", str(self.port)]
        self.process = self._stack.enter_context(child_process(command, log=self._folder / "chroma.log"))
        wait_for("Chroma listens", lambda: not is_free(self.port), SOON_S)

    def stop(self) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Running:
    url: str
    chroma: Chroma
    control: Celery

    def says(self) -> tuple[int, list[str], list[str]]:
        """The command's exit status, what is well, and what is wrong."""
        done = health(self.url)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    def is_well(self) -> bool:
        return self.says() == (0, WELL, [])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("health")
    with ExitStack() as stack:
        chroma = Chroma(folder)
        stack.callback(chroma.stop)
        chroma.start()
        url = stack.enter_context(redis_with_users(folder / "redis"))
        env = {"VIDASK_CHROMA_URL": f"http://127.0.0.1:{chroma.port}"}
        stack.enter_context(worker_process(as_worker(url), env=env, log=folder / "worker.log"))
        yield Running(url, chroma, stack.enter_context(plain_celery(url)))


def test_a_worker_that_is_well(running: Running) -> None:
    assert running.says() == (0, WELL, [])
    assert keys_without_ttl(running.url) == []


def test_a_worker_that_was_told_to_take_no_more_questions(running: Running) -> None:
    """Its process lives, and answers Celery's ping."""
    try:
        wait_for("it was told", lambda: running.control.control.cancel_consumer(keys.QUEUE, reply=True))
        status, well, wrong = running.says()
        wait_for("it answers Celery's ping", running.control.control.ping)
    finally:
        running.control.control.add_consumer(keys.QUEUE, reply=True)
    assert (status, well) == (1, WELL[1:])
    assert wrong == ["queue: FAILED, it takes no jobs from vidask; it was told not to, or is connecting to Redis"]
    wait_for("the worker is well again", running.is_well, SOON_S)


def test_a_store_that_hangs(running: Running) -> None:
    running.chroma.process.send_signal(signal.SIGSTOP)
    try:
        status, well, wrong = running.says()
    finally:
        running.chroma.process.send_signal(signal.SIGCONT)
    assert (status, well, len(wrong)) == (1, WELL[:3], 1)
    assert re.fullmatch(r"store: FAILED, nothing for 1\d s; it hangs, or has too much to do", wrong[0])
    wait_for("the worker is well again", running.is_well, SOON_S)


def test_a_store_that_is_gone_and_comes_back(running: Running) -> None:
    running.chroma.stop()
    status, well, [wrong] = running.says()
    assert (status, well) == (1, WELL[:3])
    assert wrong.startswith("store: FAILED, Chroma does not answer (")
    running.chroma.start()
    wait_for("the worker is well again", running.is_well, SOON_S)


def test_a_worker_that_is_not_there(running: Running) -> None:
    done = health(running.url, "--hostname", "celery@nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    said = "it is not there, still starting, or does not hear Redis"
    on = redacted(as_worker(running.url))
    assert done.stderr == f"vidask worker: worker celery@nowhere does not answer on {on}; {said}\n"


def test_redis_is_not_there() -> None:
    done = health(f"redis://127.0.0.1:{free_port()}/0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_quickly_because_it_loads_no_model() -> None:
    heavy = "{'torch', 'chromadb', 'langchain_core', 'vllm'} & set(sys.modules)"
    code = f"import sys, worker.__main__; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
