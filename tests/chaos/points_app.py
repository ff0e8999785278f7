"""A worker that kills itself, once, at a point that a file names: real Redis, Celery, Chroma; vectors and answers without a model.

celery -A tests.chaos.points_app worker
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from config import Settings
from pipeline import chain
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from tests.services import with_a_store
from vidask.ledger import Ledger
from worker.claims import Claims
from worker.factory import create_app
from worker.tasks import JobTask
from worker.transport import Transport

_file = Path(os.environ["VIDASK_TEST_POINT"])


def _pass(point: str) -> None:
    if _file.exists() and _file.read_text() == point:
        _file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _dies(owner: Any, name: str, *, before: str = "", after: str = "") -> None:
    """Have a function be a point, at its begin, or at its end."""
    call: Callable[..., Any] = getattr(owner, name)

    @wraps(call)
    def dying(*args: Any, **kwargs: Any) -> Any:
        _pass(before)
        made = call(*args, **kwargs)
        _pass(after)
        return made

    setattr(owner, name, dying)


_dies(Transport, "_deliver", before="after the pop")
_dies(Claims, "claim", before="before the claim", after="after the claim")
_dies(chain, "acontextualize_query", before="contextualizing")
_dies(VideoRetriever, "ainvoke", before="retrieving")
_dies(chain, "aget_response", before="responding")
_dies(ChromaStore, "replace", after="after the upsert")
_dies(Ledger, "finish", before="before the result is stored", after="after the result is stored")
_dies(JobTask, "run", after="before the ack")


app = create_app(Settings.from_environment(), with_a_store)
