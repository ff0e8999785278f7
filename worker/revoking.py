"""Celery's `revoke`, for jobs: it cancels them as `Job.cancel` does, those that run as well.

Celery's own marks the result as revoked whatever the job is doing, and cannot stop a thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from celery.utils.functional import maybe_list
from celery.worker import state as worker_state
from celery.worker.control import control_command

from vidask.ledger import Outcome
from worker.tasks import JobTask, kind_of, tenant_of

if TYPE_CHECKING:
    from worker.factory import WorkerApp


@control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: str | Iterable[str], **_: object) -> dict[str, str]:
    """Cancel jobs by id. A message without a row, which no worker has seen yet, is dropped when it comes."""
    job_ids = set(maybe_list(task_id) or ())
    worker_state.revoked.update(job_ids)
    cancelled = sorted(job_id for job_id in job_ids if state.app.services.ledger.cancel(job_id))
    return {"ok": f"cancelled: {', '.join(cancelled) or 'none'}"}


def on_revoked(sender: JobTask, request: Any, expired: bool, **_: object) -> None:
    """A message that Celery dropped, because of `revoke` or its own `expires`: its row ends with it, made first if need be."""
    outcome = (
        Outcome("expired", error=f"job {request.id} expired before it was started", error_type="JobExpired")
        if expired
        else Outcome("cancelled", error=f"job {request.id} was revoked", error_type="JobCancelled")
    )
    payload = request.kwargs or {}
    ledger = cast("WorkerApp", sender.app).services.ledger
    ledger.create(request.id, kind_of(sender), tenant_of(payload), json.dumps(payload))
    ledger.finish(request.id, outcome, expected="queued")
