"""`vidask batch`: questions from a file of JSON lines, answers into another; started again, it goes on where it stopped.

A run keeps its name in `<out>.run` until it is complete. Every question's job id follows from that name and the question's line,
so a question that was queued before an interruption is the same job afterwards, and is not asked twice.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from vidask.client import Client
from vidask.commands.output import AsJson, complain, json_line, line, progress
from vidask.errors import InvalidJob, JobError
from vidask.frames import Frame
from vidask.jobs import Job
from vidask.models import Answer, AskJob
from vidask.validation import parse_json

_IN_FLIGHT = 64
_MAX_SHOWN_CHARS = 80


@dataclass(frozen=True)
class _Asked:
    """A line of the questions' file on its way: a job, or why there is none."""

    number: int
    question: str
    job: Job[Answer] | None
    error: str = ""


def batch(
    ctx: typer.Context,
    questions: Annotated[
        Path, typer.Argument(help='JSON lines: {"question": …, "video_ids": […], "history": […], …}.')
    ],
    out: Annotated[Path, typer.Option(help="Where the answers go: one JSON line a question, in the questions' order.")],
    as_json: AsJson = False,
) -> None:
    """Ask all the questions of a file. Lines that cannot be read are named; the others are asked."""
    client = cast("Client", ctx.obj)
    lines = _read(questions)
    run, done = _resume(out)
    failed = 0
    with out.open("a", encoding="utf-8") as answers:
        for asked in progress(_ask_all(client, run, lines[done:], done), len(lines) - done, "Answering"):
            failed += not _write(answers, asked)
    _run_file(out).unlink()
    summary = {"questions": len(lines), "asked_now": len(lines) - done, "failed": failed}
    if as_json:
        json_line(summary)
    else:
        line(f"{len(lines)} questions, {len(lines) - done} asked now, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _read(questions: Path) -> list[str]:
    try:
        return _lines(questions.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidJob(f"{questions} cannot be read ({error}); it holds JSON lines in UTF-8") from None


def _resume(out: Path) -> tuple[str, int]:
    """The name of the run, and how many lines it has answered; a line cut off by a crash is removed and answered again."""
    run_file = _run_file(out)
    if not run_file.exists():
        if out.exists() and out.stat().st_size:
            raise InvalidJob(f"{out} is a finished run's; move it away, or name another --out")
        run_file.write_text(str(uuid.uuid4()))
    if not out.exists():
        return run_file.read_text(), 0
    written = out.read_text(encoding="utf-8")
    whole = written[: written.rfind("\n") + 1]
    out.write_text(whole, encoding="utf-8")
    return run_file.read_text(), len(_lines(whole))


def _lines(text: str) -> list[str]:
    """Not `splitlines`, which also breaks at characters that JSON strings may hold."""
    return text.removesuffix("\n").split("\n") if text else []


def _run_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.run")


def _ask_all(client: Client, run: str, lines: list[str], done: int) -> Iterator[_Asked]:
    """Keep enough questions on the queue, and hand them back in their order."""
    waiting: deque[_Asked] = deque()
    for number, text in enumerate(lines, start=done + 1):
        waiting.append(_ask(client, run, number, text))
        if len(waiting) == _IN_FLIGHT:
            yield waiting.popleft()
    yield from waiting


def _ask(client: Client, run: str, number: int, text: str) -> _Asked:
    try:
        asked = parse_json(AskJob, text)
        fields: dict[str, Any] = asked.model_dump(exclude={"schema_version", "tenant", "history", "sampling", "frames"})
        frames = [Frame(frame.time_s, path=frame.path) for frame in asked.frames]  # a line of text holds no pictures
        job_id = str(uuid.uuid5(uuid.UUID(run), f"{number} {text}"))
        job = client.ask(**fields, history=asked.history, sampling=asked.sampling, frames=frames, job_id=job_id)
        return _Asked(number, asked.question, job)
    except InvalidJob as error:
        return _Asked(number, text[:_MAX_SHOWN_CHARS], None, f"line {number}: {error}")


def _write(answers: TextIO, asked: _Asked) -> bool:
    """One line for a question, as soon as it is answered; whether it was."""
    record: dict[str, Any] = {"line": asked.number, "question": asked.question}
    try:
        if asked.job is None:
            record |= {"status": "invalid", "error": asked.error}
        else:
            record |= {"job_id": asked.job.id, "status": "succeeded", "answer": asked.job.result().model_dump()}
    except JobError as error:
        record |= {"status": "failed", "error": f"line {asked.number}: {error}"}
    answers.write(json.dumps(record, ensure_ascii=False) + "\n")
    answers.flush()
    if "error" in record:
        complain(record["error"])
    return "error" not in record
