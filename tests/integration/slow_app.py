"""A worker whose answers take as long as a test likes, and say which process gave them. There are no models in it.

celery -A tests.integration.slow_app worker
"""

from __future__ import annotations

import asyncio
import os
import signal

import redis
from celery import signals
from langchain_core.runnables import Runnable, RunnableLambda

from config import Settings
from tests.redis_users import as_admin
from tests.services import answered_by
from vidask.connection import connect
from vidask.models import Answer, AskJob
from worker.factory import create_app

#: A question that ends the worker.
DIE = "die"
#: What other questions begin with; behind it stands a key of Redis, and as long as there is such a key they are not answered.
WHILE = "while "
#: Ids of the processes that take jobs: a set in Redis.
READY = "slow:ready"
#: Ids of the jobs that a process is done with, whatever came of them: a set in Redis.
DONE_BY = "slow:done:"


_settings = Settings.from_environment()
#: For what is the test's own, which the worker's user may not touch.
_redis = connect(as_admin(_settings.redis_url))


def _chain(_: redis.Redis) -> Runnable[AskJob, Answer]:
    async def answer(job: AskJob) -> Answer:
        if job.question == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        while _redis.exists(job.question.removeprefix(WHILE)):  # noqa: ASYNC110  another process removes it
            await asyncio.sleep(0.02)
        return Answer(text=f"by {os.getpid()}", standalone_question=job.question, model="slow")

    return RunnableLambda(answer)


app = create_app(_settings, lambda settings: answered_by(settings, _chain))


@signals.worker_ready.connect
def _ready(**_: object) -> None:
    _redis.sadd(READY, os.getpid())


@signals.task_postrun.connect
def _done(task_id: str, **_: object) -> None:
    _redis.sadd(f"{DONE_BY}{os.getpid()}", task_id)
