"""The drill's own ledger, outside Redis: every process appends to a file of its own what it did and saw."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

What = Literal[
    "accepted",  # a producer: the call returned
    "sent again",  # a producer: a job that it had sent before
    "seen",  # a producer: what it got when it waited
    "published",  # the listener: what was said on a job's channel
    "ready",  # a worker: it takes jobs
    "started",  # a worker: an execution begins
    "done",  # a worker: it has ended, and its result is written if it ever will be
    "poison",  # a worker: the next thing that it does is to kill itself
    "killed",  # the driver, of a worker
    "stopped",
    "continued",
    "told to end",
    "ended",  # the driver found that a worker had ended; `text` is its status
    "redis killed",
    "redis started",
]


@dataclass(frozen=True)
class Note:
    """A line: what happened, when on the clock that all processes of this host share (seconds), and in which process."""

    what: What
    job: str = ""
    attempt: int = 0
    text: str = ""
    pid: int = 0
    at_s: float = 0.0


class Records:
    """The file of this process. It is there from the first note on."""

    def __init__(self, folder: Path, role: str) -> None:
        self._path = path_of(folder, role, os.getpid())
        self._file: int | None = None

    def note(
        self,
        what: What,
        *,
        job: str = "",
        attempt: int = 0,
        text: str = "",
        pid: int | None = None,
        at_s: float | None = None,
    ) -> None:
        """Append a line. Nothing is buffered here, and one write to the end of a file is whole: SIGKILL takes none of it away."""
        at_s = time.monotonic() if at_s is None else at_s
        note = Note(what, job, attempt, text, os.getpid() if pid is None else pid, at_s)
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._file, json.dumps(asdict(note)).encode() + b"\n")


def path_of(folder: Path, role: str, pid: int) -> Path:
    """Where a process keeps its notes."""
    return folder / f"{role}-{pid}.jsonl"


class Tail:
    """Reads the file of another process while that goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def new(self) -> list[Note]:
        """The notes since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            lines = [line for line in file if line.endswith(b"\n")]  # the last one may be just being written
        self._at += sum(map(len, lines))
        return [Note(**json.loads(line)) for line in lines]


def read(folder: Path) -> list[Note]:
    """All notes of all processes, by time."""
    notes = [note for path in folder.glob("*.jsonl") for note in Tail(path).new()]
    return sorted(notes, key=lambda note: note.at_s)
