"""Those who send the jobs and wait for some, and one who hears all results: each a process of its own."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from tests.chaos.plan import Plan
from tests.chaos.records import Records
from tests.chaos.systems import SYSTEMS, Name, System, visible_in
from vidask import QueueUnavailable, keys
from vidask.connection import connect

_PAUSE_S = 0.2
_LISTEN_S = 1.0
_START_LIMIT_S = 180.0
_MOST_IN_A_BURST = 40
_WAITING_THREADS = 4
#: Of so many jobs one is waited for, one is sent twice, and one published once more by another producer.
_WAITED, _TWICE, _FOREIGN = 10, 20, 25

_processes = multiprocessing.get_context("spawn")


class Producer:
    """One of several, each of which sends every n-th job."""

    def __init__(self, plan: Plan, system: System, folder: Path) -> None:
        self._plan = plan
        self._system = system
        self._records = Records(folder, "producer")
        self._sent: list[int] = []

    def run(self, first: int, sent: Event) -> None:
        """Send the jobs in bursts over the busy time, and wait for some meanwhile and after it."""
        numbers = list(range(first, self._plan.jobs, self._plan.producers))
        chance = random.Random(f"{self._plan.seed} producer {first}")
        begun = time.monotonic()
        with ThreadPoolExecutor(_WAITING_THREADS) as waiting:
            while numbers:
                size = chance.randint(1, _MOST_IN_A_BURST)
                burst, numbers = numbers[:size], numbers[size:]
                due_at = begun + burst[-1] / self._plan.jobs * self._plan.busy_s
                time.sleep(max(due_at - time.monotonic(), 0.0))
                for number in burst:
                    self._send(number)
                    if number % _WAITED == 0:
                        waiting.submit(self._wait_for, number, begun + self._plan.limit_s)
                self._send_again(chance.choice(self._sent))  # most of these have ended long ago
            sent.set()

    def _send(self, number: int) -> None:
        job_id, question = self._job(number)
        while not _reached(lambda: self._system.send(job_id, question)):
            time.sleep(_PAUSE_S)
        self._records.note("accepted", job=job_id)
        self._sent.append(number)
        if number % _TWICE == 1:
            self._send_again(number)
        if number % _FOREIGN == 2:
            self._publish(number)

    def _send_again(self, number: int) -> None:
        if _reached(lambda: self._system.send(*self._job(number))):
            self._records.note("sent again", job=self._plan.job_id(number))

    def _publish(self, number: int) -> None:
        if _reached(lambda: self._system.publish(*self._job(number))):
            self._records.note("sent again", job=self._plan.job_id(number))

    def _wait_for(self, number: int, until_s: float) -> None:
        job_id = self._plan.job_id(number)
        while time.monotonic() < until_s:
            with suppress(QueueUnavailable, TimeoutError):
                self._records.note("seen", job=job_id, text=self._system.result(job_id, until_s - time.monotonic()))
                return
            time.sleep(_PAUSE_S)

    def _job(self, number: int) -> tuple[str, str]:
        return self._plan.job_id(number), str(self._plan.work(number))


@dataclass(frozen=True)
class Producing:
    """A producer's process, and whether it has sent all its jobs."""

    process: BaseProcess
    sent: Event


@contextmanager
def producers(plan: Plan, name: Name, url: str, folder: Path) -> Iterator[list[Producing]]:
    """The block begins when they do. They end when they have got what they wait for, or with the block."""
    begin, all_of_them = _processes.Barrier(plan.producers + 1), []
    for first in range(plan.producers):
        sent = _processes.Event()
        process = _processes.Process(target=_produce, args=(plan, name, url, folder, first, begin, sent))
        all_of_them.append(Producing(process, sent))
    with _running([each.process for each in all_of_them]):
        begin.wait(_START_LIMIT_S)
        yield all_of_them


@contextmanager
def listener(url: str, folder: Path) -> Iterator[None]:
    """Somebody notes every result that is published while the block runs, from its first line on."""
    ready = _processes.Event()
    with _running([_processes.Process(target=_listen, args=(url, folder, ready))]):
        assert ready.wait(_START_LIMIT_S), "the listener did not start"
        yield


@contextmanager
def _running(processes: list[BaseProcess]) -> Iterator[None]:
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _produce(plan: Plan, name: Name, url: str, folder: Path, first: int, begin: Barrier, sent: Event) -> None:
    with SYSTEMS[name](url) as system:
        begin.wait(_START_LIMIT_S)
        Producer(plan, system, folder).run(first, sent)


def _listen(url: str, folder: Path, ready: Event) -> None:
    records, connection = Records(folder, "listener"), connect(url)
    while True:
        with suppress(RedisError), connection.pubsub() as pubsub:
            pubsub.psubscribe(keys.celery_result("*"))
            while True:
                _note_published(records, pubsub.get_message(timeout=_LISTEN_S), ready)
        time.sleep(_PAUSE_S)


def _note_published(records: Records, message: dict[str, Any] | None, ready: Event) -> None:
    if message is None:
        return
    ready.set()
    if message["type"] == "pmessage":
        job_id = message["channel"].removeprefix(keys.celery_result(""))
        records.note("published", job=job_id, text=visible_in(message["data"]))


def _reached(call: Callable[[], object]) -> bool:
    """Whether the call returned."""
    try:
        call()
    except QueueUnavailable:
        return False
    return True
