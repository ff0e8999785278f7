"""What a check says, and how a check is looked at: whatever one of them meets, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from vidask.errors import VidaskError, one_line

T = TypeVar("T")


class Status(Enum):
    """How it stands; the value is the mark before the line."""

    OK = "✓"
    WARNING = "!"
    FAILED = "✗"
    SKIPPED = "–"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        status: whether it is well.
        said: what was seen, in one line.
        fix: what to do; empty where there is nothing to do.
    """

    status: Status
    said: str
    fix: str = ""


class NotLookedAt(Exception):
    """There is nothing to look at, and why; what is missing is another check's to say."""


def ok(said: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, said)


def warning(said: str, fix: str) -> Finding:
    """A worker works with this, but not as well as it could, or not for long."""
    return Finding(Status.WARNING, said, fix)


def failed(said: str, fix: str) -> Finding:
    """A worker does not work with this, or loses jobs."""
    return Finding(Status.FAILED, said, fix)


def failed_with(error: VidaskError) -> Finding:
    """Our errors say first what is wrong, and behind a semicolon what to do."""
    said, _, fix = one_line(error).removeprefix("settings: ").partition("; ")
    return failed(said, fix or "look at the worker's log")


def given(fact: T | VidaskError) -> T:
    """The fact; raises the error that was met in its place."""
    if isinstance(fact, VidaskError):
        raise fact
    return fact


def needed(fact: T | VidaskError, otherwise: str) -> T:
    """The fact; raises `NotLookedAt` where an error was met in its place, which another check tells of."""
    if isinstance(fact, VidaskError):
        raise NotLookedAt(otherwise)
    return fact


def look(checks: Mapping[str, Callable[[], Finding]]) -> Iterator[tuple[str, Finding]]:
    """Names and findings, each when it is known."""
    for name, check in checks.items():
        yield name, _finding(check)


def _finding(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except NotLookedAt as why:
        return Finding(Status.SKIPPED, str(why))
    except ModuleNotFoundError as error:
        return Finding(Status.SKIPPED, f"{error.name} is not installed")
    except VidaskError as error:
        return failed_with(error)
    except Exception as error:  # noqa: BLE001  a check that fails must not keep the others from being looked at
        said = f"the check itself failed ({type(error).__name__}: {one_line(error)})"
        return failed(said, "report this line; the other checks count")
