"""Any order of accepting, losing, claiming, crashing, waking up, cancelling and ending jobs, against a model of what each does.

The scripts, `Ledger`, `Claims` and `Sweep` are the real ones, on a real Redis whose clock the test sets.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.queue_by_hand import LISTS, OwnClock, QueueByHand
from vidask import keys
from vidask.ledger import Ledger, Outcome, resolved
from vidask.models import AskJob, ForgetJob
from vidask.quarantine import Quarantine
from worker.claims import Claim, Claims
from worker.embedded import redis_server
from worker.sweep import Sweep

LEASE_S = 15.0
#: Few, so that much befalls each.
MOST_JOBS = 3
LINES = st.sampled_from(sorted(LISTS))
#: A new job: its kind, its deadline in seconds where it is a question, and who sends it.
NEW = st.tuples(
    st.sampled_from(["ask", "forget"]),
    st.sampled_from([None, None, 4, 30]),
    st.sampled_from(["client", "client", "dying client", "plain Celery"]),
)
WORKERS = st.integers(0, 2)
ONE_IN_FOUR = st.sampled_from([False, False, False, True])
DONE = Outcome("succeeded", result='"done"')


class Worker:
    """What of a worker speaks with Redis."""

    def __init__(self, ledger: Ledger, messages: QueueByHand) -> None:
        self.claims = Claims(ledger, messages, lease_s=LEASE_S)
        self.sweep = Sweep(ledger, messages, lease_s=LEASE_S)
        self.awake = True


@dataclass
class Model:
    """What is to be true of a job. There is no state before its row is made."""

    kind: str
    deadline_s: float | None = None
    state: str | None = None
    attempt: int = 0
    crashes: int = 0
    lease_s: float = 0.0
    sent_at_s: float = 0.0
    deadline_at_s: float = math.inf
    holder: Worker | None = None
    first_message: str = ""
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def payload(self) -> str:
        if self.kind == "forget":
            return ForgetJob(video_id="talk").model_dump_json()
        return AskJob(question="Why?", deadline_s=self.deadline_s).model_dump_json()

    def waits(self, now_s: float, *, anew: bool = False) -> None:
        """Its message is sent, if nothing goes wrong."""
        self.state, self.holder, self.sent_at_s = "queued", None, now_s
        if anew:
            self.crashes, self.end = 0, {}
            self.deadline_at_s = math.inf if self.deadline_s is None else now_s + self.deadline_s

    def is_held_by(self, claim: Claim) -> bool:
        return (self.state, self.attempt) == ("running", claim.attempt)


class LedgerMachine(RuleBasedStateMachine):
    """Three workers, a queue that loses and doubles messages, and users."""

    jobs: Bundle[str] = Bundle("jobs")
    held: Bundle[tuple[Worker, Claim]] = Bundle("held")

    def __init__(self, connection: OwnClock) -> None:
        super().__init__()
        connection.start()
        self.redis = connection
        self.ledger = Ledger(connection)
        self.messages = QueueByHand(connection)
        self.workers = [Worker(self.ledger, self.messages) for _ in range(3)]
        self.models: dict[str, Model] = {}
        self.swept_at_s = 0.0
        self.turn = 0

    # What users do

    @initialize(target=jobs, new=st.lists(NEW, min_size=3, max_size=3))
    def some_jobs_are_accepted(self, new: list[tuple[str, int | None, str]]) -> Any:
        return multiple(*(self._accept(*each) for each in new))

    @precondition(lambda self: len(self._in("queued", "running")) < MOST_JOBS)
    @rule(target=jobs, new=NEW)
    def another_job_is_accepted(self, new: tuple[str, int | None, str]) -> str:
        return self._accept(*new)

    @rule(job_id=consumes(jobs))
    def a_job_is_cancelled(self, job_id: str) -> None:
        open_before = self.models[job_id].state in ("queued", "running")
        assert self.ledger.cancel(job_id) == open_before
        if open_before:
            self._ended(job_id, "cancelled")

    @precondition(lambda self: self._in("quarantined"))
    @rule()
    def who_is_set_aside_is_replayed(self) -> None:
        for job_id in self._in("quarantined"):
            job = self.models[job_id]
            self.redis.tick()
            Quarantine(self.redis, self.messages).replay(job_id, job.kind)
            job.waits(self.redis.now_s(), anew=True)

    # What befalls messages

    @precondition(lambda self: self.messages.waiting)
    @rule(first=LINES)
    def a_message_is_lost(self, first: str) -> None:
        self.messages.pop(first)

    @rule(job_id=jobs, again=st.booleans())
    def a_message_comes_twice(self, job_id: str, again: bool) -> None:
        """As when a user, who had no reply, accepts a job again by the same id."""
        job = self.models[job_id]
        if job.state is not None:
            assert not self.ledger.create(job_id, job.kind, "default", job.payload)
            self.messages.send(job_id, job.kind, again=again)

    # What workers do

    @precondition(lambda self: self.messages.waiting)
    @rule(target=held, which=WORKERS, first=LINES)
    def a_worker_takes_a_message(self, which: int, first: str) -> Any:
        return self._all_taken(self.workers[which], first, 1)

    @precondition(lambda self: self.messages.waiting)
    @rule(target=held, which=WORKERS)
    def a_worker_takes_all_messages(self, which: int) -> Any:
        return self._all_taken(self.workers[which], "vidask/0", self.messages.waiting)

    @rule(held=consumes(held))
    def a_worker_finishes(self, held: tuple[Worker, Claim]) -> None:
        worker, claim = held
        if worker.awake:
            self._finish(worker, claim)

    @rule(held=consumes(held), crashed=st.booleans(), later=st.booleans(), queue_down=ONE_IN_FOUR)
    def a_worker_gives_back(self, held: tuple[Worker, Claim], crashed: bool, later: bool, queue_down: bool) -> None:
        worker, claim = held
        if worker.awake:
            with self.messages.perhaps_down(down=queue_down):
                self._release(worker, claim, crashed=crashed, later=later)

    @precondition(lambda self: self._busy())
    @rule(target=held, killed=ONE_IN_FOUR, seconds=st.sampled_from([0, 20]))
    def a_worker_falls_silent(self, killed: bool, seconds: int) -> Any:
        """Where it is killed, a new one is started in its place. In time another one takes what it had."""
        worker = self._busy()[0]
        worker.awake = False
        if killed:
            self.workers[self.workers.index(worker)] = Worker(self.ledger, self.messages)
        self.time_passes(seconds, queue_down=False)
        other = next((each for each in self.workers if each.awake), worker)
        return self._all_taken(other, "vidask/0", self.messages.waiting if seconds else 0)

    @precondition(lambda self: not all(worker.awake for worker in self.workers))
    @rule()
    def all_workers_wake_up(self) -> None:
        for worker in self.workers:
            self._wakes_up(worker)

    # What time does

    @rule(seconds=st.sampled_from([2, 6, 20]), queue_down=ONE_IN_FOUR)
    def time_passes(self, seconds: int, queue_down: bool) -> None:
        """Workers look around every few seconds, each in its turn."""
        for _ in range(seconds):
            self.redis.pass_time(1)
            self._next_looks_around(queue_down=queue_down)

    @rule(seconds=st.integers(10, 20))
    def redis_is_away(self, seconds: int) -> None:
        """Nobody that is well loses a job by it, whoever comes back first."""
        self.redis.pass_time(seconds)
        for _ in self.workers:
            self._next_looks_around()

    # What is always so

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        for job_id, job in self.models.items():
            row = self.ledger.read(job_id)
            assert (row and row.state, row.attempt if row else 0) == (job.state, job.attempt), job_id
            if job.end:
                assert self._all_of(job_id) == job.end, f"{job_id} changed after its end"

    @invariant()
    def sets_agree_with_rows(self) -> None:
        leases = dict(resolved(self.redis.zrange(keys.LEASES, 0, -1, withscores=True)))
        running = {job_id: job.lease_s for job_id, job in self.models.items() if job.state == "running"}
        assert leases == pytest.approx(running, abs=1e-5)
        waiting = [(job_id, line) for line in LISTS for job_id in self.redis.zrange(keys.waiting(line), 0, -1)]
        queued = sorted(self._in("queued"))
        assert sorted(waiting) == [(job_id, self.redis.hget(keys.job_row(job_id), "line")) for job_id in queued]
        assert set(self._in("quarantined")) <= set(self.redis.zrange(keys.QUARANTINE, 0, -1))

    @invariant()
    def nothing_stays_for_ever(self) -> None:
        ours = self.redis.keys("vidask:*") + self.redis.keys("celery-task-meta-*")
        assert [key for key in ours if self.redis.ttl(key) == -1] == []

    def teardown(self) -> None:
        """One worker lives, and takes every message: each job comes to its end, and only once."""
        if sys.exc_info()[0] is not None:
            return  # a step has failed, and that is what is to be read
        for worker in self.workers:
            worker.awake = False
        self._all_end(Worker(self.ledger, self.messages))
        self.who_is_set_aside_is_replayed()
        self._all_end(Worker(self.ledger, self.messages))
        self.rows_are_what_the_model_says()

    def _all_end(self, living: Worker) -> None:
        for _ in range(150):  # a job whose message was lost often is sent again after 320 s at most
            self._sweep(living)
            self.rows_are_what_the_model_says()
            self.sets_agree_with_rows()
            for claim in self._taken(living, "vidask/0", self.messages.waiting):
                self._former_holders_wake_up(claim.job_id)
                self._finish(living, claim)
            if not self._in("queued", "running"):
                return
            self.redis.pass_time(3)
        pytest.fail(f"stuck: {self._in('queued', 'running')}")

    # One step of the real thing, and of the model

    def _all_taken(self, worker: Worker, first: str, most: int) -> Any:
        return multiple(*((worker, claim) for claim in self._taken(worker, first, most)))

    def _taken(self, worker: Worker, first: str, most: int) -> list[Claim]:
        job_ids = [self.messages.pop(first) for _ in range(most if worker.awake else 0)]
        return [claim for job_id in job_ids if job_id and (claim := self._claim(worker, job_id))]

    def _accept(self, kind: str, deadline_s: int | None, by: str) -> str:
        """Its client may die before it has sent the message; plain Celery writes no row."""
        job_id = f"{kind}-{len(self.models)}"
        job = self.models[job_id] = Model(kind, deadline_s if kind == "ask" else None)
        self.redis.tick()
        if by != "plain Celery":
            assert self.ledger.create(job_id, kind, "default", job.payload, deadline_s=job.deadline_s)
            job.waits(self.redis.now_s(), anew=True)
        if by != "dying client":
            self.messages.send(job_id, kind)
        if by == "client":
            job.first_message = str(self.redis.lindex(LISTS[keys.line(kind)], 0))
        return job_id

    def _claim(self, worker: Worker, job_id: str) -> Claim | None:
        self.redis.tick()
        job = self.models[job_id]
        claim = worker.claims.claim(job_id, kind=job.kind, worker="one", payload=job.payload, tenant="default")
        assert (claim is not None) == (job.state in (None, "queued"))
        if claim is not None:
            job.state, job.attempt, job.holder, job.first_message = "running", job.attempt + 1, worker, ""
            job.lease_s = self.redis.now_s() + LEASE_S
            assert (claim.attempt, claim.crashes) == (job.attempt, job.crashes)
        return claim

    def _former_holders_wake_up(self, job_id: str) -> None:
        for worker in self.workers:
            if any(claim.job_id == job_id for claim in worker.claims.held()):
                self._wakes_up(worker)
                worker.awake = False

    def _wakes_up(self, worker: Worker) -> None:
        """It hears what it has lost, and nothing counts that it says of that."""
        for claim in self._renew(worker):
            self._finish(worker, claim)
            self._release(worker, claim)

    def _finish(self, worker: Worker, claim: Claim) -> None:
        is_ours = self.models[claim.job_id].is_held_by(claim)
        assert worker.claims.finish(claim, DONE) == is_ours, "an end counts for the last claim alone"
        if is_ours:
            self._ended(claim.job_id, "succeeded")

    def _release(self, worker: Worker, claim: Claim, *, crashed: bool = False, later: bool = False) -> None:
        """The third crash is left to the lease."""
        self.redis.tick()
        job = self.models[claim.job_id]
        if job.is_held_by(claim) and crashed and claim.on_probation:
            job.holder = None
        elif job.is_held_by(claim):
            job.waits(0.0 if later else self.redis.now_s())
            job.crashes += crashed
        worker.claims.release(claim, crashed=crashed, later=later)

    def _renew(self, worker: Worker) -> list[Claim]:
        held = {claim: self.models[claim.job_id] for claim in worker.claims.held()}
        ours = [job for claim, job in held.items() if job.is_held_by(claim)]
        lost = [claim for claim, job in held.items() if not job.end and not job.is_held_by(claim)]
        assert worker.claims.renew() == lost
        assert not (worker.awake and lost), "a worker that is well lost a job"
        worker.awake = True
        for job in ours:
            job.lease_s = self.redis.now_s() + LEASE_S
        return lost

    def _next_looks_around(self, *, queue_down: bool = False) -> None:
        self.turn += 1
        worker = self.workers[self.turn % len(self.workers)]
        if worker.awake:
            self._renew(worker)
            self._sweep(worker, queue_down=queue_down)

    def _sweep(self, worker: Worker, *, queue_down: bool = False) -> None:
        self.redis.tick()
        self.messages.sent.clear()
        with self.messages.perhaps_down(down=queue_down):
            worker.sweep.run()
        crashed = self._leases_run_out()
        expired = self._deadlines_pass()
        sent = self.messages.sent
        assert len(sent) == len(set(sent))
        assert queue_down or crashed - expired <= set(sent)
        for job_id in set(sent) - crashed:
            self._was_lost(job_id)

    def _leases_run_out(self) -> set[str]:
        """Whose worker was silent. Where nobody has swept for a while, all have time to come back first."""
        now_s = self.redis.now_s()
        running = {job_id: self.models[job_id] for job_id in self._in("running")}
        if now_s - self.swept_at_s > LEASE_S / 2:
            for job in running.values():
                job.lease_s = max(job.lease_s, now_s + LEASE_S / 2)
        self.swept_at_s = now_s
        crashed = {job_id: job for job_id, job in running.items() if job.lease_s <= now_s}
        for job_id, job in crashed.items():
            assert not (job.holder and job.holder.awake), f"{job_id} was taken from a worker that is well"
            job.waits(now_s)
            job.crashes += 1
            if job.crashes == keys.MAX_CRASHES:
                self._ended(job_id, "quarantined")
        return {job_id for job_id, job in crashed.items() if job.state == "queued"}

    def _deadlines_pass(self) -> set[str]:
        passed = [job_id for job_id in self._in("queued") if self.models[job_id].deadline_at_s <= self.redis.now_s()]
        for job_id in passed:
            self._ended(job_id, "expired")
        return set(passed)

    def _was_lost(self, job_id: str) -> None:
        """Check that a message was sent again for a reason."""
        job = self.models[job_id]
        assert job.state == "queued"
        assert self.redis.now_s() - job.sent_at_s > 5.0
        first = self.redis.lpos(LISTS[keys.line(job.kind)], job.first_message)
        assert first is None, f"{job_id} was sent again, and its first message was there"
        job.sent_at_s = self.redis.now_s()

    def _ended(self, job_id: str, state: str) -> None:
        self.models[job_id].state = state
        self.models[job_id].end = self._all_of(job_id)
        assert self.models[job_id].end["result"], "and Celery's result with it"

    def _all_of(self, job_id: str) -> dict[str, Any]:
        return {"row": self.redis.hgetall(keys.job_row(job_id)), "result": self.redis.get(keys.celery_result(job_id))}

    def _busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.awake and worker.claims.held()]

    def _in(self, *states: str) -> list[str]:
        return [job_id for job_id, job in self.models.items() if job.state in states]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnClock]:
    with redis_server(tmp_path_factory.mktemp("ledger-redis")) as url, OwnClock.of(url) as connection:
        yield connection


def test_whatever_happens_each_job_ends_once_and_none_is_stuck(connection: OwnClock) -> None:
    run_state_machine_as_test(
        lambda: LedgerMachine(connection),  # pyright: ignore[reportArgumentType]  whatever makes one will do
        settings=settings(max_examples=80, stateful_step_count=40, deadline=None, derandomize=True),
    )
