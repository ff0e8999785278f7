"""A handle on the indexing of a list of frames, which is one job or several."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

from vidask import keys
from vidask.errors import WaitTimeout
from vidask.jobs import Job
from vidask.models import FramesReport, Progress, State


class FramesJob:
    """The jobs, one for each 256 frames, that index one list. `Client.frames_job(handle.job_ids)` makes the handle again.

    Attributes:
        id: of the whole; where there is one job, also that job's.
        job_ids: of its jobs, in the order of their frames.
    """

    def __init__(self, jobs: Sequence[Job[FramesReport]]) -> None:
        self._jobs = jobs
        self.job_ids = tuple(job.id for job in jobs)
        self.id = self.job_ids[0] if len(jobs) == 1 else self.job_ids[0].rpartition(":")[0]

    def __repr__(self) -> str:
        return f"FramesJob({self.id!r}, {len(self._jobs)} jobs)"

    def status(self) -> State:
        """The state of the whole: queued until a job of it has begun, running until the last has ended.

        Then it is succeeded where all are, else the state of the first that is not.

        Raises:
            JobNotFound: a job of it is not this tenant's, or its row has expired.
            QueueUnavailable: Redis does not answer.
        """
        states: list[State] = [job.status() for job in self._jobs]
        if all(state in keys.TERMINAL_STATES for state in states):
            others: list[State] = [state for state in states if state != "succeeded"]
            return (others or states)[0]
        return "queued" if set(states) == {"queued"} else "running"

    def progress(self) -> Progress:
        """Frames done, of all.

        Raises:
            JobNotFound, QueueUnavailable: as `status` does.
        """
        parts = [job.progress() for job in self._jobs]
        return Progress(sum(part.done for part in parts), sum(part.total for part in parts))

    def result(self, timeout_s: float | None = None) -> FramesReport:
        """Wait until all jobs have ended; returns one report for all frames.

        Args:
            timeout_s: how long to wait, in seconds; `None` waits as long as it takes.

        Raises:
            WaitTimeout: not finished in time; the jobs go on, and `result` can be called again.
            JobFailed, JobCancelled, JobExpired, JobQuarantined: the first job that ended otherwise. The others go on.
            JobNotFound, QueueUnavailable: as `status` does.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        try:
            return _together([job.result(max(until - time.monotonic(), 0.0)) for job in self._jobs])
        except WaitTimeout:
            now = self.progress()
            msg = f"{now.done} of {now.total} frames were done after {timeout_s:g} s; they go on, so ask for the result again"
            raise WaitTimeout(msg) from None

    def cancel(self) -> bool:
        """Cancel the jobs that have not ended; those that run are stopped. False where all have ended already.

        Raises:
            JobNotFound, QueueUnavailable: as `status` does.
        """
        cancelled = [job.cancel() for job in self._jobs]
        return any(cancelled)


def _together(reports: Sequence[FramesReport]) -> FramesReport:
    timings_s: Counter[str] = Counter()
    for report in reports:
        timings_s.update(report.timings_s)
    return FramesReport(
        video_id=reports[0].video_id,
        frames=sum(report.frames for report in reports),
        indexed=sum(report.indexed for report in reports),
        captioned=sum(report.captioned for report in reports),
        empty=sum(report.empty for report in reports),
        removed=sum(report.removed for report in reports),
        superseded=any(report.superseded for report in reports),
        problems=tuple(problem for report in reports for problem in report.problems),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
        timings_s=dict(timings_s),
    )
