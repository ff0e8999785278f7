"""What a worker tells of itself while it works, to nobody unless `VIDASK_METRICS_PORT` is set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from pydantic import BaseModel

from config import Settings
from worker.claims import Claims


class Metrics:
    """Forgets what it is told. `worker.prometheus` has those that do not."""

    def watch(self, claims: Claims, llms: Sequence[Any]) -> None:
        """Look at the jobs that run, and at the engine among the language models, whenever somebody asks."""

    def ended(self, kind: str, outcome: str, *, queued_s: float | None = None, made: BaseModel | None = None) -> None:
        """Take note that this worker has ended a job.

        Args:
            kind: of the job.
            outcome: its terminal state.
            queued_s: how long it had waited, if it was claimed, seconds.
            made: its answer or report, if it succeeded.
        """

    def recovered(self, jobs: int) -> None:
        """Take note that the leases of so many jobs had run out, and this worker sends them again."""

    def set_aside(self, kind: str) -> None:
        """Take note that this worker put a job into quarantine, whose lease had run out for the last time."""

    def sent_again(self) -> None:
        """Take note that this worker sent the message of a job again."""


NO_METRICS = Metrics()


@contextmanager
def open_metrics(settings: Settings, connection: redis.Redis) -> Iterator[Metrics]:
    """The worker's metrics, on a page of their own where the settings name a port for it.

    Raises:
        InvalidSettings: the port cannot be had.
    """
    if settings.metrics_port is None:
        yield NO_METRICS
        return
    from worker.prometheus import PrometheusMetrics, page  # noqa: PLC0415  loaded where somebody wants it

    metrics = PrometheusMetrics(connection)
    with page(metrics.registry, settings.metrics_host, settings.metrics_port):
        yield metrics
