"""What is to be true of jobs, whatever befalls them: a model of the ledger, without Redis."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from vidask import keys
from vidask.models import AskJob, ForgetJob
from worker.claims import Claim


@dataclass
class JobInModel:
    """One job. It has no state before its row is made.

    Attributes:
        ends: what of each worker that takes it: nothing, the process, the model.
        sent_at_s: when its last message was sent.
        first_message: as the queue has it, until the job is claimed.
        replayed_at: how many attempts there had been when it was last taken out of quarantine.
        end: all that is stored of it since it has ended.
    """

    kind: str
    deadline_s: float | None
    ends: str
    state: str | None = None
    attempt: int = 0
    crashes: int = 0
    lease_s: float = 0.0
    sent_at_s: float = 0.0
    deadline_at_s: float = math.inf
    first_message: str = ""
    replayed_at: int = 0
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def payload(self) -> str:
        if self.kind == "forget":
            return ForgetJob(video_id="talk").model_dump_json()
        return AskJob(question="Why?", deadline_s=self.deadline_s).model_dump_json()

    def is_held_by(self, claim: Claim) -> bool:
        return (self.state, self.attempt) == ("running", claim.attempt)

    def was_replayed_since(self, claim: Claim) -> bool:
        return claim.attempt <= self.replayed_at

    def is_accepted(self, now_s: float) -> None:
        """For the first time, or anew out of quarantine."""
        self.crashes, self.replayed_at, self.end = 0, self.attempt, {}
        self.deadline_at_s = math.inf if self.deadline_s is None else now_s + self.deadline_s
        self.waits(now_s)

    def waits(self, sent_at_s: float) -> None:
        self.state, self.sent_at_s = "queued", sent_at_s

    def is_claimed(self, now_s: float, lease_s: float) -> None:
        self.state, self.attempt, self.first_message = "running", self.attempt + 1, ""
        self.lease_s = now_s + lease_s


class LedgerModel:
    """All jobs by their ids."""

    def __init__(self, lease_s: float) -> None:
        self.jobs: dict[str, JobInModel] = {}
        self._lease_s = lease_s
        self._swept_at_s = 0.0

    def of(self, *states: str) -> list[str]:
        """The ids of the jobs in these states."""
        return sorted(job_id for job_id, job in self.jobs.items() if job.state in states)

    def open(self) -> list[str]:
        return self.of("queued", "running")

    def leases_run_out(self, now_s: float) -> list[str]:
        """The jobs whose worker was silent. Where nobody has swept for a while, all have time to come back first."""
        running = {job_id: self.jobs[job_id] for job_id in self.of("running")}
        if now_s - self._swept_at_s > self._lease_s / 2:
            for job in running.values():
                job.lease_s = max(job.lease_s, now_s + self._lease_s / 2)
        self._swept_at_s = now_s
        crashed = [job_id for job_id, job in running.items() if job.lease_s <= now_s]
        for job_id in crashed:
            running[job_id].waits(now_s)
            running[job_id].crashes += 1
            if running[job_id].crashes == keys.MAX_CRASHES:
                running[job_id].state = "quarantined"
        return crashed

    def deadlines_pass(self, now_s: float) -> None:
        for job_id in self.of("queued"):
            if self.jobs[job_id].deadline_at_s <= now_s:
                self.jobs[job_id].state = "expired"
