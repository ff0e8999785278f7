"""The command `vidask`: index transcripts, ask, look after jobs, from a terminal or a script."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vidask.client import Client
from vidask.commands import ask, batch, index, index_frames, jobs, quarantine
from vidask.connection import DEFAULT_URL
from vidask.errors import VidaskError

app = typer.Typer(
    name="vidask",
    help="Ask questions about videos. Jobs go to the queue of a Redis; a worker answers them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(index.index)
app.command()(index_frames.index_frames)
app.command()(ask.ask)
app.command()(batch.batch)
app.command()(jobs.status)
app.command()(jobs.cancel)
app.command()(jobs.forget)
app.add_typer(quarantine.app, name="quarantine")


@app.callback()
def connect(
    ctx: typer.Context,
    redis_url: Annotated[
        str, typer.Option(envvar="VIDASK_REDIS_URL", help="Where the queue is.", show_default=True)
    ] = DEFAULT_URL,
    tenant: Annotated[str, typer.Option(envvar="VIDASK_TENANT", help="Whose videos and jobs these are.")] = "default",
) -> None:
    """Open the client that the command works with."""
    ctx.obj = ctx.with_resource(Client(redis_url, tenant=tenant))


def main() -> None:
    """Run the command; what is wrong is one line on stderr and exit status 1."""
    try:
        app()
    except VidaskError as error:
        print(f"vidask: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    except BrokenPipeError:  # `vidask … | head` has seen enough
        sys.stderr.close()
