"""Sentinels say which Redis leads. It is asked, and followed: when it is told to step down, and when it is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import redis

from tests.integration.slow_app import WHILE
from tests.support import answers, health, plain_celery, wait_for
from vidask import Answer, Client, Job, JobCancelled, QueueUnavailable
from worker.doctor.findings import Finding, Status
from worker.doctor.redis import read_info
from worker.doctor.redis import redis as redis_finding
from worker.embedded import (
    child_process,
    free_port,
    redis_server,
    redis_server_path,
    wait_until,
    worker_process,
)

MASTER = "lectures"
#: A failover takes a few seconds with these, and a Redis that a busy machine keeps waiting is not taken for dead; and here one
#: sentinel decides alone.
SENTINEL = f"""bind 127.0.0.1
sentinel monitor {MASTER} 127.0.0.1 LEADER 1
sentinel down-after-milliseconds {MASTER} 3000
sentinel failover-timeout {MASTER} 4000
"""
#: So long after the failover of a Redis whatever was accepted before is answered, seconds: a lease, and what a sweep takes.
ALL_S = 30.0
#: So long a failover takes at the most, seconds: one that is stuck is begun anew.
FAILOVER_S = 60.0
HELD = "slow:held"


@dataclass
class Watched:
    """Two Redis servers that a sentinel looks after, and a worker.

    Attributes:
        sentinel: its port.
        folder: of one Redis each.
        servers: what was started.
        worker: its process.
        client: a producer.
    """

    sentinel: int
    folder: Path
    servers: ExitStack
    worker: Popen[bytes]
    client: Client

    @property
    def url(self) -> str:
        return url_of(self.sentinel)

    def leader(self) -> int:
        """The port of the Redis that leads."""
        with redis.Redis(port=self.sentinel) as connection:
            state: Any = connection.sentinel_master(MASTER)
        return state["port"]

    def step_down(self) -> None:
        """As an operator has it, who stops writes first, so that none is made that the next one lacks."""
        old = self.leader()
        with redis.Redis(port=old) as leader, redis.Redis(port=self.sentinel) as sentinel:
            leader.execute_command("CLIENT", "PAUSE", 20_000, "WRITE")
            sentinel.execute_command("SENTINEL", "FAILOVER", MASTER)
            wait_for("another one leads", lambda: self.leader() != old)
            leader.replicaof(
                "127.0.0.1", self.leader()
            )  # this, and the rest, the sentinel does itself ten seconds later
            leader.client_unpause()
            for kind in ("normal", "pubsub"):
                leader.client_kill_filter(_type=kind, skipme=True)

    def start_replica(self) -> None:
        start_redis(self.servers, self.folder, port=free_port(), leader=self.leader())

    def replicas(self) -> list[int]:
        """Ports of those that the sentinel knows, and finds alive."""
        with redis.Redis(port=self.sentinel) as connection:
            return [each["port"] for each in connection.sentinel_slaves(MASTER) if each["flags"] == "slave"]


def url_of(sentinel: int, master: str = MASTER) -> str:
    """Of two sentinels the first is away for good: nobody listens at port 1."""
    return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/{master}/0"


def start_redis(servers: ExitStack, folder: Path, *, port: int, leader: int | None = None) -> None:
    arguments = ["--replicaof", "127.0.0.1", str(leader)] if leader else []
    servers.enter_context(
        redis_server(folder / str(port), port=port, arguments=[*arguments, "--repl-diskless-sync-delay", "0"])
    )


def start_sentinel(servers: ExitStack, folder: Path, leader: int) -> int:
    port, file = free_port(), folder / "sentinel.conf"
    file.write_text(SENTINEL.replace("LEADER", str(leader)))
    command = [redis_server_path(), str(file), "--sentinel", "--port", str(port)]
    process = servers.enter_context(child_process(command, log=folder / "sentinel.log"))
    wait_until(
        lambda: answers(f"redis://127.0.0.1:{port}"), process, QueueUnavailable(f"see {folder / 'sentinel.log'}")
    )
    return port


def follows(leader: int) -> bool:
    """Whether a replica has what that Redis has."""
    with redis.Redis(port=leader) as connection:
        connection.set("slow:seen", 1)  # what comes before it is waited for as well
        return bool(connection.wait(1, 1000))


def found_by_doctor(url: str) -> Finding:
    return redis_finding(read_info(url), url)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("sentinel")
    with ExitStack() as servers:
        start_redis(servers, folder, port=(leader := free_port()))
        start_redis(servers, folder, port=free_port(), leader=leader)
        wait_for("a replica follows", lambda: follows(leader))
        sentinel = start_sentinel(servers, folder, leader)
        env = {"VIDASK_LEASE_S": "2", "VIDASK_CONCURRENCY": "4"}
        worker = servers.enter_context(
            worker_process(url_of(sentinel), env=env, log=folder / "worker.log", app="tests.integration.slow_app")
        )
        client = servers.enter_context(Client(url_of(sentinel)))
        yield Watched(sentinel, folder, servers, worker, client)
        assert worker.poll() is None, f"one worker for all the stories: {(folder / 'worker.log').read_text()[-3000:]}"


@pytest.fixture
def watched(started: Watched) -> Watched:
    """It is well when a story begins."""
    if found_by_doctor(started.url).status is not Status.OK:
        started.start_replica()
    wait_for("a replica follows", lambda: started.replicas() and follows(started.leader()), FAILOVER_S)
    return started


def accepted_some(watched: Watched) -> list[Job[Answer]]:
    """Jobs that run, and jobs that wait, until they are let go; the replica knows them."""
    with redis.Redis(port=watched.leader()) as connection:
        connection.set(HELD, 1)
        jobs = [watched.client.ask(WHILE + HELD) for _ in range(12)]
        wait_for("some are running", lambda: [job.status() for job in jobs].count("running") == 4)
        wait_for("the replica knows them", lambda: follows(watched.leader()))
    return jobs


def accepted_one(watched: Watched) -> bool:
    try:
        return bool(watched.client.ask("Who leads?", job_id="the-first-one-after").id)
    except QueueUnavailable:
        return False


def check_that_all_end(watched: Watched, jobs: list[Job[Answer]], old: int) -> None:
    wait_for("another one leads", lambda: watched.leader() != old, FAILOVER_S)
    wait_for("jobs are accepted again", lambda: accepted_one(watched), FAILOVER_S)
    with redis.Redis(port=watched.leader()) as connection:
        connection.delete(HELD)
    jobs.append(watched.client.job("the-first-one-after"))
    jobs.extend(watched.client.ask("Who leads?") for _ in range(4))
    assert {job.result(ALL_S).text for job in jobs} == {f"by {watched.worker.pid}"}, "the same worker goes on"


def test_everything_goes_through_the_sentinels(watched: Watched) -> None:
    job = watched.client.ask("Who answers?")
    assert "".join(event.text for event in job.stream()) == job.result(10).text == f"by {watched.worker.pid}"
    with redis.Redis(port=watched.leader()) as connection:
        connection.set(HELD, 1)
        held = watched.client.ask(WHILE + HELD)
        wait_for("it is running", lambda: held.status() == "running")
        assert held.cancel()
        connection.delete(HELD)
    with pytest.raises(JobCancelled):
        held.result(10)
    assert health(watched.url).stdout.startswith("queue: ok")


def test_doctor_names_the_redis_that_leads(watched: Watched) -> None:
    finding = found_by_doctor(watched.url)
    assert finding.status is Status.OK
    assert finding.said.endswith(f"answers at 127.0.0.1:{watched.leader()}, which the sentinels name as {MASTER!r}")


def test_plain_celery_has_its_own_way_of_writing_it(watched: Watched) -> None:
    options = {"master_name": MASTER}
    changes = {"broker_transport_options": options, "result_backend_transport_options": options}
    with plain_celery(f"sentinel://127.0.0.1:{watched.sentinel}/0", **changes) as celery:
        answer = celery.send_task("vidask.ask", kwargs={"question": "Who answers?"}, queue="vidask").get(timeout=30)
        assert answer["text"] == f"by {watched.worker.pid}"


def test_the_leader_steps_down(watched: Watched) -> None:
    old, jobs = watched.leader(), accepted_some(watched)
    watched.step_down()
    check_that_all_end(watched, jobs, old)
    wait_for("who led follows", lambda: found_by_doctor(watched.url).status is Status.OK)


def test_the_leader_is_killed(watched: Watched) -> None:
    old, jobs = watched.leader(), accepted_some(watched)
    with redis.Redis(port=old) as connection:
        os.kill(connection.info("server")["process_id"], signal.SIGKILL)
    check_that_all_end(watched, jobs, old)
    finding = found_by_doctor(watched.url)
    assert (finding.status, finding.fix) == (Status.WARNING, "start one with --replicaof HOST PORT")


@pytest.mark.parametrize("what", ["a name that no sentinel knows", "no sentinel"])
def test_what_is_not_to_be_found_is_said_in_a_line(what: str, started: Watched) -> None:
    url = url_of(free_port()) if what == "no sentinel" else url_of(started.sentinel, "lecture")
    with Client(url) as client, pytest.raises(QueueUnavailable) as raised:
        client.ask("Who leads?")
    why = "no sentinel answers" if what == "no sentinel" else f"the sentinels know no 'lecture', but {MASTER}"
    fix = "start it and its sentinels, or correct VIDASK_REDIS_URL"
    assert str(raised.value) == f"Redis at {url} is not to be found ({why}); {fix}"


def test_a_sentinel_and_a_redis_are_not_taken_for_each_other(started: Watched) -> None:
    for url in (f"redis://127.0.0.1:{started.sentinel}/0", url_of(started.leader())):
        with (
            Client(url) as client,
            pytest.raises(QueueUnavailable, match=r"redis\+sentinel:// for sentinels, redis:// for"),
        ):
            client.ask("Who leads?")
