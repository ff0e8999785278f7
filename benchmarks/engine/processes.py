"""Parts as processes of their own, each with a time limit, and nothing left of them afterwards.

Two engines on one card would measure each other. An engine's processes outlive a parent that is killed, and may have sessions of
their own, so whatever a part leaves behind is made to come back to us (Linux's "child subreaper") and is killed by its id.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_STOP_LIMIT_S = 30.0


def adopt_orphans() -> None:
    """From now on processes whose parent dies become our children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_part(part: str, folder: Path, limit_s: float) -> str:
    """Run one part to its end; returns why it failed, or nothing. What it has to say it prints; all else goes to `<part>.log`."""
    log = folder / f"{part}.log"
    command = [sys.executable, "-m", "benchmarks.engine.part", part, str(folder)]
    try:
        with log.open("wb") as output:
            subprocess.run(command, stderr=output, check=True, timeout=limit_s, start_new_session=True)
    except subprocess.TimeoutExpired:
        return f"not done after {limit_s:g} s; {log} says how far it came"
    except subprocess.CalledProcessError:
        return f"{_last_line(log)} ({log})"
    finally:
        end_descendants()
    return ""


def end_descendants() -> None:
    """Kill every process below this one, and those that they start meanwhile, until there is none."""
    deadline = time.monotonic() + _STOP_LIMIT_S
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with suppress(psutil.NoSuchProcess):  # its own parent was quicker
                process.kill()
        psutil.wait_procs(left, timeout=1)
        if time.monotonic() > deadline:
            msg = f"processes {[process.pid for process in left]} do not end"
            raise TimeoutError(msg)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
