"""What the queue costs: against plain Celery, in Redis commands and bytes, and with a long backlog."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import redis
from celery import Celery

from benchmarks.figures import Figure, ratio
from benchmarks.instant_app import PLAIN_TASK
from vidask import Client, keys
from vidask.connection import celery_settings
from worker.embedded import redis_server, worker_process

QUESTION = "Why does a deep tree overfit, and what can be done about it? (number {})"
_ROUNDS = 7
_JOBS = 1_500
_WAITED_JOBS = 500
_SMALL_BACKLOG = 200
_IN_HAND = 64
_LARGE_BACKLOG = 20_000
_WINDOWS = 10


class Bench:
    """A Redis, a worker that answers at once, and producers for it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.url = stack.enter_context(redis_server(folder / "redis"))
        self.redis = stack.enter_context(redis.Redis.from_url(self.url, decode_responses=True))
        self.client = stack.enter_context(Client(self.url))
        self.celery = stack.enter_context(Celery(set_as_current=False, changes=celery_settings(self.url)))
        stack.enter_context(worker_process(self.url, app="benchmarks.instant_app", log=folder / "worker.log"))

    def pause(self) -> None:
        """Have the worker take no jobs."""
        self.celery.control.cancel_consumer(keys.QUEUE, reply=True, timeout=5)

    def resume(self) -> None:
        """Have the worker take jobs again."""
        self.celery.control.add_consumer(keys.QUEUE, reply=False)

    def left(self) -> int:
        """Jobs that are queued or being worked on."""
        return cast("int", self.redis.llen(keys.QUEUE)) + cast("int", self.redis.zcard("unacked_index"))

    def ask(self, n: int) -> list[str]:
        """Queue `n` questions; returns their ids."""
        return [self.client.ask(QUESTION.format(number)).id for number in range(n)]

    def send_plain(self, n: int) -> None:
        """Queue `n` plain tasks with the same text."""
        for number in range(n):
            self.celery.send_task(PLAIN_TASK, args=[QUESTION.format(number)], queue=keys.QUEUE).forget()


def figures() -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidask-bench-")))
        bench = Bench(stack, folder)
        _drain(bench, lambda: bench.ask(200))  # warm
        yield _over_plain_celery(bench)
        yield _commands(bench)
        yield _backlog(bench)
        yield _bytes(bench)


def _over_plain_celery(bench: Bench) -> Figure:
    ratios = []
    for _ in range(_ROUNDS):
        plain_s = _drain(bench, lambda: bench.send_plain(_JOBS))
        ours_s = _drain(bench, lambda: bench.ask(_JOBS))
        ratios.append(plain_s / ours_s)
    return ratio("queue_jobs_over_plain_celery", ratios, ">=", 0.5)


def _drain(bench: Bench, fill: Callable[[], object]) -> float:
    """Seconds that the worker takes for what `fill` puts on the queue while it is paused."""
    bench.pause()
    fill()
    begun = time.perf_counter()
    bench.resume()
    while bench.left():
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
        ids: list[str] = []
        _drain(bench, lambda ids=ids: ids.extend(bench.ask(_SMALL_BACKLOG)))
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
