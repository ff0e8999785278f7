"""`vidask quarantine`: what to do with the jobs that were set aside because worker after worker ended while it ran them."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import typer

from vidask.client import Client
from vidask.commands.jobs import JobIdArgument
from vidask.commands.output import AsJson, complain, json_line, line
from vidask.errors import InvalidJob, JobNotFound
from vidask.jobs import Job
from vidask.quarantine import InspectedJob, QuarantinedJob

app = typer.Typer(
    help="Look at the jobs that were set aside because worker after worker ended while it ran them; replay or drop them.",
    no_args_is_help=True,
)


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the jobs in quarantine, newest first: id, since when, how often a worker ended, kind."""
    for job in _quarantined(cast("Client", ctx.obj)):
        if as_json:
            json_line(asdict(job))
        else:
            line(f"{job.job_id}\t{_time(job.since_s)}\t{job.crashes} crashes\t{job.kind}")


@app.command()
def show(ctx: typer.Context, job_id: JobIdArgument, as_json: AsJson = False) -> None:
    """Show a job in quarantine: what ended with it, and its payload. Characters that cannot be seen are escaped."""
    client = cast("Client", ctx.obj)
    job = client.job(job_id).inspect()
    payload = json.loads(job.payload)
    if as_json:
        line(_visible_json({**asdict(job), "tenant": client.tenant, "payload": payload}))
        return
    for name, value in _described(job, client.tenant).items():
        line(f"{name:<8} {value}")
    line(_visible_json(payload, indent=2))


@app.command()
def replay(
    ctx: typer.Context,
    job_id: Annotated[str | None, typer.Argument(help="The job's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All jobs in quarantine, the oldest first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a job in quarantine to the workers again. A question's deadline counts anew."""
    client = cast("Client", ctx.obj)
    jobs = [client.job(each) for each in _named(client, job_id, everything=everything)]
    failed = [job for job in jobs if not _replayed(job, as_json=as_json)]
    raise typer.Exit(1 if failed else 0)


@app.command()
def drop(ctx: typer.Context, job_id: JobIdArgument, as_json: AsJson = False) -> None:
    """Remove a job in quarantine for good."""
    cast("Client", ctx.obj).job(job_id).drop()
    if as_json:
        json_line({"job_id": job_id, "dropped": True})
    else:
        line(f"{job_id}\tdropped")


def _quarantined(client: Client) -> list[QuarantinedJob]:
    found = client.quarantined()
    if not found:
        complain(f"no job of tenant {client.tenant!r} is in quarantine")
    return found


def _named(client: Client, job_id: str | None, *, everything: bool) -> list[str]:
    if everything and job_id is None:
        return [job.job_id for job in reversed(_quarantined(client))]
    if everything or job_id is None:
        msg = "give either the id of a job or --all; 'vidask quarantine list' names the jobs"
        raise InvalidJob(msg)
    return [job_id]


def _replayed(job: Job[Any], *, as_json: bool) -> bool:
    """Whether it was; of several, one that somebody else took out meanwhile keeps none of the others."""
    try:
        job.replay()
    except (InvalidJob, JobNotFound) as error:
        complain(str(error))
        return False
    if as_json:
        json_line({"job_id": job.id, "status": "queued"})
    else:
        line(f"{job.id}\tqueued")
    return True


def _described(job: InspectedJob, tenant: str) -> dict[str, object]:
    return {
        "job": job.job_id,
        "kind": job.kind,
        "tenant": tenant,
        "crashes": job.crashes,
        "since": _time(job.since_s),
        "worker": job.worker,
        "error": job.error,
    }


def _time(at_s: float) -> str:
    """In the zone of whoever reads it."""
    return datetime.fromtimestamp(at_s, UTC).astimezone().isoformat(" ", "seconds")


def _visible_json(value: object, *, indent: int | None = None) -> str:
    """JSON in which nothing is hidden from the eye, nor done to the terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
