"""The command itself. What it looks at is imported when it is called: other commands of `python -m worker` stay quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import typer

from vidask.commands.output import AsJson, json_line, line
from worker.doctor.findings import Finding, Status, look


def doctor(as_json: AsJson = False) -> None:
    """Look at all that a worker needs, with its settings; exit status 1 where something of it does not work."""
    well = True
    for name, finding in look(_checks()):
        well = well and finding.status is not Status.FAILED
        if as_json:
            json_line({"check": name, "status": finding.status.name.lower(), "said": finding.said, "fix": finding.fix})
        else:
            line(shown(name, finding))
    if not well:
        raise typer.Exit(1)


def shown(name: str, finding: Finding) -> str:
    """The line for people, and under it what to do."""
    fix = f"\n  → {finding.fix}" if finding.fix else ""
    return f"{finding.status.value} {name}: {finding.said}{fix}"


def _checks() -> Mapping[str, Callable[[], Finding]]:
    """All; where packages are missing that the others are made of, the one that says which."""
    try:
        from worker.doctor.checks import checks_of  # noqa: PLC0415
        from worker.doctor.facts import Facts  # noqa: PLC0415
    except ModuleNotFoundError as error:
        from worker.doctor import packages  # noqa: PLC0415

        return {"packages": partial(packages.after_failed_import, str(error.name))}
    return checks_of(Facts())
