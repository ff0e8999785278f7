"""The baselines: plain Celery with the engine behind HTTP, in batches, and one task at a time."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import mean
from typing import Any

import redis
from celery import Celery

from benchmarks.engine.baseline import SERVED_MODEL, SERVER_VARIABLE, TASK
from benchmarks.engine.options import FOLDER_VARIABLE, Options
from benchmarks.engine.results import results
from benchmarks.engine.system import TOOK_LIMIT_S, new_log
from benchmarks.engine.workload import Question, questions, warm_up_questions
from vidask.errors import ModelUnavailable
from worker.embedded import child_process, free_port, redis_server, wait_until, worker_process

#: One at a time takes seconds a job; a few are enough to know how many.
_FEW = 16


def http(options: Options) -> dict[str, Any]:
    """Threads, and vLLM's server in a process of its own."""
    with _server(options) as address:
        return _measure(options, "http", questions(options.jobs), {SERVER_VARIABLE: address})


def batches(options: Options) -> dict[str, Any]:
    """64 tasks in one call."""
    return _measure(options, "batches", questions(options.jobs))


def one(options: Options) -> dict[str, Any]:
    """One task at a time, and fewer of them."""
    return _measure(options, "one", questions(options.jobs)[:_FEW])


def _measure(
    options: Options, name: str, asked: list[Question], env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    app, log = f"benchmarks.engine.{name}_app", new_log(options, f"{name}.worker.log")
    with (
        redis_server(options.running / "redis") as url,
        redis.Redis.from_url(url, decode_responses=True) as connection,
        Celery(broker=url) as celery,
        worker_process(url, app=app, env={FOLDER_VARIABLE: options.out, **(env or {})}, log=log),
    ):
        _ask_all(celery, connection, warm_up_questions())
        begun = time.perf_counter()
        answers = _ask_all(celery, connection, asked)
        took_s = time.perf_counter() - begun
    return {
        "jobs_per_s": len(answers) / took_s,
        "took_s": took_s,
        "prompt_tokens": mean(answer["prompt_tokens"] for answer in answers),
        "completion_tokens": mean(answer["completion_tokens"] for answer in answers),
    }


def _ask_all(celery: Celery, connection: redis.Redis, asked: Sequence[Question]) -> list[dict[str, Any]]:
    sent = [celery.send_task(TASK, args=[question.as_json()]).id for question in asked]
    return results(connection, sent, TOOK_LIMIT_S)


@contextmanager
def _server(options: Options) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *_flags(options.engine)]
    command += [
        "--model",
        options.model,
        "--served-model-name",
        SERVED_MODEL,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--disable-uvicorn-access-log"]
    log = new_log(options, "http.server.log")
    with child_process(command, log=log) as process:
        wait_until(lambda: _healthy(port), process, ModelUnavailable(f"vLLM's server did not start; its log is {log}"))
        yield f"http://127.0.0.1:{port}/v1"


def _flags(engine: Mapping[str, Any]) -> Iterator[str]:
    for name, value in engine.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            yield from (f"--{flag}", value if isinstance(value, str) else json.dumps(value))


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as reply:
            return reply.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
