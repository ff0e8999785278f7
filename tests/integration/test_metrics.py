"""What a real worker shows to Prometheus, what the dashboard asks of it, and what it writes to its log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from tests.by_hand import WorkerByHand, worker_by_hand
from tests.redis_users import as_worker, redis_with_users
from tests.support import LECTURE, plain_celery, wait_for
from vidask import Client, Job, JobFailed, JobQuarantined, keys
from worker.claims import Claims
from worker.embedded import free_port, worker_process
from worker.prometheus import PrometheusMetrics
from worker.sweep import Sweep

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana-dashboard.json"
QUESTIONS = keys.line("ask")
LEASE_S = 0.2


@dataclass(frozen=True)
class Measured:
    """A worker with metrics and a log of JSON."""

    client: Client
    control: Celery
    page: str
    log: Path

    def text(self) -> str:
        return httpx.get(self.page, timeout=30).text

    def families(self) -> dict[str, Any]:
        """What Prometheus gets, by name."""
        return {family.name: family for family in text_string_to_metric_families(self.text())}

    def value(self, name: str, **labels: str) -> float:
        samples = [sample for family in self.families().values() for sample in family.samples]
        return sum(
            sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def ended(self, outcome: str, kind: str = "ask") -> float:
        return self.value("vidask_jobs_total", kind=kind, outcome=outcome)

    def lines(self) -> list[dict[str, Any]]:
        """What the log says; a line that is just being written is left out."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def lines_of(self, job: Job[Any]) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("job_id") == job.id]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder, port = tmp_path_factory.mktemp("measured"), free_port()
    env = {
        "VIDASK_CHROMA_PATH": str(folder / "chroma"),
        "VIDASK_METRICS_PORT": str(port),
        "VIDASK_LOG_FORMAT": "json",
    }
    with ExitStack() as stack:
        url = stack.enter_context(redis_with_users(folder / "redis"))
        stack.enter_context(worker_process(as_worker(url), env=env, log=folder / "worker.log"))
        client = stack.enter_context(Client(url, tenant="acme"))
        client.index_transcript("talk", text=LECTURE).result(60)
        control = stack.enter_context(plain_celery(url))
        yield Measured(client, control, f"http://127.0.0.1:{port}/metrics", folder / "worker.log")


@pytest.fixture
def unknown(measured: Measured) -> Job[Any]:
    """A question that has failed."""
    job = measured.client.ask("What is pruning?", video_ids=["nowhere"])
    with pytest.raises(JobFailed):
        job.result(60)
    return job


def test_jobs_are_counted_by_how_they_ended_and_steps_are_timed(measured: Measured) -> None:
    before = measured.ended("succeeded"), measured.ended("failed")
    steps = ("contextualize", "retrieve", "respond")
    for _ in range(3):
        measured.client.ask("What is pruning?").result(60)
    with pytest.raises(JobFailed):
        measured.client.ask("What is pruning?", video_ids=["nowhere"]).result(60)
    after = before[0] + 3, before[1] + 1

    def counted() -> list[float]:
        """Of each job one after the other, when whoever waits for it may know its end already."""
        queued = measured.value("vidask_queued_seconds_count", kind="ask")
        timed = [measured.value("vidask_step_seconds_count", kind="ask", step=step) for step in steps]
        indexed = measured.value("vidask_step_seconds_count", kind="index_transcript", step="embed")
        return [measured.ended("succeeded"), measured.ended("failed"), queued, *timed, indexed]

    wait_for("they are counted", lambda: counted() == [*after, sum(after), *[after[0]] * len(steps), 1])


def test_questions_that_nobody_takes_are_seen_to_wait(measured: Measured) -> None:
    measured.control.control.cancel_consumer(keys.QUEUE, reply=True, timeout=20, limit=1)
    try:
        jobs = [measured.client.ask("What is pruning?") for _ in range(3)]
        wait_for("their messages are there", lambda: measured.value("vidask_queue_messages", line=QUESTIONS) == 3)
        assert measured.value("vidask_waiting_jobs", line=QUESTIONS) == 3
        assert 0 < measured.value("vidask_oldest_waiting_seconds", line=QUESTIONS) < 60
    finally:
        measured.control.control.add_consumer(keys.QUEUE, reply=True, timeout=20, limit=1)
    assert all(job.result(60).text for job in jobs)
    assert measured.value("vidask_waiting_jobs") == measured.value("vidask_oldest_waiting_seconds") == 0
    wait_for("nothing runs", lambda: measured.value("vidask_running_jobs") == 0)


def test_the_dashboard_asks_for_what_there_is(measured: Measured) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    families = measured.families().values()
    assert set(re.findall(r"vidask_\w+", asked)) <= {name for family in families for name in _series(family)}
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    assert {label for by in re.findall(r"by \(([^)]*)\)", asked) for label in by.split(", ")} <= labels
    assert set(re.findall(r"(\w+)!?=\"", asked)) <= labels


def _series(family: Any) -> list[str]:
    """The names under which Prometheus keeps it."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
    return [family.name + suffix for suffix in suffixes]


def test_no_label_names_a_tenant_or_a_job(measured: Measured, unknown: Job[Any]) -> None:
    page = measured.text()
    assert "acme" not in page
    assert unknown.id not in page


def test_the_end_of_a_job_is_one_line_of_json(measured: Measured, unknown: Job[Any]) -> None:
    answered = measured.client.ask("What is pruning?")
    answered.result(60)
    wait_for("their ends are in the log", lambda: measured.lines_of(answered) and measured.lines_of(unknown))
    [end] = measured.lines_of(answered)
    assert re.fullmatch(
        rf"job {answered.id}: ask succeeded after \d+\.\d{{3}} s, queued \d+\.\d{{3}} s", end["message"]
    )
    assert (end["level"], end["logger"], end["outcome"]) == ("INFO", "worker.tasks", "succeeded")
    assert (end["kind"], end["attempt"], end["tenant"]) == ("ask", 1, "acme")
    assert 0 < end["seconds"] < 60
    [failure] = measured.lines_of(unknown)
    assert "ask failed (UnknownVideo) after" in failure["message"]
    assert "nowhere" not in str(failure), "what people wrote stays in the row"


def test_nothing_else_is_in_a_log_of_json(measured: Measured) -> None:
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in measured.lines())


def test_the_end_of_a_job_is_one_line_of_text(client: Client, worker_log: Path) -> None:
    job = client.forget("nowhere")
    job.result(60)
    wait_for("its end is in the log", lambda: f"job {job.id}: forget succeeded after" in worker_log.read_text())
    assert worker_log.read_text().count(job.id) == 1


# The same without a worker, whose sweep comes every three seconds.


@dataclass(frozen=True)
class Watch:
    """A worker that looks for what others have lost."""

    hand: WorkerByHand
    client: Client
    sweep: Callable[[], None]
    value: Callable[..., float | None]

    def miss(self, job: Job[Any]) -> None:
        """A worker takes the job and falls silent, and is missed."""
        silent = Claims(self.hand.ledger, self.hand.publisher, lease_s=LEASE_S)
        assert silent.claim(job.id, kind="ask", worker="celery@gpu-1", payload="", tenant="")
        wait_for("its worker is missed", lambda: self.sweep() or job.status() != "running")


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with redis_with_users(tmp_path_factory.mktemp("watch")) as url, worker_by_hand(url) as hand, Client(url) as client:
        metrics = PrometheusMetrics(hand.ledger.redis)
        sweep = Sweep(hand.ledger, hand.publisher, lease_s=LEASE_S, metrics=metrics)
        yield Watch(hand, client, sweep.run, metrics.registry.get_sample_value)


def test_crashes_are_counted_until_the_job_is_set_aside(watch: Watch) -> None:
    job = watch.client.ask("What ends a worker?")
    watch.miss(job)
    watch.miss(job)
    assert (watch.value("vidask_crashes_total"), watch.value("vidask_lease_recoveries_total")) == (2, 2)
    assert watch.value("vidask_messages_sent_again_total") == 2
    watch.miss(job)
    with pytest.raises(JobQuarantined):
        job.result(5)
    assert (watch.value("vidask_crashes_total"), watch.value("vidask_lease_recoveries_total")) == (3, 2)
    assert watch.value("vidask_jobs_total", {"kind": "ask", "outcome": "quarantined"}) == 1
    assert watch.value("vidask_quarantined_jobs") == 1


def test_a_question_whose_deadline_passes_in_the_queue_is_counted(watch: Watch) -> None:
    job = watch.client.ask("Too late?", deadline_s=0.2)
    wait_for("it has expired", lambda: watch.sweep() or job.status() == "expired")
    assert watch.value("vidask_jobs_total", {"kind": "ask", "outcome": "expired"}) == 1
    assert watch.value("vidask_queued_seconds_count", {"kind": "ask"}) == 0, "nobody took it"
