"""`vidask status`, `vidask cancel`, `vidask forget`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, cast

import typer

from vidask.client import Client
from vidask.commands.output import AsJson, complain, err, json_line, line

JobIdArgument = Annotated[str, typer.Argument(help="The job's id.")]


def status(ctx: typer.Context, job_id: JobIdArgument, as_json: AsJson = False) -> None:
    """Print a job's state: queued, running, succeeded, failed, cancelled, expired or quarantined. Of frames, how many are done."""
    job = cast("Client", ctx.obj).job(job_id)
    state, progress = job.status(), job.progress()
    of_frames = progress.total > 1
    if as_json:
        json_line({"job_id": job_id, "status": state} | ({"progress": asdict(progress)} if of_frames else {}))
    else:
        line(f"{state}, {progress.done} of {progress.total} frames" if of_frames else state)


def cancel(ctx: typer.Context, job_id: JobIdArgument, as_json: AsJson = False) -> None:
    """Cancel a job, queued or running; exit status 1 where it had ended already."""
    job = cast("Client", ctx.obj).job(job_id)
    cancelled = job.cancel()
    state = "cancelled" if cancelled else job.status()
    if as_json:
        json_line({"job_id": job_id, "cancelled": cancelled, "status": state})
    elif cancelled:
        line(state)
    else:
        complain(f"job {job_id} is {state} already; only a job that has not ended can be cancelled")
    raise typer.Exit(0 if cancelled else 1)


def forget(
    ctx: typer.Context,
    video_id: Annotated[str, typer.Argument(help="The video's id.")],
    as_json: AsJson = False,
) -> None:
    """Remove all that was indexed of a video, and wait until it is gone."""
    job = cast("Client", ctx.obj).forget(video_id)
    with err.status("Waiting…"):
        report = job.result()
    if as_json:
        json_line({"job_id": job.id, **report.model_dump()})
    else:
        line(f"{video_id}: {report.removed} chunks removed")
