"""What the queue costs: against plain Celery, in Redis commands and bytes, and with a long backlog."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import redis
from celery import Celery

from benchmarks.figures import Figure, ratio
from benchmarks.plain_celery import ECHO_TASK
from vidask import Client, keys
from vidask.connection import celery_settings
from worker.embedded import redis_server, worker_process

QUESTION = "Why does a deep tree overfit, and what can be done about it? (number {})"
_ROUNDS = 7
_JOBS = 1_500
_WAITED_JOBS = 500
_SMALL_BACKLOG = 200
_LARGE_BACKLOG = 20_000
_WINDOWS = 10
_IN_HAND = 64


class Side:
    """A Redis, a worker that answers at once, and a producer for it.

    Args:
        queues: all that the worker listens to: while it waits at one for up to a second, it begins that much later with another.
        running: the sorted set of what is being worked on.
    """

    def __init__(self, url: str, celery: Celery, *, queues: Sequence[str], running: str) -> None:
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.celery = celery
        self._queues = queues
        self._running = running

    def pause(self) -> None:
        """Have the worker take no jobs."""
        for queue in self._queues:
            self.celery.control.cancel_consumer(queue, reply=True, timeout=5)

    def resume(self) -> None:
        """Have the worker take jobs again."""
        for queue in self._queues:
            self.celery.control.add_consumer(queue, reply=False)

    def left(self) -> int:
        """Jobs that are queued or being worked on."""
        queued = sum(cast("int", self.redis.llen(queue)) for queue in self._queues)
        return queued + cast("int", self.redis.zcard(self._running))

    def close(self) -> None:
        """End the connections."""
        self.redis.close()
        self.celery.close()


class Bench(Side):
    """vidask, with a model and a retriever that answer at once."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        url = stack.enter_context(redis_server(folder / "redis"))
        celery = Celery(set_as_current=False, changes=celery_settings(url))
        super().__init__(url, celery, queues=(keys.QUEUE, keys.AGAIN), running=keys.LEASES)
        stack.enter_context(closing(self))
        self.client = stack.enter_context(Client(url))
        stack.enter_context(worker_process(url, app="benchmarks.instant_app", log=folder / "worker.log"))

    def ask(self, n: int) -> list[str]:
        """Queue `n` questions; returns their ids."""
        return [self.client.ask(QUESTION.format(number)).id for number in range(n)]


class Plain(Side):
    """Plain Celery, with tasks that return their argument."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        url = stack.enter_context(redis_server(folder / "plain-redis"))
        celery = Celery(broker=url, backend=url, set_as_current=False)
        super().__init__(url, celery, queues=("celery",), running="unacked_index")
        stack.enter_context(closing(self))
        stack.enter_context(worker_process(url, app="benchmarks.echo_app", log=folder / "plain.log"))

    def ask(self, n: int) -> None:
        """Queue `n` tasks with the same text."""
        for number in range(n):
            self.celery.send_task(ECHO_TASK, args=[QUESTION.format(number)]).forget()


def figures() -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidask-bench-")))
        bench = Bench(stack, folder)
        _drain(bench, 200)  # warm
        yield _over_plain_celery(bench, Plain(stack, folder))
        yield _commands(bench)
        yield _backlog(bench)
        yield _bytes(bench)


def _over_plain_celery(bench: Bench, plain: Plain) -> Figure:
    _drain(plain, 200)
    ratios = []
    for _ in range(_ROUNDS):
        plain_s = _drain(plain, _JOBS)
        ours_s = _drain(bench, _JOBS)
        ratios.append(plain_s / ours_s)
    return ratio("queue_jobs_over_plain_celery", ratios, ">=", 0.5)


def _drain(side: Bench | Plain, jobs: int) -> float:
    """Seconds that the worker takes for so many jobs that are put on the queue while it is paused."""
    side.pause()
    side.ask(jobs)
    begun = time.perf_counter()
    side.resume()
    while side.left():
        time.sleep(0.01)
    return time.perf_counter() - begun


def _commands(bench: Bench) -> Figure:
    """From `ask` to the return of `result`, with eight producers who wait: the dearest way, since each has to be told."""

    def ask_and_wait(number: int) -> None:
        bench.client.ask(QUESTION.format(number)).result(timeout_s=60)

    with ThreadPoolExecutor(8) as producers:
        list(producers.map(ask_and_wait, range(50)))
        before = _calls(bench.redis)
        list(producers.map(ask_and_wait, range(_WAITED_JOBS)))
        spent = _calls(bench.redis) - before
    spent.subtract(["info"])
    dearest = ", ".join(f"{name} {calls / _WAITED_JOBS:.1f}" for name, calls in spent.most_common(4))
    return Figure("redis_commands_a_question", spent.total() / _WAITED_JOBS, "<=", 30, dearest)


def _calls(connection: redis.Redis) -> Counter[str]:
    stats = cast("dict[str, Any]", connection.info("commandstats"))
    return Counter({name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()})


def _backlog(bench: Bench) -> Figure:
    """Time a job, from the rows' own `finished_at_s`; small backlogs before and after the large one, as machines drift."""
    small = [_seconds_a_job(bench, bench_ids) for bench_ids in _small_backlogs(bench)]
    bench.pause()
    ids = bench.ask(_LARGE_BACKLOG)
    bench.resume()
    measured = ids[: _SMALL_BACKLOG * _WINDOWS]
    _wait_for_end(bench, measured)
    large = [
        _seconds_a_job(bench, measured[at : at + _SMALL_BACKLOG]) for at in range(0, len(measured), _SMALL_BACKLOG)
    ]
    for job_id in ids[len(measured) :]:  # else sweeps would take them for lost, and send them again
        bench.client.job(job_id).cancel()
    bench.celery.control.purge()
    while bench.left():
        time.sleep(0.01)
    small += [_seconds_a_job(bench, bench_ids) for bench_ids in _small_backlogs(bench)]
    value = statistics.median(large) / statistics.median(small)
    note = f"{statistics.median(large) * 1000:.2f} ms over {statistics.median(small) * 1000:.2f} ms"
    return Figure("time_a_job_backlog_20000_over_200", value, "<=", 1.2, note)


def _small_backlogs(bench: Bench) -> Iterator[list[str]]:
    for _ in range(_WINDOWS // 2):
        bench.pause()
        ids = bench.ask(_SMALL_BACKLOG)
        bench.resume()
        _wait_for_end(bench, ids)
        yield ids


def _wait_for_end(bench: Bench, ids: list[str]) -> None:
    """Jobs end in nearly the order in which they began, of which a worker has a few at a time."""
    while any(bench.client.job(job_id).status() in ("queued", "running") for job_id in ids[: -_IN_HAND - 1 : -1]):
        time.sleep(0.01)


def _seconds_a_job(bench: Bench, ids: list[str]) -> float:
    """Between the first and the last end, without the tenth that gets going."""
    ended = sorted(float(cast("str", bench.redis.hget(keys.job_row(job_id), "finished_at_s"))) for job_id in ids)
    ended = ended[len(ended) // 10 :]
    return (ended[-1] - ended[0]) / (len(ended) - 1)


def _bytes(bench: Bench) -> Figure:
    bench.pause()
    bench.redis.flushdb()
    before = _used(bench.redis)
    ids = bench.ask(2_000)
    payload = statistics.mean(len(cast("str", bench.redis.hget(keys.job_row(job_id), "payload"))) for job_id in ids)
    each = (_used(bench.redis) - before) / len(ids)
    bench.celery.control.purge()
    bench.resume()
    return Figure("bytes_a_queued_question_beyond_payload", each - payload, "<=", 2048, f"payload {payload:.0f}")


def _used(connection: redis.Redis) -> int:
    return cast("dict[str, int]", connection.info("memory"))["used_memory"]
