"""What the driver knows of the workers while the drill goes on: which jobs run where, and how many workers each has lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from tests.chaos.records import Tail, path_of
from vidask.keys import MAX_CRASHES


class Watch:
    """Reads the workers' notes as they come, and the listener's.

    A job that has lost its worker three times is set aside, whoever was to blame. The drill wants to see that of poison alone, so
    the driver leaves a worker alone that runs a job with two losses, or may have claimed one a moment ago and not noted it yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tails: dict[int, Tail] = {}
        self._running: defaultdict[int, set[str]] = defaultdict(set)
        self._losses: Counter[str] = Counter()
        self._over: set[str] = set()
        self._heard: dict[Path, Tail] = {}

    def is_ready(self, pid: int) -> bool:
        """Whether that worker takes jobs."""
        return path_of(self._folder, "worker", pid).exists()

    def may_be_hit(self, pid: int) -> bool:
        """Whether each of its jobs can bear the loss."""
        self._listen()
        elsewhere = {job for other in [*self._tails] if other != pid for job in self._jobs_of(other)}
        running = self._jobs_of(pid)
        delicate = {job for job, losses in self._losses.items() if losses == MAX_CRASHES - 1} - self._over - elsewhere
        return not delicate and all(self._losses[job] < MAX_CRASHES - 1 for job in running)

    def lost(self, pid: int) -> None:
        """That worker is no more, or silent for longer than its lease; its jobs are known by then."""
        self._losses.update(self._jobs_of(pid))
        self._running.pop(pid, None)

    def _listen(self) -> None:
        """Learn which jobs have ended."""
        for path in self._folder.glob("listener-*.jsonl"):
            tail = self._heard.setdefault(path, Tail(path))
            self._over.update(note.job for note in tail.new() if note.what == "published")

    def _jobs_of(self, pid: int) -> set[str]:
        running = self._running[pid]
        if self.is_ready(pid):
            for note in self._tails.setdefault(pid, Tail(path_of(self._folder, "worker", pid))).new():
                if note.what == "started":
                    running.add(note.job)
                elif note.what == "done":
                    running.discard(note.job)
                    self._over.add(note.job)  # should nobody have heard its end
        return running
