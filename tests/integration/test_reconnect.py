"""Redis goes away and comes back, or falls silent: the worker takes jobs again, and what was accepted before is answered once.

That it lives proves nothing: each story asks a new question, and waits for its answer.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.by_hand import worker_by_hand
from tests.redis_users import as_admin, as_worker, redis_with_users
from tests.support import LECTURE, answers, keys_without_ttl, wait_for
from vidask import Answer, Client, Job, JobCancelled, QueueUnavailable, keys
from worker.embedded import worker_process

#: So long after Redis can be reached again a worker answers a new question at the latest, seconds. It may be waiting just then for
#: an answer that does not come, on one connection after the other.
BACK_S = 15.0
#: And what was accepted before: messages that Redis sent to nobody are missed some seconds later.
ALL_S = 30.0
#: Longer than any one answer of Redis is waited for, seconds.
LONGEST_WAIT_S = 7.0


@dataclass
class _Connection:
    near: socket.socket
    far: socket.socket
    silent: bool

    def start(self) -> None:
        for ends in ((self.near, self.far), (self.far, self.near)):
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.silent:
                    target.sendall(data)
        if not self.silent:
            _close(target)


class Proxy:
    """Stands before Redis, and can let connections die without a word, as a firewall does that has forgotten them."""

    def __init__(self, redis_url: str) -> None:
        self._to = urlsplit(redis_url).port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = redis_url.replace(f":{self._to}/", f":{self._server.getsockname()[1]}/")
        self._silent = False
        self._connections: list[_Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        """From now on whatever is sent is swallowed."""
        self._silent = True
        for connection in self._connections:
            connection.silent = True

    def speak(self) -> None:
        """New connections are passed on again; those that were silent stay so, and open."""
        self._silent = False

    def close(self) -> None:
        _close(self._server)
        for connection in self._connections:
            _close(connection.near)
            _close(connection.far)

    def _accept(self) -> None:
        with suppress(OSError):  # the server is closed
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:  # Redis is away, and new connections are to be tried when it is back
                    _close(near)
                else:
                    self._connections.append(_Connection(near, far, self._silent))
                    self._connections[-1].start()


def _close(end: socket.socket) -> None:
    """Also for the thread that reads from it."""
    with suppress(OSError):  # the other side was quicker
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@dataclass
class Running:
    """A worker behind a proxy, and a producer whose video it has indexed, who reaches Redis directly.

    Attributes:
        servers: Redis is closed with it.
        jobs: of this story.
        log_from: where this story begins in the worker's log.
    """

    url: str
    proxy: Proxy
    folder: Path
    client: Client
    servers: ExitStack
    jobs: list[Job[Answer]] = field(default_factory=list)
    log_from: int = 0

    def ask(self) -> Job[Answer]:
        self.jobs.append(self.client.ask("Why does a deep tree overfit?", video_ids=["talk"]))
        return self.jobs[-1]

    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def worker_says(self, words: str) -> bool:
        return words in self.log()[self.log_from :]

    def check_that_it_is_back(self) -> None:
        """It answers a new question soon, and all that were asked before it, each once."""
        assert "every leaf holds a single example" in self.ask().result(BACK_S).text
        deadline = time.monotonic() + ALL_S
        for job in self.jobs:
            assert job.result(deadline - time.monotonic()).text
        # Where the disk is busy, Redis answers before it writes.
        wait_for("all ends are on disk", lambda: all(map(self.ends_of, self.jobs)))
        assert [self.ends_of(job) for job in self.jobs] == [1] * len(self.jobs)
        assert keys_without_ttl(self.url) == []

    def ends_of(self, job: Job[Answer]) -> int:
        """How often its end was written: Redis keeps a log of all that is."""
        [log] = (self.folder / "redis").rglob("*.aof")
        return log.read_bytes().count(f"vidask:job:{job.id}\r\n$5\r\nstate\r\n$9\r\nsucceeded\r\n".encode())

    def redis_pid(self) -> int:
        with redis.Redis.from_url(as_admin(self.url)) as connection:
            return connection.info("server")["process_id"]

    def start_redis(self) -> None:
        """Once more, with what it has on disk."""
        self.servers.enter_context(redis_with_users(self.folder / "redis", port=urlsplit(self.url).port))
        wait_for("it has read what it had", lambda: answers(as_admin(self.url)))


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("reconnect")
    env = {"VIDASK_CHROMA_PATH": str(folder / "chroma"), "VIDASK_LEASE_S": "2"}
    with ExitStack() as servers:
        url = servers.enter_context(redis_with_users(folder / "redis"))
        with (
            closing(Proxy(url)) as proxy,
            worker_process(as_worker(proxy.url), env=env, log=folder / "worker.log") as process,
            Client(url) as client,
        ):
            client.index_transcript("talk", text=LECTURE).result(30)
            yield Running(url, proxy, folder, client, servers)
            assert process.poll() is None, "one worker for all the stories"


@pytest.fixture
def running(one_worker: Running) -> Running:
    """It is well when a story begins."""
    one_worker.client.ask("What is pruning?", video_ids=["talk"]).result(BACK_S)
    return replace(one_worker, jobs=[], log_from=len(one_worker.log()))


def test_redis_is_killed_and_starts_again(running: Running) -> None:
    for _ in range(40):
        running.ask()
    os.kill(running.redis_pid(), signal.SIGKILL)
    wait_for("the worker has noticed", lambda: running.worker_says("no jobs for now"))
    running.start_redis()
    running.check_that_it_is_back()


def test_redis_hangs_for_longer_than_anybody_waits(running: Running) -> None:
    for _ in range(40):
        running.ask()
    os.kill(pid := running.redis_pid(), signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        wait_for("every wait for an answer is over", lambda: time.monotonic() - stopped > LONGEST_WAIT_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    running.check_that_it_is_back()


def test_redis_is_full_when_the_connections_break(running: Running) -> None:
    """Celery's own tables, which a worker writes when it connects, are refused then."""
    running.ask().result(10)
    with redis.Redis.from_url(as_admin(running.url)) as connection:
        connection.config_set("maxmemory", "1mb")
        connection.client_kill_filter(_type="normal")
        wait_for("the worker has noticed", lambda: running.worker_says("no jobs for now: Redis: Command"))
        connection.config_set("maxmemory", "0")
    running.check_that_it_is_back()


@pytest.mark.parametrize("new", ["are passed on at once", "are as silent for a while"])
def test_the_connections_die_without_a_word_and_new_ones(new: str, running: Running) -> None:
    running.ask()
    running.proxy.fall_silent()
    for _ in range(5):
        running.ask()
    if new != "are passed on at once":
        wait_for("the worker has tried in vain", lambda: running.worker_says("leases are not renewed"))
    running.proxy.speak()
    running.check_that_it_is_back()


def test_who_waits_for_a_result_hears_it_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Proxy(running.url)) as proxy, Client(proxy.url) as client:
        assert client.job(running.ask().id).result(10).text
        proxy.fall_silent()
        proxy.speak()
        over = running.ask()
        assert over.result(10).text
        assert client.job(over.id).result(10).text, "nothing is left to be heard"
        monkeypatch.setattr("vidask.jobs._LOOK_AGAIN_S", 60.0)
        began = time.monotonic()
        assert client.job(running.ask().id).result(40).text
        assert time.monotonic() - began < 30, "it is heard"


def test_who_asks_for_a_result_is_told_of_silence_within_5_seconds(running: Running) -> None:
    def took_s() -> float:
        proxy.speak()
        assert job.result(30).text
        proxy.fall_silent()
        begun = time.monotonic()
        with pytest.raises(QueueUnavailable):
            job.result(30)
        return time.monotonic() - begun

    with closing(Proxy(running.url)) as proxy, Client(proxy.url) as client:
        job = client.job(running.ask().id)
        assert any(took_s() < 5 for _ in range(5)), "a busy machine delays one or two, not all"


def test_who_waits_for_a_result_looks_once_more_when_his_connection_broke(
    idle_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end may have been told while he had none."""
    monkeypatch.setattr("vidask.jobs._LOOK_AGAIN_S", 60.0)
    with (
        redis.Redis.from_url(as_admin(idle_redis_url)) as connection,
        Client(idle_redis_url) as client,
        ThreadPoolExecutor() as pool,
    ):
        job = client.ask("Why?")
        connection.config_resetstat()
        waiting = pool.submit(job.result, 60)
        wait_for("he listens, and has looked", lambda: "cmdstat_hgetall" in connection.info("commandstats"))
        began = time.monotonic()
        connection.hset(keys.job_row(job.id), "state", "cancelled")
        connection.client_kill_filter(_type="pubsub")
        with pytest.raises(JobCancelled):
            waiting.result(60)
        assert time.monotonic() - began < 30, "at once"


def test_the_message_of_who_asks_is_sent_though_his_connections_have_died(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Proxy(running.url)) as proxy, Client(proxy.url) as client:
        client.ask("What is pruning?", video_ids=["talk"]).result(10)
        proxy.fall_silent()
        proxy.speak()
        assert client.ask("Why does a deep tree overfit?", video_ids=["talk"]).result(BACK_S).text
    assert "its message was not sent" not in caplog.text


def test_a_cancellation_is_heard_after_the_connections_have_died_without_a_word(idle_redis_url: str) -> None:
    with (
        closing(Proxy(idle_redis_url)) as proxy,
        worker_by_hand(proxy.url) as hand,
        Client(idle_redis_url) as client,
    ):
        wait_for("the worker listens", lambda: hand.connected)
        proxy.fall_silent()
        proxy.speak()
        wait_for("the worker listens anew, and looks up how its jobs stand", lambda: hand.connected > 1, BACK_S)
        job = client.ask("Why?")
        hand.claim(job)
        assert job.cancel()
        wait_for("the worker has heard of it", lambda: hand.cancelled == [job.id])
