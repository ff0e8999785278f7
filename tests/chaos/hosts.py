"""A Redis that can be killed and started again, and workers that are started again when they end, as by a supervisor."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.chaos.records import Records
from tests.chaos.watch import Watch
from vidask.connection import connect
from worker.embedded import child_process, free_port, redis_server


class Redis:
    """A Redis that keeps its port and its folder through all its lives; to be closed.

    Attributes:
        url: its address.
        away: whether it was killed, and not started since.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._life = ExitStack()
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.url = self._life.enter_context(redis_server(self._folder, port=self._port))
        self.away = False

    def kill(self) -> None:
        """End it without a chance to write anything."""
        with closing(connect(self.url)) as connection:
            server: Any = connection.info("server")
        os.kill(server["process_id"], signal.SIGKILL)
        self._life.close()
        self.away = True

    def close(self) -> None:
        """End it in order."""
        self._life.close()


class Worker:
    """One place in the crew, and the process that fills it just now."""

    def __init__(self, name: str, app: str, env: Mapping[str, str], folder: Path) -> None:
        self._command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{name}@%h"]
        self._env = env
        self._log = folder / f"{name}.log"
        self._life = ExitStack()
        self.stopped = False
        self.start()

    def start(self) -> None:
        """Fill the place."""
        self._process = self._life.enter_context(child_process(self._command, env=self._env, log=self._log))
        self.told_to_end = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ended(self) -> int | None:
        """The status of a process that has ended; the place is empty then."""
        if (status := self._process.poll()) is not None:
            self._life.close()
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End the process, in order where it can."""
        self._life.close()


class Crew:
    """The workers; to be closed. `tend` is to be called all the time."""

    def __init__(
        self, app: str, size: int, *, env: Mapping[str, str], folder: Path, records: Records, watch: Watch
    ) -> None:
        self._records = records
        self._watch = watch
        self._workers = [Worker(f"worker{number}", app, env, folder) for number in range(size)]

    def tend(self) -> None:
        """Start a new process for each that has ended."""
        for worker in self._workers:
            if (status := worker.ended()) is not None:
                asked = " when told to" if worker.told_to_end else ""
                self._records.note("ended", pid=worker.pid, text=f"{status}{asked}")
                self._watch.lost(worker.pid)
                worker.start()

    def at_work(self) -> list[Worker]:
        """Those that take jobs."""
        return [
            worker
            for worker in self._workers
            if not worker.stopped and not worker.told_to_end and self._watch.is_ready(worker.pid)
        ]

    def is_leaving(self) -> bool:
        """Whether somebody that was told to end has not yet."""
        return any(worker.told_to_end for worker in self._workers)

    def kill(self, worker: Worker) -> None:
        """SIGKILL; noted afterwards, so that nothing that the worker did comes later."""
        worker.signal(signal.SIGKILL)
        self._records.note("killed", pid=worker.pid)

    def stop(self, worker: Worker) -> None:
        """SIGSTOP."""
        worker.stopped = True
        worker.signal(signal.SIGSTOP)
        self._records.note("stopped", pid=worker.pid)
        self._watch.lost(worker.pid)

    def go_on(self, worker: Worker) -> None:
        """SIGCONT."""
        self._records.note("continued", pid=worker.pid)
        worker.signal(signal.SIGCONT)
        worker.stopped = False

    def tell_to_end(self, worker: Worker) -> None:
        """SIGTERM."""
        worker.told_to_end = True
        worker.signal(signal.SIGTERM)
        self._records.note("told to end", pid=worker.pid)

    def close(self) -> None:
        """End them all."""
        for worker in self._workers:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        for worker in self._workers:
            worker.close()
