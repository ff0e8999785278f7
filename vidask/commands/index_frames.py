"""`vidask index-frames`: what videos show. Their frames are picked here, and read by the workers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from vidask.client import Client
from vidask.clock import clock, parse_clock
from vidask.commands.naming import named
from vidask.commands.output import AsJson, complain, err, json_line, line
from vidask.errors import InvalidJob, JobError, WaitTimeout
from vidask.frames_job import FramesJob
from vidask.models import FramesReport

if TYPE_CHECKING:
    from vidask.video import OnProgress, PickedFrames

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".mpg", ".mpeg", ".m2ts", ".ogv", ".3gp")

#: How often the bar of what the workers do moves, seconds.
_LOOK_AGAIN_S = 0.5


@dataclass(frozen=True)
class _Queued:
    video_id: str
    job: FramesJob
    picked: PickedFrames

    @property
    def counts(self) -> str:
        return f"{self.picked.decoded} frames decoded, {self.picked.kept} kept, {self.picked.dropped} dropped"

    def as_json(self, status: str) -> dict[str, Any]:
        """What is known of it before the workers report."""
        return {
            "job_id": self.job.id,
            "job_ids": self.job.job_ids,
            "video_id": self.video_id,
            "status": status,
            "decoded": self.picked.decoded,
            "kept": self.picked.kept,
            "dropped": self.picked.dropped,
        }


def index_frames(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Video files, or folders of them (mp4, mkv, webm, mov, avi …).")],
    video_id: Annotated[
        str | None, typer.Option(help="The video's id; the file's name without its ending otherwise.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="Look at a frame each so often, like 5s or 1:30, in place of scene changes.")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="Keep so many frames of a video at most, those that change most.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until everything is indexed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Index what videos show: each slide and each scene. A file that cannot be read is named; the others are indexed."""
    from vidask.video import pick_frames  # noqa: PLC0415  an extra, that the other commands do without

    client = cast("Client", ctx.obj)
    every_s = None if every is None else parse_clock(every.removesuffix("s"))
    queued: list[_Queued] = []
    found = named(files, video_id, suffixes=SUFFIXES, kind="videos")
    for name, path in found.items():
        with _bar(f"Reading {path.name}") as move:
            picked = pick_frames(path, every_s=every_s, max_frames=max_frames, on_progress=move)
            queued += _queue(client, name, path, picked)
    failed = len(found) - len(queued)
    failed += _wait(queued, as_json=as_json) if wait else _list(queued, as_json=as_json)
    raise typer.Exit(1 if failed else 0)


def _queue(client: Client, name: str, path: Path, picked: PickedFrames) -> list[_Queued]:
    """The file's job, if it can be read."""
    try:
        frames = list(picked)
    except InvalidJob as error:
        complain(str(error))
        return []
    for warning in picked.warnings:
        complain(f"{path}: {warning}")
    try:
        job = client.index_frames(name, frames, duration_s=picked.duration_s)
    except InvalidJob as error:
        complain(f"{path}: {error}")
        return []
    return [_Queued(name, job, picked)]


def _list(queued: list[_Queued], *, as_json: bool) -> int:
    for entry in queued:
        if as_json:
            json_line(entry.as_json("queued"))
        else:
            line(f"{','.join(entry.job.job_ids)}\t{entry.video_id}\t{entry.counts}")
    return 0


def _wait(queued: list[_Queued], *, as_json: bool) -> int:
    """Print each report as it comes; returns how many failed."""
    failed = 0
    for entry in queued:
        try:
            report = _result(entry)
        except JobError as error:
            complain(f"{entry.video_id}: {error}")
            failed += 1
            continue
        _show(entry, report, as_json=as_json)
    return failed


def _result(entry: _Queued) -> FramesReport:
    """Wait for the report, under a bar."""
    with _bar(f"Indexing {entry.video_id}") as move:
        while True:
            try:
                return entry.job.result(timeout_s=_LOOK_AGAIN_S)
            except WaitTimeout:
                progress = entry.job.progress()
                move(progress.done, progress.total)


def _show(entry: _Queued, report: FramesReport, *, as_json: bool) -> None:
    if as_json:
        json_line({**entry.as_json("succeeded"), **report.model_dump()})
        return
    outcome = "superseded" if report.superseded else f"{report.indexed} indexed, {report.captioned} captioned"
    line(f"{','.join(entry.job.job_ids)}\t{entry.video_id}\t{entry.counts}\t{outcome}")
    for problem in report.problems:
        complain(f"{entry.video_id} {clock(problem.time_s)}: {problem.error}")
    for note in report.notes:
        complain(f"{entry.video_id}: {note}")


@contextmanager
def _bar(doing: str) -> Generator[OnProgress]:
    """A bar on stderr, where that is a terminal, and what moves it: how much is done, and of how much if that is known."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(escape(doing), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
        bar.update(task, completed=1, total=1)
