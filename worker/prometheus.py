"""The worker's metrics for Prometheus. docs/observability.md has a table of them.

What happens is counted when it happens; what lasts (the queue, the jobs that run, the engine) is looked at when somebody asks.
No label has values without bound: neither a tenant nor a job is one.
"""

from __future__ import annotations

import errno
import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import prometheus_client
import redis
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel
from redis.exceptions import RedisError

from vidask import keys
from vidask.errors import InvalidSettings
from vidask.models import Answer
from worker.claims import Claims
from worker.metrics import Metrics
from worker.sweep import lines

#: From a step that hardly took place to a backlog of hours.
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
#: What kind it is, its name, the field of `EngineStats`, and what it means.
_OF_AN_ENGINE = (
    (GaugeMetricFamily, "running_requests", "running", "Requests in the engine's last step."),
    (GaugeMetricFamily, "waiting_requests", "waiting", "Requests that had no place in it."),
    (GaugeMetricFamily, "kv_cache_usage_ratio", "kv_cache_usage", "Share of the KV cache in use, 0 to 1."),
    (
        CounterMetricFamily,
        "prefix_cache_queries",
        "prompt_tokens",
        "Prompt tokens, each looked up in the prefix cache.",
    ),
    (CounterMetricFamily, "prefix_cache_hits", "cached_tokens", "Those that were found there."),
    (CounterMetricFamily, "generated_tokens", "generated_tokens", "Tokens that the engine wrote."),
)


class PrometheusMetrics(Metrics):
    """A worker's metrics, in a registry of their own.

    Attributes:
        registry: what a page shows.

    Args:
        connection: to the Redis that has the queue.
    """

    def __init__(self, connection: redis.Redis) -> None:
        prometheus_client.disable_created_metrics()  # each would have one more that says since when
        self.registry = registry = CollectorRegistry()
        self._jobs = Counter("vidask_jobs", "Jobs that this worker ended.", ["kind", "outcome"], registry=registry)
        self._queued = Histogram(
            "vidask_queued_seconds", "How long jobs had waited.", ["kind"], buckets=_BUCKETS_S, registry=registry
        )
        self._steps = Histogram(
            "vidask_step_seconds", "How long steps took.", ["kind", "step"], buckets=_BUCKETS_S, registry=registry
        )
        self._read = Counter("vidask_prompt_tokens", "Tokens that the model read for answers.", registry=registry)
        self._written = Counter("vidask_completion_tokens", "Tokens that it wrote for answers.", registry=registry)
        self._recoveries = Counter(
            "vidask_lease_recoveries", "Jobs whose lease had run out, sent again.", registry=registry
        )
        self._crashes = Counter("vidask_crashes", "Leases that had run out.", registry=registry)
        self._sent_again = Counter("vidask_messages_sent_again", "Messages that were sent again.", registry=registry)
        registry.register(_Queue(connection))
        for kind in keys.PRIORITIES:
            self._queued.labels(kind)
            for outcome in keys.TERMINAL_STATES:
                self._jobs.labels(kind, outcome)

    def watch(self, claims: Claims, llms: Sequence[Any]) -> None:
        """See `Metrics`."""
        self.registry.register(_RunningJobs(claims))
        self.registry.register(_Engine(llms))

    def ended(self, kind: str, outcome: str, *, queued_s: float | None = None, made: BaseModel | None = None) -> None:
        """See `Metrics`."""
        self._jobs.labels(kind, outcome).inc()
        if queued_s is not None:
            self._queued.labels(kind).observe(queued_s)
        for step, seconds in getattr(made, "timings_s", {}).items():
            if step != "queued":
                self._steps.labels(kind, step).observe(seconds)
        if isinstance(made, Answer):
            self._read.inc(made.usage.prompt_tokens)
            self._written.inc(made.usage.completion_tokens)

    def recovered(self, jobs: int) -> None:
        """See `Metrics`."""
        self._crashes.inc(jobs)
        self._recoveries.inc(jobs)

    def set_aside(self, kind: str) -> None:
        """See `Metrics`."""
        self._crashes.inc()
        self.ended(kind, "quarantined")

    def sent_again(self) -> None:
        """See `Metrics`."""
        self._sent_again.inc()


class _Queue(Collector):
    """What waits, of all workers together: each of them says the same."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def collect(self) -> Iterator[Metric]:
        """Nothing but that Redis is away, where it is."""
        waiting = GaugeMetricFamily("vidask_waiting_jobs", "Jobs that wait for a worker.", labels=["line"])
        oldest = GaugeMetricFamily("vidask_oldest_waiting_seconds", "Since when the oldest waits.", labels=["line"])
        messages = GaugeMetricFamily("vidask_queue_messages", "Messages in the queue.", labels=["line"])
        quarantined = GaugeMetricFamily("vidask_quarantined_jobs", "Jobs that were set aside.")
        answers = GaugeMetricFamily("vidask_redis_up", "Whether Redis answers.")
        try:
            (seconds, micros), set_aside, *found = self._look()
        except RedisError:
            answers.add_metric([], 0)
        else:
            answers.add_metric([], 1)
            quarantined.add_metric([], set_aside)
            now_s = seconds + micros / 1e6
            for line, number, first, pushed in zip(lines(), found[::3], found[1::3], found[2::3], strict=True):
                waiting.add_metric([line], number)
                oldest.add_metric([line], max(0.0, now_s - first[0][1]) if first else 0)
                messages.add_metric([line], pushed)
        yield from (waiting, oldest, messages, quarantined, answers)

    def _look(self) -> list[Any]:
        """Redis's time, the jobs in quarantine, then of each line who wait, the first of them with its time, and the messages."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zcount(keys.QUARANTINE, time.time() - keys.QUEUED_TTL_S, "+inf")
            for line, messages in lines().items():
                pipe.zcard(keys.waiting(line))
                # Those at 0 were given back for a moment, and have no message on purpose.
                pipe.zrangebyscore(keys.waiting(line), "(0", "+inf", start=0, num=1, withscores=True)
                pipe.llen(messages)
            return pipe.execute()


class _RunningJobs(Collector):
    """The jobs that a worker holds."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def collect(self) -> Iterator[Metric]:
        """One number a kind."""
        running = GaugeMetricFamily("vidask_running_jobs", "Jobs that this worker works on.", labels=["kind"])
        held = Tally(claim.kind for claim in self._claims.held())
        for kind in keys.PRIORITIES:
            running.add_metric([kind], held[kind])
        yield running


class _Engine(Collector):
    """What the engine of this worker said after its last step; nothing where it has none."""

    def __init__(self, llms: Sequence[Any]) -> None:
        self._engine = next((llm.engine for llm in llms if hasattr(llm, "engine")), None)

    def collect(self) -> Iterator[Metric]:
        """Families without samples where there is no engine."""
        for family_of, name, attribute, said in _OF_AN_ENGINE:
            family = family_of(f"vidask_engine_{name}", said)
            if self._engine is not None:
                family.add_metric([], getattr(self._engine.stats, attribute))
            yield family


class PortTaken(InvalidSettings):
    """Somebody listens there already."""


@contextmanager
def page(registry: CollectorRegistry, host: str, port: int) -> Iterator[None]:
    """Show a registry at `http://<host>:<port>/metrics`.

    Raises:
        PortTaken: it cannot be had.
        InvalidSettings: it cannot be opened there.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"metrics_port: {port} is taken on {host}; choose another") from None
        msg = f"metrics_host: this worker cannot listen on {host}:{port}; name an address of this host, and a port above 1023"
        raise InvalidSettings(msg) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
