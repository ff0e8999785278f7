"""What a job of the drill does: nothing, for a while; and some kill their worker. Its question says which."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

#: The folder of the notes, for the workers.
RECORDS = "CHAOS_RECORDS"


@dataclass(frozen=True)
class Work:
    """How long it takes, and whether it is poison."""

    seconds: float
    poison: bool = False

    def __str__(self) -> str:
        return f"{self.seconds:.3f} {'poison' if self.poison else 'harmless'}"


def parse(question: str) -> Work:
    """The work that a question stands for."""
    seconds, kind = question.split()
    return Work(float(seconds), kind == "poison")


def answer_of(job_id: str, attempt: int) -> str:
    """An answer that says which execution gave it."""
    return f"{job_id} {attempt} {os.getpid()}"


def die() -> None:
    """As if the kernel had run out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
