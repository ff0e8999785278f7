"""`vidask ask`: one question, or the next one of a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape

from vidask.client import Client
from vidask.clock import parse_clock, place
from vidask.commands.history import read_history, write_history
from vidask.commands.output import AsJson, err, json_line, line, out
from vidask.models import Answer, Message


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
    top_k: Annotated[int, typer.Option(help="How many passages to read.")] = 6,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for the answer; as long as it takes otherwise.")
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
    )
    with err.status("Waiting for the answer…"):
        answer = job.result(timeout_s=timeout)
    if history:
        write_history(history, [*said, Message("user", question), Message("assistant", answer.text)])
    if as_json:
        json_line({"job_id": job.id, "question": question, **answer.model_dump()})
    else:
        _show(question, answer)


def _show(question: str, answer: Answer) -> None:
    if not out.is_terminal:
        line(answer.text)
        for citation in answer.citations:
            line(f"[{citation.number}]\t{place(citation)}\t{citation.text}")
        return
    if answer.standalone_question != question:
        out.print(f"[dim]Understood as: {escape(answer.standalone_question)}[/dim]")
    out.print(escape(answer.text))
    for citation in answer.citations:
        out.print(f"  [bold cyan]{escape(f'[{citation.number}]')} {escape(place(citation))}[/bold cyan]")
