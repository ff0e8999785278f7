"""`python -m worker …`: what belongs to a worker besides working."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from celery.utils.nodenames import default_nodename

from config import Settings
from vidask.connection import DEFAULT_URL
from vidask.errors import VidaskError
from worker.doctor.command import doctor
from worker.embedded import free_port, is_free, redis_server, worker_process
from worker.health import Finding, ask

_USUAL_PORT = 6379

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


app.command()(doctor)


@app.callback()
def main() -> None:
    """What belongs to a worker besides working; the worker itself is `celery -A worker.app worker`."""


@app.command()
def dev(
    folder: Annotated[Path, typer.Option(help="Where Redis and Chroma keep their data.")] = Path("vidask-data"),
) -> None:
    """Start an embedded Redis and a worker with embedded Chroma, and keep them until Ctrl-C."""
    port = _USUAL_PORT if is_free(_USUAL_PORT) else free_port()
    env = {"VIDASK_CHROMA_PATH": str(folder / "chroma")}
    with redis_server(folder / "redis", port=port) as url:
        typer.echo(f"Redis is up at {url}; the worker is starting …")
        with worker_process(url, env=env) as worker:
            typer.echo(_welcome(url))
            with suppress(KeyboardInterrupt):
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                worker.wait()
            typer.echo("Stopping …")


@app.command()
def health(
    hostname: Annotated[str, typer.Option(help="The worker's name where it was started with one: celery@NAME.")] = "",
    timeout: Annotated[float, typer.Option(help="How long to wait, seconds.", min=1)] = 25.0,
) -> None:
    """Have this host's worker prove that it takes jobs, that its models answer and that the store does; exit status 0 or 1."""
    findings = ask(Settings.from_environment().redis_url, default_nodename(hostname), timeout_s=timeout)
    told = [_told(finding) for finding in findings]
    if not all(told):
        raise typer.Exit(1)


@app.command("download-model")
def download(
    name: Annotated[str, typer.Argument(metavar="ID", help="The model's id at the hub: OWNER/NAME.")] = "",
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to; by default the hub's cache.")] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Look at a folder's files, and fetch none.")
    ] = None,
) -> None:
    """Fetch a model from the hub, or go on fetching it, look whether it is whole, and print the setting for it."""
    from worker.download import check_folder, download_model  # noqa: PLC0415  the other commands need not wait for it

    if bool(name) == bool(check):
        raise typer.BadParameter("name a model, or a folder with --check")  # noqa: EM101
    if check:
        check_folder(check)
    folder = check or download_model(name, to)
    typer.echo(f"{folder}: settings, tokenizer, chat template and weights are whole", err=True)
    typer.echo(f"VLLM_MODEL_PATH={folder.resolve()}")


def _told(finding: Finding) -> bool:
    typer.echo(f"{finding.check}: {'ok' if finding.healthy else 'FAILED'}, {finding.said}", err=not finding.healthy)
    return finding.healthy


def _welcome(url: str) -> str:
    export = "" if url == DEFAULT_URL else f"  export VIDASK_REDIS_URL={url}\n"
    return (
        "\nReady. In another terminal, in this folder:\n\n  . .venv/bin/activate\n"
        f'{export}  vidask index examples/lectures --wait\n  vidask ask "Why does a deep tree overfit?"\n\nCtrl-C stops it.\n'
    )


if __name__ == "__main__":
    try:
        app()
    except VidaskError as error:
        sys.exit(f"vidask worker: {error}")
