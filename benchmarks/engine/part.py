"""One part, in a process of its own: `python -m benchmarks.engine.part NAME FOLDER`, where FOLDER holds the run's options."""

from __future__ import annotations

import os
import shutil
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TextIO

from benchmarks.engine.gpu import wait_until_free
from benchmarks.engine.options import Options
from benchmarks.engine.whole import MEASUREMENTS, measure

WHOLE = "whole"

#: Parts that are no measurement in a running system: module and function, imported where they run, because some import vLLM.
_ALONE = {
    "index": "library:index",
    "bound": "bound:bound",
    "http": "plain:http",
    "batches": "plain:batches",
    "one": "plain:one",
    "chat": "captions:chat",
}
#: What is run where nothing else is wanted, in the order in which they build on each other.
PARTS = ("index", "bound", WHOLE, "http", "batches", "one")


def found_by(part: str) -> list[str]:
    """Names under which a part keeps what it finds."""
    return {WHOLE: list(MEASUREMENTS), "bound": ["bound", "prompts"]}.get(part, part.split("+"))


def main(part: str, folder: Path) -> None:
    terminal = _terminal()
    wait_until_free()
    options = Options.load(folder)
    shutil.rmtree(options.running, ignore_errors=True)  # the queue of a part that was killed
    if part not in _ALONE:
        measure(options, MEASUREMENTS if part == WHOLE else part.split("+"), terminal)
        return
    module, _, function = _ALONE[part].partition(":")
    begun = time.monotonic()
    found = getattr(import_module(f"benchmarks.engine.{module}"), function)(options)
    options.write(part, {**found, "part_s": time.monotonic() - begun})


def _terminal() -> TextIO:
    """Where our own lines go. What libraries print goes to the log, with their errors."""
    terminal = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return terminal


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
