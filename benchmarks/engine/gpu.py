"""The card, as `nvidia-smi` sees it from outside: nothing of this costs the measured processes anything."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from worker.embedded import child_process

#: What a driver keeps on an empty card, with room to spare, MiB.
_EMPTY_MIB = 2_000
_FREE_LIMIT_S = 60.0
_SAMPLE_MS = 100


def is_there() -> bool:
    """Whether this machine has a card."""
    return shutil.which("nvidia-smi") is not None


def wait_until_free() -> None:
    """Wait until nobody holds the card's memory; nothing to wait for where there is no card.

    Raises:
        TimeoutError: one line that says who holds how much.
    """
    deadline = time.monotonic() + _FREE_LIMIT_S
    while (used := _used_mib()) > _EMPTY_MIB:
        if time.monotonic() > deadline:
            holders = _query("--query-compute-apps=pid,used_memory").replace("\n", "; ")
            msg = f"{used} MiB of the card are still taken after {_FREE_LIMIT_S:g} s, by {holders}; end what holds them"
            raise TimeoutError(msg)
        time.sleep(0.5)


@dataclass
class Utilization:
    """Per cent of the time in which the card did anything, sampled; empty where there is no card."""

    samples: list[float] = field(default_factory=list)

    @property
    def idle_share(self) -> float | None:
        """Share of the time in which the card did nothing, 0 to 1."""
        return 1 - statistics.mean(self.samples) / 100 if self.samples else None


@contextmanager
def utilization(log: Path) -> Iterator[Utilization]:
    """Watch the card during a block; the samples are there when it is left."""
    seen = Utilization()
    if not is_there():
        yield seen
        return
    log.unlink(missing_ok=True)
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", str(_SAMPLE_MS)]
    with child_process(command, log=log):
        yield seen
    seen.samples += [float(line) for line in log.read_text().split()]


def _used_mib() -> int:
    return sum(int(line) for line in _query("--query-gpu=memory.used").split())


def _query(what: str) -> str:
    if not is_there():
        return ""
    command = ["nvidia-smi", what, "--format=csv,noheader,nounits"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
