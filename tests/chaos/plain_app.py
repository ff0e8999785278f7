"""The drill's work as a plain Celery app, as it is set up where jobs must not be lost: late acknowledgement, redelivery.

celery -A tests.chaos.plain_app worker
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import cast

from celery import Celery, Task, signals

from tests.chaos.records import Records
from tests.chaos.work import RECORDS, answer_of, die, parse

TASK = "chaos.work"

records = Records(Path(os.environ[RECORDS]), "worker")
_executions = itertools.count(1)

app = Celery("plain", broker=os.environ["VIDASK_REDIS_URL"], backend=os.environ["VIDASK_REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_pool="threads",
    worker_concurrency=int(os.environ["VIDASK_CONCURRENCY"]),
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name=TASK, bind=True)
def do(self: Task, question: str) -> str:
    """One job."""
    job_id, execution = cast("str", self.request.id), next(_executions)
    records.note("started", job=job_id, attempt=execution)
    work = parse(question)
    time.sleep(work.seconds)
    if work.poison:
        records.note("poison", job=job_id, attempt=execution)
        die()
    self.request.update(execution=execution)
    return answer_of(job_id, execution)


@signals.worker_ready.connect
def _ready(**_: object) -> None:
    records.note("ready")


@signals.task_postrun.connect
def _done(task: Task, task_id: str, **_: object) -> None:
    execution: int | None = task.request.get("execution")
    if execution is not None:
        records.note("done", job=task_id, attempt=execution)
