"""A worker looks for a lost Redis as long as it takes, and soon finds it when it is back."""

import pytest
from celery.exceptions import WorkerShutdown
from kombu import Connection

from worker.consumer import Consumer
from worker.embedded import reserved_port


def test_redis_is_looked_for_every_second_until_the_worker_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """More often than the hundred times after which Celery gives up."""
    pauses: list[float] = []

    def told_to_end() -> None:
        if len(pauses) > 300:
            raise WorkerShutdown(0)

    monkeypatch.setattr("kombu.utils.functional.sleep", pauses.append)
    monkeypatch.setattr("worker.consumer.maybe_shutdown", told_to_end)
    with reserved_port() as port, Connection(f"redis://127.0.0.1:{port}/0") as nobody, pytest.raises(WorkerShutdown):
        Consumer.__new__(Consumer).ensure_connected(nobody)
    assert set(pauses) <= {0.0, 1.0}, "a second, and what is left of it"
    assert sum(pauses) < len(pauses)
