"""Workers that are killed, stopped or told to go, messages that are lost, a Redis that is full: each question is answered once."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.slow_app import DIE, DONE_BY, READY, WHILE
from tests.redis_users import as_admin, as_worker, redis_with_users
from tests.support import keys_without_ttl, wait_for
from vidask import Answer, Client, Job, JobExpired, JobQuarantined, QueueUnavailable, keys
from vidask.connection import connect
from worker.embedded import START_LIMIT_S, child_process

#: A worker that lives may be without a core for a moment, and is not to lose its jobs by that.
LEASE_S = 4.0
CONCURRENCY = 4
#: For what takes a lease and two sweeps, on a machine that does other things as well; less than the usual period of grace.
SOON_S = 40.0


class Fleet:
    """Workers on one queue."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.redis = connect(as_admin(url))
        self.client = Client(url)
        self._workers: list[subprocess.Popen[bytes]] = []
        self._url = url
        self._folder = folder
        self._stack = stack

    def start(self, *, grace_s: float = 60.0) -> subprocess.Popen[bytes]:
        """One more; where it does not die at once it is ready for jobs."""
        env = {
            "VIDASK_REDIS_URL": as_worker(self._url),
            "VIDASK_LEASE_S": str(LEASE_S),
            "VIDASK_GRACE_S": str(grace_s),
            "VIDASK_CONCURRENCY": str(CONCURRENCY),
        }
        log = self._folder / f"{len(self._workers)}.log"
        command = [sys.executable, "-m", "celery", "-A", "tests.integration.slow_app", "worker"]
        worker = self._stack.enter_context(child_process(command, env=env, log=log))
        self._workers.append(worker)
        wait_for("the worker takes jobs", lambda: self._has_started(worker), START_LIMIT_S)
        return worker

    def _has_started(self, worker: subprocess.Popen[bytes]) -> bool:
        return bool(self.redis.sismember(READY, str(worker.pid))) or worker.poll() is not None

    def log(self, worker: subprocess.Popen[bytes]) -> str:
        return (self._folder / f"{self._workers.index(worker)}.log").read_text()

    def alive(self) -> list[subprocess.Popen[bytes]]:
        return [worker for worker in self._workers if worker.poll() is None]

    def only(self) -> subprocess.Popen[bytes]:
        """The one worker that there is."""
        [worker] = self.alive()
        return worker

    def tidy(self) -> None:
        """Open what is shut, and leave one worker, with nothing to do."""
        for gate in self.redis.scan_iter("gate:*"):
            self.redis.delete(gate)
        for worker in self.alive()[:-1]:
            self.kill(worker)
        wait_for("nothing is being done", lambda: not self.redis.exists(keys.LEASES), SOON_S)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()

    def ask(self, gate: str = "", **options: Any) -> Job[Answer]:
        """A question that is answered when its gate is open; at once where it has none."""
        return self.client.ask(WHILE + gate, **options)

    def ask_and_see_it_run(self, gate: str) -> Job[Answer]:
        job = self.ask(gate)
        wait_for("a worker has the question", lambda: job.status() == "running")
        return job

    def shut(self) -> str:
        """A gate."""
        gate = f"gate:{uuid.uuid4().hex}"
        self.redis.set(gate, "shut", ex=600)
        return gate

    def open(self, gate: str) -> None:
        """Also where Redis is full."""
        self.redis.delete(gate)

    def was_asked_before(self, seconds: int, *jobs: Job[Any]) -> None:
        """Earlier than it was by so much."""
        for job in jobs:
            self.redis.zincrby(keys.waiting(keys.line("ask")), -seconds, job.id)
            self.redis.hincrbyfloat(keys.job_row(job.id), "created_at_s", -seconds)

    def row(self, job: Job[Any]) -> dict[str, str]:
        row: Any = self.redis.hgetall(keys.job_row(job.id))
        return row

    def attempt(self, job: Job[Any]) -> tuple[int, str]:
        """Which one it is, and its state."""
        row = self.row(job)
        return int(row["attempt"]), row["state"]

    def crashes(self, job: Job[Any]) -> int:
        return int(self.row(job).get("crashes", 0))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with redis_with_users(folder / "redis") as url, ExitStack() as stack:
        fleet = Fleet(url, folder, stack)
        fleet.start()
        yield fleet
        assert keys_without_ttl(url) == []
        fleet.client.close()
        fleet.redis.close()


@pytest.fixture
def fleet(everything: Fleet) -> Iterator[Fleet]:
    """With one worker that has nothing to do."""
    assert everything.only()
    yield everything
    everything.tidy()


def by(worker: subprocess.Popen[bytes]) -> str:
    """How its answers read."""
    return f"by {worker.pid}"


def test_a_killed_workers_question_is_answered_by_another(fleet: Fleet) -> None:
    victim, gate = fleet.only(), fleet.shut()
    job = fleet.ask_and_see_it_run(gate)
    other = fleet.start()

    fleet.kill(victim)
    fleet.open(gate)

    assert job.result(SOON_S).text == by(other)
    assert (fleet.attempt(job), fleet.crashes(job)) == ((2, "succeeded"), 1)


def test_a_worker_that_was_alone_is_killed_and_a_new_one_is_started_later(fleet: Fleet) -> None:
    gate = fleet.shut()
    job = fleet.ask_and_see_it_run(gate)
    fleet.kill(fleet.only())
    fleet.open(gate)
    waiting = fleet.ask()

    new = fleet.start()

    assert waiting.result(SOON_S).text == by(new)
    assert job.result(SOON_S).text == by(new)
    assert (fleet.attempt(job), fleet.crashes(job)) == ((2, "succeeded"), 1)
    assert fleet.attempt(waiting) == (1, "succeeded")


def test_a_lost_message_is_sent_again_though_others_wait_and_none_of_those_is(fleet: Fleet) -> None:
    fleet.kill(fleet.only())
    fleet.redis.delete(keys.CLAIMED)  # what was asked in other tests comes later than what is asked here
    first, second = fleet.shut(), fleet.shut()
    lost = fleet.ask()
    assert fleet.redis.rpop(keys.QUEUE) is not None
    next_ones = [fleet.ask(first) for _ in range(CONCURRENCY)]
    backlog = [fleet.ask(second) for _ in range(20)]
    fleet.was_asked_before(18, lost)
    fleet.was_asked_before(12, *next_ones)
    fleet.was_asked_before(6, *backlog)

    fleet.start()
    wait_for("the next ones run", lambda: all(job.status() == "running" for job in next_ones))
    # Perhaps before the worker has taken the last of those; then it is answered already.
    wait_for("the lost message is sent again", lambda: fleet.row(lost).get("sent") == "1", SOON_S)
    assert fleet.redis.llen(keys.QUEUE) == len(backlog)
    fleet.open(first)
    lost.result(SOON_S)
    wait_for("the backlog moves on", lambda: fleet.redis.llen(keys.QUEUE) == len(backlog) - CONCURRENCY)
    # Looked at while some wait: of an empty queue the sweep may take the last message, on its way to its claim, for lost.
    assert not any("sent" in fleet.row(job) for job in [*next_ones, *backlog])
    fleet.open(second)

    for job in [*next_ones, *backlog]:
        job.result(SOON_S)
    assert {fleet.attempt(job) for job in [lost, *next_ones, *backlog]} == {(1, "succeeded")}


def test_a_worker_that_wakes_up_after_its_job_was_answered_elsewhere_writes_nothing(fleet: Fleet) -> None:
    sleeper, gate = fleet.only(), fleet.shut()
    job = fleet.ask_and_see_it_run(gate)
    sleeper.send_signal(signal.SIGSTOP)
    try:
        other = fleet.start()
        fleet.open(gate)
        assert job.result(SOON_S).text == by(other)
        row = fleet.row(job)
    finally:
        sleeper.send_signal(signal.SIGCONT)

    wait_for("the sleeper has done its work", lambda: fleet.redis.sismember(f"{DONE_BY}{sleeper.pid}", job.id))

    assert fleet.row(job) == row
    assert job.result().text == by(other)


def test_a_question_whose_deadline_passes_while_the_worker_is_full_ends_expired(fleet: Fleet) -> None:
    gate = fleet.shut()
    running = [fleet.ask_and_see_it_run(gate) for _ in range(CONCURRENCY)]

    late = fleet.ask(deadline_s=1)

    with pytest.raises(JobExpired, match="no worker took it; allow more, or start workers"):
        late.result(SOON_S)
    assert fleet.attempt(late) == (0, "expired")
    fleet.open(gate)
    assert {job.result(SOON_S).text for job in running} == {by(fleet.only())}


def test_a_question_that_takes_longer_than_the_grace_period_is_given_to_another_worker(fleet: Fleet) -> None:
    before, gate = fleet.only(), fleet.shut()
    hasty = fleet.start(grace_s=1)
    before.terminate()
    before.wait(SOON_S)
    job = fleet.ask_and_see_it_run(gate)
    other = fleet.start()

    hasty.terminate()

    wait_for("the other worker has it", lambda: fleet.attempt(job) == (2, "running"), SOON_S)
    assert hasty.wait(SOON_S) == 0
    fleet.open(gate)
    assert job.result(SOON_S).text == by(other)
    assert fleet.crashes(job) == 0


def test_with_the_second_sigterm_a_worker_gives_back_at_once(fleet: Fleet) -> None:
    patient, gate = fleet.only(), fleet.shut()
    job = fleet.ask_and_see_it_run(gate)
    other = fleet.start()

    patient.terminate()
    wait_for("the worker has heard the first", lambda: "Warm shutdown" in fleet.log(patient))
    assert fleet.attempt(job) == (1, "running")
    patient.terminate()

    wait_for("the other worker has it", lambda: fleet.attempt(job) == (2, "running"), SOON_S)
    assert patient.wait(SOON_S) == 0
    fleet.open(gate)
    assert job.result(SOON_S).text == by(other)
    assert fleet.crashes(job) == 0


def test_a_full_redis_takes_no_question_and_loses_no_answer(fleet: Fleet) -> None:
    gate = fleet.shut()
    job = fleet.ask_and_see_it_run(gate)
    fleet.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable, match=r"is full and refuses writes .*; raise maxmemory or remove data"):
            fleet.ask()
        fleet.open(gate)
        wait_for("the worker has an answer that waits", lambda: "a result waits" in fleet.log(fleet.only()))
        assert job.status() == "running"
    finally:
        fleet.redis.config_set("maxmemory", 0)

    assert job.result(SOON_S).text == by(fleet.only())
    assert (fleet.attempt(job), fleet.crashes(job)) == ((1, "succeeded"), 0)


def test_a_question_that_ends_three_workers_is_set_aside_and_its_neighbours_are_answered(fleet: Fleet) -> None:
    gate = fleet.shut()
    neighbours = [fleet.ask_and_see_it_run(gate) for _ in range(2)]
    poison = fleet.client.ask(DIE)

    for death in (1, 2, 3):
        wait_for("the worker is dead", lambda: not fleet.alive(), SOON_S)
        if death == 2:
            fleet.open(gate)  # by now nobody knows which of them it was
        fleet.start()

    with pytest.raises(JobQuarantined, match="its worker ended 3 times while it ran"):
        poison.result(SOON_S)
    assert fleet.crashes(poison) == 3
    assert [job.result(SOON_S).model for job in neighbours] == ["slow", "slow"]
