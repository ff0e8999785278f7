"""`vidask index`: a folder of subtitles becomes one job a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer

from vidask.client import Client
from vidask.commands.naming import named
from vidask.commands.output import AsJson, complain, json_line, line, progress
from vidask.errors import InvalidJob, InvalidTranscript, JobError
from vidask.jobs import Job
from vidask.models import IndexReport, TranscriptFormat
from vidask.subtitles import read_subtitles

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa", ".json")


@dataclass(frozen=True)
class _Queued:
    video_id: str
    job: Job[IndexReport]


def index(
    ctx: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="Subtitle files, or folders of them (srt, vtt, ass, ssa, Whisper's json).")
    ],
    video_id: Annotated[
        str | None, typer.Option(help="The video's id; the file's name without its ending otherwise.")
    ] = None,
    format: Annotated[str | None, typer.Option(help="srt, vtt, ass, ssa or whisper; found out otherwise.")] = None,  # noqa: A002
    wait: Annotated[bool, typer.Option("--wait", help="Wait until everything is indexed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Index subtitle files, one job a file. A file that cannot be read is named; the others are indexed."""
    client = cast("Client", ctx.obj)
    found = named(files, video_id, suffixes=SUFFIXES, kind="subtitles")
    queued: list[_Queued] = []
    failed = 0
    for name, path in progress(found.items(), len(found), "Queueing"):
        try:
            job = client.index_transcript(
                name, text=read_subtitles(path), format=cast("TranscriptFormat | None", format)
            )
        except InvalidJob as error:
            complain(str(error) if isinstance(error, InvalidTranscript) else f"{path}: {error}")
            failed += 1
        else:
            queued.append(_Queued(name, job))
    failed += _wait(queued, as_json=as_json) if wait else _list(queued, as_json=as_json)
    raise typer.Exit(1 if failed else 0)


def _list(queued: list[_Queued], *, as_json: bool) -> int:
    for entry in queued:
        if as_json:
            json_line({"job_id": entry.job.id, "video_id": entry.video_id, "status": "queued"})
        else:
            line(f"{entry.job.id}\t{entry.video_id}\tqueued")
    return 0


def _wait(queued: list[_Queued], *, as_json: bool) -> int:
    """Print each report as it comes; returns how many failed."""
    failed = 0
    for entry in progress(queued, len(queued), "Indexing"):
        try:
            report = entry.job.result()
        except JobError as error:
            complain(f"{entry.video_id}: {error}")
            failed += 1
            continue
        if as_json:
            json_line(
                {"job_id": entry.job.id, "video_id": entry.video_id, "status": "succeeded", **report.model_dump()}
            )
        else:
            line(f"{entry.job.id}\t{entry.video_id}\t{report.segments} cues, {report.chunks} chunks")
            for warning in report.warnings:
                complain(f"{entry.video_id}: {warning}")
    return failed
