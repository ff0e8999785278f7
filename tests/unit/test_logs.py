"""The worker's log as JSON: each line is an object, and says which job it is about."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.loop import EventLoopThread
from worker import logs


class Written:
    """A logger, and the lines that it has written."""

    def __init__(self, log: logging.Logger, stream: io.StringIO) -> None:
        self.log = log
        self._stream = stream

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def written() -> Iterator[Written]:
    log, stream = logging.getLogger("pipeline.test"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    log.addHandler(handler)
    yield Written(log, stream)
    log.removeHandler(handler)


def test_a_line_says_when_and_where(written: Written) -> None:
    begun = datetime.now(UTC)
    written.log.warning("the store has %d\nwords — “so”", 2)
    [line] = written.lines()
    assert begun <= datetime.fromisoformat(line.pop("time")) <= datetime.now(UTC)
    assert line == {"level": "WARNING", "logger": "pipeline.test", "message": "the store has 2\nwords — “so”"}


def test_what_a_jobs_coroutine_says_is_about_the_job(written: Written) -> None:
    async def answer() -> None:
        written.log.warning("trying again")

    def work(job_id: str) -> None:
        logs.begin_job(job_id, "ask")
        logs.note(attempt=1, tenant="acme")
        loop.run(answer())

    with closing(EventLoopThread()) as loop, ThreadPoolExecutor(1) as pool:
        list(pool.map(work, ["first", "second"]))
    assert [(line["job_id"], line["kind"], line["attempt"], line["tenant"]) for line in written.lines()] == [
        ("first", "ask", 1, "acme"),
        ("second", "ask", 1, "acme"),
    ]


def test_a_line_may_have_fields_of_its_own(written: Written) -> None:
    written.log.warning("job j is sent again", extra=logs.fields(job_id="j", tenant="acme"))
    [line] = written.lines()
    assert (line["job_id"], line["tenant"]) == ("j", "acme")


def test_a_bug_is_one_line_with_its_stack_trace(written: Written) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        written.log.exception("internal error")
    [line] = written.lines()
    assert "ZeroDivisionError" in line["exception"]
