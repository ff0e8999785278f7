"""The worker's log: lines of text or of JSON, and which job each of them is about.

The job of a line is found in a context variable, which a job's coroutine inherits from the thread that starts it. So the lines of
`pipeline`, which knows of no jobs, belong to one as well.
"""

from __future__ import annotations

import json
import logging
import logging.config
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from config import Settings

_job: ContextVar[dict[str, object]] = ContextVar("job")


def begin_job(job_id: str, kind: str) -> None:
    """The lines of this thread, and of the coroutines that it starts, are about this job from here on."""
    _job.set({"job_id": job_id, "kind": kind})


def note(**known: object) -> None:
    """What else is known of that job by now."""
    _job.get({}).update(known)


def fields(**values: object) -> dict[str, object]:
    """What a line of JSON says in fields of its own: `log.info("…", extra=fields(outcome="failed"))`."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC, ISO 8601), `level`, `logger`, `message`, then the job's, and those of `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_job.get({}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up_logging(settings: Settings) -> None:
    """Celery's own set-up would need `--loglevel`."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
                "json": {"()": JsonFormatter},
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": settings.log_format}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "celery.apps.worker": {"level": settings.log_level},  # that it is ready for jobs
                "celery.worker": {"level": settings.log_level},
                "celery.worker.consumer.consumer": {"level": "ERROR"},  # `worker.consumer` says it in a line
                "celery.app.trace": {"level": "ERROR"},  # a job that goes back to the queue is no stack trace's matter
                "celery.worker.strategy": {"level": "WARNING"},  # its line a job says less than ours at the job's end
                "pipeline": {"level": settings.log_level},
                "worker": {"level": settings.log_level},
            },
        }
    )


def write_json_alone(worker: Any, settings: Settings) -> None:
    """Keep from the output what Celery writes as text when it starts, before it sets up any logging: a banner, and warnings."""
    worker.quiet = True
    set_up_logging(settings)
    logging.captureWarnings(capture=True)
