"""A plain Celery worker whose tasks return their argument: the least that a queue can do.

celery -A benchmarks.echo_app worker
"""

from benchmarks.plain_celery import ECHO_TASK, plain_app
from config import Settings
from worker.concurrency import jobs_in_flight

app = plain_app("threads", jobs_in_flight(Settings.from_environment()))


@app.task(name=ECHO_TASK)
def echo(question: str) -> str:
    """What it was given."""
    return question
