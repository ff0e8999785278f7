"""Inside a worker's process: how full the engine is, how long one waits for the GIL and for the loop, who uses the CPU."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

import psutil

from pipeline.llm.engine import Engine

#: Often enough for milliseconds, seldom enough that looking costs nothing.
_PERIOD_S = 0.005
_NUMBERS = re.compile(r"[-_]?\d+(_\d+)?$")


class Watch:
    """Looks at the engine from a thread, and at the event loop from a coroutine, as long as the worker lives."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._collecting_since = time.perf_counter()
        self._forget()
        threading.Thread(target=self._look, name="watch", daemon=True).start()
        gc.callbacks.append(self._look_at_collection)
        self._looking = engine.loop.submit(self._look_at_loop())

    def read(self) -> dict[str, Any]:
        """What was seen since the last call.

        Returns:
            `steps`: of the engine, since its start; `running`: requests in its last one; `changes`: `[[time, running], …]`, Unix
            seconds; `running_mean`, `idle_share`: over the time; `gil_late_ms`, `loop_late_ms`: how much later than asked for a
            thread and a coroutine came to their turn, `mean` and `p95`; `gc_ms`: what Python's garbage collector took with every
            thread waiting, `sum` and `longest`; `cpu_s`: CPU seconds so far by kind of thread.
        """
        with self._lock:
            seen = {
                "steps": self._engine.stats.steps,
                "running": self._engine.stats.running,
                "changes": self._changes,
                "running_mean": sum(self._running) / max(1, len(self._running)),
                "idle_share": self._running.count(0) / max(1, len(self._running)),
                "gil_late_ms": _late(self._thread_late_s),
                "loop_late_ms": _late(self._loop_late_s),
                "gc_ms": {
                    "sum": 1000 * sum(self._collections_s),
                    "longest": 1000 * max(self._collections_s, default=0.0),
                },
                "cpu_s": _cpu_s(),
            }
            self._forget()
        return seen

    def _forget(self) -> None:
        self._running: list[int] = []
        self._changes: list[tuple[float, int]] = []
        self._collections_s: list[float] = []
        self._thread_late_s: list[float] = []
        self._loop_late_s: list[float] = []

    def _look(self) -> None:
        before = -1
        while True:
            begun = time.perf_counter()
            time.sleep(_PERIOD_S)
            late_s, running = time.perf_counter() - begun - _PERIOD_S, self._engine.stats.running
            with self._lock:
                self._thread_late_s.append(late_s)
                self._running.append(running)
                if running != before:
                    self._changes.append((time.time(), running))
            before = running

    def _look_at_collection(self, phase: str, _: object) -> None:
        """Called by the collector, which runs once at a time."""
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self._collections_s.append(time.perf_counter() - self._collecting_since)

    async def _look_at_loop(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(_PERIOD_S)
            self._loop_late_s.append(time.perf_counter() - begun - _PERIOD_S)


def _late(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    return {
        "mean": 1000 * sum(ordered) / len(ordered),
        "p95": 1000 * ordered[int(len(ordered) * 0.95)],
    }


def _cpu_s() -> dict[str, float]:
    """By the names of Python's threads without their numbers, and of child processes: the engine's, the embedding model's.

    `others` are the threads of libraries: Chroma, the tokenizer, torch.
    """
    used: defaultdict[str, float] = defaultdict(float)
    for thread in threading.enumerate():
        if thread.ident is not None:
            clock = time.pthread_getcpuclockid(thread.ident)
            used[_NUMBERS.sub("", thread.name)] += time.clock_gettime(clock)  # pyright: ignore[reportArgumentType]  seconds
    used["others"] = time.process_time() - sum(used.values())
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended during the look
            times = child.cpu_times()
            used[f"process {child.cmdline()[0].rpartition('/')[2]}"] += times.user + times.system
    return dict(used)
