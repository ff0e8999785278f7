"""Looks at processes that may end during the look."""

from __future__ import annotations

import psutil


def below(pid: int | None, name: str) -> list[psutil.Process]:
    """The processes below one (or below the test's own) that live and have the name, or have it on their command lines."""
    return [each for each in psutil.Process(pid).children(recursive=True) if lives(each) and name in _called(each)]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(lives(process) for process in processes)


def lives(process: psutil.Process) -> bool:
    """Whether it is there; one that has ended may stay in the table until somebody asks for its status."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two looks
        return False


def _called(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.NoSuchProcess:
        return ""
