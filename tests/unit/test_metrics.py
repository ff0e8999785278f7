"""What a worker's metrics say, without a worker: the jobs that run, the models and the ends of jobs are made up here."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from config import Settings
from vidask.connection import connect
from vidask.errors import InvalidSettings
from vidask.models import Answer, IndexReport, Usage
from worker.embedded import free_port, is_free, reserved_port
from worker.metrics import NO_METRICS, open_metrics
from worker.prometheus import PrometheusMetrics

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"
ROW = re.compile(r"^\| `(vidask_\w+)` \| (\w+) \| ([^|]*)\|", re.MULTILINE)

ANSWER = Answer(
    text="A model.",
    standalone_question="What is a tree?",
    usage=Usage(prompt_tokens=1_200, completion_tokens=30),
    timings_s={"queued": 4.0, "retrieve": 0.02, "respond": 1.5},
    model="tiny",
)


@pytest.fixture
def metrics() -> Iterator[PrometheusMetrics]:
    """Of a worker whose Redis is away."""
    with reserved_port() as nobody_listens, connect(f"redis://127.0.0.1:{nobody_listens}/0") as connection:
        yield PrometheusMetrics(connection)


def working_on(*kinds: str) -> Any:
    return SimpleNamespace(held=lambda: [SimpleNamespace(kind=kind) for kind in kinds])


def test_the_documented_metrics_are_those_that_there_are(metrics: PrometheusMetrics) -> None:
    metrics.watch(working_on("ask"), [])
    metrics.ended("ask", "succeeded", queued_s=4.0, made=ANSWER)
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(DOCS.read_text())
    }
    found = {_exposed(family): family for family in metrics.registry.collect()}
    assert {name: kind for name, (kind, _) in documented.items()} == {name: found[name].type for name in found}
    for name, (_, labels) in documented.items():
        for sample in found[name].samples:
            assert set(sample.labels) - {"le"} == labels


def _exposed(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_an_answer_counts_with_its_steps_and_its_tokens(metrics: PrometheusMetrics) -> None:
    metrics.ended("ask", "succeeded", queued_s=4.0, made=ANSWER)
    value = metrics.registry.get_sample_value
    assert value("vidask_jobs_total", {"kind": "ask", "outcome": "succeeded"}) == 1
    assert value("vidask_queued_seconds_sum", {"kind": "ask"}) == 4.0
    assert value("vidask_step_seconds_sum", {"kind": "ask", "step": "respond"}) == 1.5
    assert value("vidask_step_seconds_count", {"kind": "ask", "step": "queued"}) is None, "that is no step"
    assert value("vidask_prompt_tokens_total") == 1_200
    assert value("vidask_completion_tokens_total") == 30


def test_a_report_counts_with_its_steps(metrics: PrometheusMetrics) -> None:
    report = IndexReport(video_id="trees", segments=3, chunks=1, timings_s={"read": 0.1, "embed": 0.2, "store": 0.3})
    metrics.ended("index_transcript", "succeeded", queued_s=0.5, made=report)
    steps = {"kind": "index_transcript", "step": "store"}
    assert metrics.registry.get_sample_value("vidask_step_seconds_sum", steps) == 0.3


def test_ends_that_have_not_come_yet_count_as_none(metrics: PrometheusMetrics) -> None:
    """Else Prometheus would not see the first one come."""
    failed = {"kind": "forget", "outcome": "failed"}
    assert metrics.registry.get_sample_value("vidask_jobs_total", failed) == 0


def test_the_jobs_that_run_are_counted_when_somebody_asks(metrics: PrometheusMetrics) -> None:
    metrics.watch(working_on("ask", "ask", "forget"), [])
    running = {
        kind: metrics.registry.get_sample_value("vidask_running_jobs", {"kind": kind})
        for kind in ("ask", "forget", "index_frames")
    }
    assert running == {"ask": 2, "forget": 1, "index_frames": 0}


def test_redis_is_away_and_the_rest_is_there(metrics: PrometheusMetrics) -> None:
    assert metrics.registry.get_sample_value("vidask_redis_up") == 0
    families = {family.name: family.samples for family in metrics.registry.collect()}
    assert families["vidask_waiting_jobs"] == [], "nothing is said of what is not known"
    assert families["vidask_jobs"]


def test_a_port_that_is_taken_is_said_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InvalidSettings) as refused, _opened(metrics_port=port):
            pass
    assert str(refused.value) == f"metrics_port: {port} is taken on 127.0.0.1; choose another"


def test_an_address_of_another_host_is_said_in_a_line() -> None:
    port = free_port()
    with pytest.raises(InvalidSettings) as refused, _opened(metrics_port=port, metrics_host="192.0.2.1"):
        pass
    said = f"metrics_host: this worker cannot listen on 192.0.2.1:{port}; name an address of this host, and a port above 1023"
    assert str(refused.value) == said


def test_the_port_is_free_again_when_the_worker_has_ended() -> None:
    port = free_port()
    with _opened(metrics_port=port):
        assert not is_free(port)
    assert is_free(port)


def test_a_port_that_is_none_is_refused_with_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDASK_METRICS_PORT", "70000")
    with pytest.raises(InvalidSettings, match=r"metrics_port: .*65535"):
        Settings.from_environment()


def test_without_a_port_there_are_none() -> None:
    with _opened() as metrics:
        assert metrics is NO_METRICS


def _opened(**settings: Any) -> Any:
    return open_metrics(Settings(**settings), connect("redis://127.0.0.1:1/0"))
