"""What is measured in a running system: all of it in one, because starting an engine takes longer than any of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from benchmarks.engine.account import account
from benchmarks.engine.alone import alone
from benchmarks.engine.beside_frames import beside_frames
from benchmarks.engine.cancel import cancel
from benchmarks.engine.captions import captions
from benchmarks.engine.first_token import straight, through_queue
from benchmarks.engine.full_load import full_load
from benchmarks.engine.options import NotMeasured, Options
from benchmarks.engine.priority import priority
from benchmarks.engine.system import System, ask_all, running_system
from benchmarks.engine.tasks import Tasks, tasks_of
from benchmarks.engine.workload import warm_up_questions

Measure = Callable[[Options, System, Tasks], dict[str, Any]]

#: In the order in which they build on each other; each finds an engine that is idle and remembers no prompt.
MEASUREMENTS: dict[str, Measure] = {
    "system": full_load,
    "account": account,
    "alone": alone,
    "ttft": through_queue,
    "ttft-engine": straight,
    "cancel": cancel,
    "priority": priority,
}
#: And what takes a model that sees pictures.
OF_FRAMES: dict[str, Measure] = {"captions": captions, "beside-frames": beside_frames}


def measure(options: Options, names: Iterable[str], terminal: TextIO) -> None:
    """Start a system, and measure in it; each finding is kept at once, whatever happens to the next.

    Raises:
        RuntimeError: one line that names those that failed, after the others, or the worker has ended.
    """
    begun, failed = time.monotonic(), list[str]()
    with running_system(options, log="whole.worker.log") as running, tasks_of(running) as tasks:
        ask_all(running.client, warm_up_questions())
        _say(terminal, "start and warm-up", begun)
        for name in names:
            if running.worker.poll() is not None:
                msg = f"the worker has ended; {options.folder / 'whole.worker.log'} says why"
                raise RuntimeError(msg)
            if not _measured(name, options, running, tasks, terminal):
                failed.append(name)
    if failed:
        msg = f"{', '.join(failed)} failed"
        raise RuntimeError(msg)


def _measured(name: str, options: Options, running: System, tasks: Tasks, terminal: TextIO) -> bool:
    begun = time.monotonic()
    try:
        tasks.forget_prompts()
        found = (MEASUREMENTS | OF_FRAMES)[name](options, running, tasks)
    except NotMeasured as missing:
        _say(terminal, name, begun, f", skipped: {missing}")
    except Exception as error:  # noqa: BLE001  the others are still worth what the start has cost
        traceback.print_exc()
        _say(terminal, name, begun, f", failed: {error!r}")
        return False
    else:
        options.write(name, {**found, "part_s": time.monotonic() - begun})
        _say(terminal, name, begun)
    return True


def _say(terminal: TextIO, what: str, begun: float, more: str = "") -> None:
    print(f"  {what}: {time.monotonic() - begun:.0f} s{more}", file=terminal, flush=True)
