"""What the driver knows of the workers while the drill goes on: which jobs run where, and how many workers each has lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from tests.chaos.records import Tail, path_of
from vidask.keys import MAX_CRASHES


class Watch:
    """Reads the workers' notes as they come.

    A job that has lost its worker three times is set aside, whoever was to blame. The drill wants to see that of poison alone, so
    the driver leaves a worker alone that runs a job with two losses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tails: dict[int, Tail] = {}
        self._running: defaultdict[int, set[str]] = defaultdict(set)
        self._losses: Counter[str] = Counter()

    def is_ready(self, pid: int) -> bool:
        """Whether that worker takes jobs."""
        return path_of(self._folder, "worker", pid).exists()

    def may_be_hit(self, pid: int) -> bool:
        """Whether each of its jobs can bear the loss."""
        return all(self._losses[job] < MAX_CRASHES - 1 for job in self._jobs_of(pid))

    def lost(self, pid: int) -> None:
        """That worker is no more, or silent for longer than its lease; its jobs are known by then."""
        self._losses.update(self._jobs_of(pid))
        self._running.pop(pid, None)

    def _jobs_of(self, pid: int) -> set[str]:
        running = self._running[pid]
        if self.is_ready(pid):
            for note in self._tails.setdefault(pid, Tail(path_of(self._folder, "worker", pid))).new():
                if note.what == "started":
                    running.add(note.job)
                elif note.what == "done":
                    running.discard(note.job)
        return running
