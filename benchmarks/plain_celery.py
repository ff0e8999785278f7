"""Plain Celery, as one sets it up where jobs must not be lost: what vidask is measured against."""

from __future__ import annotations

import os
from typing import Literal

from celery import Celery

#: Returns its argument (`benchmarks.echo_app`).
ECHO_TASK = "benchmarks.echo"


def plain_app(pool: Literal["threads", "solo"], concurrency: int = 1) -> Celery:
    """Celery as one sets it up: Redis as broker and result store, late acks."""
    url = os.environ["VIDASK_REDIS_URL"]
    changes = {
        "worker_pool": pool,
        "worker_concurrency": concurrency,
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
    }
    return Celery("baseline", broker=url, backend=url, changes=changes)
