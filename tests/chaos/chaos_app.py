"""A worker of ours whose chain does the drill's work, and notes each execution.

celery -A tests.chaos.chaos_app worker
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

from celery import Task, signals
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import Runnable, RunnableConfig

from config import Settings
from tests.chaos.records import Records
from tests.chaos.work import RECORDS, answer_of, die, parse
from tests.services import answered_by
from vidask.models import Answer, AskJob
from worker.claims import Claim
from worker.factory import create_app
from worker.services import Services
from worker.streams import JobStream

records = Records(Path(os.environ[RECORDS]), "worker")


class _Chain(Runnable[AskJob, Answer]):
    def invoke(self, input: AskJob, config: RunnableConfig | None = None, **_: Any) -> Answer:  # noqa: A002
        raise NotImplementedError

    async def ainvoke(self, input: AskJob, config: RunnableConfig | None = None, **_: Any) -> Answer:  # noqa: A002
        claim = _claim_in(config)
        records.note("started", job=claim.job_id, attempt=claim.attempt, at_s=_claimed_at_s(claim))
        work = parse(input.question)
        await asyncio.sleep(work.seconds)
        if work.poison:
            records.note("poison", job=claim.job_id, attempt=claim.attempt)
            die()
        text = answer_of(claim.job_id, claim.attempt)
        return Answer(text=text, standalone_question=input.question, model="chaos")


def _claim_in(config: RunnableConfig | None) -> Claim:
    stream = cast("JobStream", (config or {}).get("configurable", {})["reader"])
    return stream.claim


def _claimed_at_s(claim: Claim) -> float:
    """On the drill's clock. A worker that is stopped between a claim and the work does the work when it goes on, as cut off."""
    return claim.claimed_at_s + time.monotonic() - time.time()


def open_chaos_services(settings: Settings) -> AbstractContextManager[Services]:
    return answered_by(settings, lambda _: _Chain(), DeterministicFakeEmbedding(size=4))


@signals.worker_ready.connect
def _ready(**_: object) -> None:
    records.note("ready")


@signals.task_postrun.connect
def _done(task: Task, **_: object) -> None:
    claim: Claim | None = task.request.get("claim")
    if claim is not None:
        records.note("done", job=claim.job_id, attempt=claim.attempt)


app = create_app(Settings.from_environment(), open_chaos_services)
