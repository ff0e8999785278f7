"""What the commands print: for people on a terminal, plain lines or JSON when piped. Progress and errors go to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def line(text: str) -> None:
    """One plain line on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def json_line(fields: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    line(json.dumps(fields, ensure_ascii=False))


def complain(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"vidask: {text}\n")


def progress(items: Iterable[T], total: int, doing: str) -> Iterable[T]:
    """Go through `items` under a progress bar on stderr; none where stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        yield from bar.track(items, total=total, description=doing)
