"""The whole system: Redis, a worker with its engine and Chroma in it, and a producer."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import redis

from benchmarks.engine.options import FOLDER_VARIABLE, Options
from benchmarks.engine.workload import Question
from vidask import Answer, Client
from worker.embedded import redis_server, worker_process

#: No single question takes longer, seconds; a part's own limit comes long before, where it has a shorter one.
TOOK_LIMIT_S = 900.0


@dataclass(frozen=True)
class System:
    """A Redis with a worker that is ready, and who talks to it."""

    client: Client
    redis: redis.Redis
    url: str
    worker: subprocess.Popen[bytes]


@contextmanager
def running_system(
    options: Options, *, log: str, app: str = "benchmarks.engine.app", env: dict[str, str] | None = None
) -> Iterator[System]:
    """The system, until the block is left; the worker's output goes to the file `log`.

    Raises:
        StoreUnavailable: the worker did not start.
    """
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(options.running / "redis"))
        worker = stack.enter_context(
            worker_process(url, app=app, env=_environment(options) | (env or {}), log=new_log(options, log))
        )
        connection = stack.enter_context(redis.Redis.from_url(url, decode_responses=True))
        yield System(stack.enter_context(Client(url)), connection, url, worker)


def new_log(options: Options, name: str) -> Path:
    """An empty file for a process's output."""
    path = options.folder / name
    path.unlink(missing_ok=True)
    return path


def _environment(options: Options) -> dict[str, str]:
    return {
        FOLDER_VARIABLE: options.out,
        "VIDASK_CHROMA_PATH": str(options.chroma),
        "VIDASK_EMBEDDING_DEVICE": options.embedding_device,
        "VLLM_MODEL_PATH": options.model,
        "VLLM_CONFIG": json.dumps(options.engine),
    }


def ask_all(client: Client, asked: Sequence[Question]) -> tuple[list[Answer], float]:
    """All at once; returns the answers and the seconds that it took."""
    begun = time.perf_counter()
    jobs = [question.ask(client) for question in asked]
    answers = [job.result(timeout_s=TOOK_LIMIT_S) for job in jobs]
    return answers, time.perf_counter() - begun


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Tokens a job, and the seconds of each stage."""
    stages = {stage: sorted(answer.timings_s[stage] for answer in answers) for stage in answers[0].timings_s}
    return {
        "prompt_tokens": mean(answer.usage.prompt_tokens for answer in answers),
        "completion_tokens": mean(answer.usage.completion_tokens for answer in answers),
        "stages_s": {
            stage: {"mean": mean(taken), "p50": median(taken), "p95": percentile(taken, 95)}
            for stage, taken in stages.items()
        },
    }


def percentile(taken: Sequence[float], per_cent: float) -> float:
    """The value that so many per cent of the sorted `taken` do not exceed."""
    return taken[min(len(taken) - 1, int(len(taken) * per_cent / 100))]
