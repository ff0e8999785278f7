"""Results of plain Celery tasks, read straight from Redis.

Celery's `AsyncResult` would subscribe to a channel a task, and hang at the end of the process where Redis has ended before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, cast

import redis

from vidask.keys import celery_result

_PERIOD_S = 0.01


def results(connection: redis.Redis, task_ids: Sequence[str], limit_s: float) -> list[Any]:
    """What the tasks returned, in their order.

    Raises:
        RuntimeError: one of them failed.
        TimeoutError: they are not done in time.
    """
    deadline, found = time.monotonic() + limit_s, dict[str, Any]()
    while missing := [task_id for task_id in task_ids if task_id not in found]:
        written = cast("list[str | None]", connection.mget([celery_result(task_id) for task_id in missing]))
        found |= {task_id: _returned(meta) for task_id, meta in zip(missing, written, strict=True) if meta}
        if time.monotonic() > deadline:
            msg = f"{len(missing)} of {len(task_ids)} tasks are not done after {limit_s:g} s"
            raise TimeoutError(msg)
        time.sleep(_PERIOD_S)
    return [found[task_id] for task_id in task_ids]


def _returned(meta: str) -> Any:
    fields = json.loads(meta)
    if fields["status"] != "SUCCESS":
        msg = f"a task ended as {fields['status']}: {fields['result']}"
        raise RuntimeError(msg)
    return fields["result"]
