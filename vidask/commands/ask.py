"""`vidask ask`: one question, or the next one of a conversation."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape
from rich.status import Status

from vidask.client import Client
from vidask.clock import parse_clock, place
from vidask.commands.history import read_history, write_history
from vidask.commands.output import AsJson, err, json_line, line, out
from vidask.errors import InvalidFrame, VidaskError
from vidask.frames import Frame
from vidask.jobs import Job
from vidask.models import Answer, Message

#: When to say that no worker has taken the question yet.
_PATIENCE_S = 5.0


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="The question.")],
    video: Annotated[
        list[str] | None, typer.Option(help="Look only in this video; may be given several times.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="A file that keeps the conversation; made if it is not there.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Only what is said after this time, like 1:30.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only what is said before this time.")] = None,
    picture: Annotated[
        list[Path] | None, typer.Option(help="An image file that the question is about; may be given several times.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="How many passages to read.")] = 6,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for the answer; as long as it takes otherwise.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds after which the job is given up, also by the worker.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question and print the answer with the places it comes from."""
    client = cast("Client", ctx.obj)
    said = read_history(history) if history else []
    job = client.ask(
        question,
        video_ids=video or (),
        history=said,
        start_s=None if start is None else parse_clock(start),
        end_s=None if end is None else parse_clock(end),
        top_k=top_k,
        frames=[_read(path) for path in picture or ()],
        deadline_s=deadline,
    )
    shown = out.is_terminal and not as_json
    with _waiting(job) as spinner:
        if shown:
            _stream(job, timeout, spinner)
        answer = job.result(timeout_s=timeout)
    if history:
        write_history(history, [*said, Message("user", question), Message("assistant", answer.text)])
    if as_json:
        json_line({"job_id": job.id, "question": question, **answer.model_dump()})
    elif shown:
        _show_sources(question, answer)
    else:
        line(answer.text)
        for citation in answer.citations:
            line(f"[{citation.number}]\t{place(citation)}\t{citation.text}")


def _read(path: Path) -> Frame:
    """A picture; of no time, since nobody says of which video it is."""
    try:
        return Frame(0.0, path.read_bytes())
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}; name an image file"
        raise InvalidFrame(msg) from None


@contextmanager
def _waiting(job: Job[Answer]) -> Generator[Status]:
    """A spinner on stderr, which says so when nobody takes the job."""

    def look() -> None:
        with suppress(VidaskError):  # whoever waits for the answer meets it as well
            if job.status() == "queued":
                spinner.update("Still queued after 5 s; is a worker running?")

    with err.status("Waiting for the answer…") as spinner:
        timer = threading.Timer(_PATIENCE_S, look)
        timer.start()
        try:
            yield spinner
        finally:
            timer.cancel()


def _stream(job: Job[Answer], timeout: float | None, spinner: Status) -> None:
    """Print the text as it comes."""
    begun = False
    try:
        for event in job.stream(timeout_s=timeout):
            spinner.stop()
            begun = True
            if event.kind == "restart":
                out.print("\n[dim]The worker was lost; the answer starts again.[/dim]")
            out.print(event.text, end="", markup=False, emoji=False)
    finally:
        if begun:
            out.print()


def _show_sources(question: str, answer: Answer) -> None:
    if answer.standalone_question != question:
        out.print(f"[dim]Understood as: {escape(answer.standalone_question)}[/dim]")
    for citation in answer.citations:
        out.print(f"  [bold cyan]{escape(f'[{citation.number}]')} {escape(place(citation))}[/bold cyan]")
