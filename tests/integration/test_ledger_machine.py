"""Any order of accepting, losing, claiming, crashing, waking up, cancelling and ending jobs, against a model of what each does.

The scripts, `Ledger`, `Claims`, `Sweep` and `Quarantine` are the real ones, on a real Redis whose clock the test sets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
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

from tests.ledger_model import JobInModel, LedgerModel
from tests.queue_by_hand import LISTS, OwnClock, QueueByHand
from vidask import keys
from vidask.ledger import Ledger, Outcome, resolved
from vidask.quarantine import Quarantine
from worker.claims import Claim, Claims
from worker.embedded import redis_server
from worker.sweep import Sweep

LEASE_S = 15.5  # no whole number of seconds
PATIENCE_S = 5.0
#: Few that have not ended, so that much befalls each.
MOST_JOBS = 3
FIRST_LINE = keys.line("ask")
DONE = Outcome("succeeded", result='"done"')

ONE_IN_FOUR = st.sampled_from([False, False, False, True])
LINES = st.sampled_from(sorted(LISTS))
WORKERS = st.integers(0, 2)
#: A new job: its kind, its deadline in seconds where it is a question, who sends it, and what of its workers it ends.
NEW = st.tuples(
    st.sampled_from(["ask", "forget", "index_frames"]),
    st.sampled_from([None, None, 4, 30]),
    st.sampled_from(["client", "client", "dying client", "plain Celery"]),
    st.sampled_from(["nothing", "nothing", "nothing", "the process", "the model"]),
)


class Worker:
    """What of a worker speaks with Redis."""

    def __init__(self, ledger: Ledger, queue: QueueByHand) -> None:
        self.claims = Claims(ledger, queue, lease_s=LEASE_S)
        self.sweep = Sweep(ledger, queue, lease_s=LEASE_S)
        self.awake = True

    def attempts_at(self, job_id: str) -> list[int]:
        """Which it believes to be making."""
        return [claim.attempt for claim in self.claims.held() if claim.job_id == job_id]


class LedgerMachine(RuleBasedStateMachine):
    """Three workers, a queue that loses and doubles messages, and users."""

    jobs: Bundle[str] = Bundle("jobs")
    held: Bundle[tuple[Worker, Claim]] = Bundle("held")

    def __init__(self, connection: OwnClock) -> None:
        super().__init__()
        connection.start()
        self.redis = connection
        self.ledger = Ledger(connection)
        self.queue = QueueByHand(connection)
        self.quarantine = Quarantine(connection, self.queue)
        self.workers = [Worker(self.ledger, self.queue) for _ in range(3)]
        self.turn = 0
        self.model = LedgerModel(LEASE_S)

    # What users do

    @initialize(target=jobs, new=st.lists(NEW, min_size=MOST_JOBS, max_size=MOST_JOBS))
    def some_jobs_are_accepted(self, new: list[tuple[str, int | None, str, str]]) -> Any:
        return multiple(*(self._accept(*each) for each in new))

    @precondition(lambda self: len(self.model.open()) < MOST_JOBS)
    @rule(target=jobs, new=NEW)
    def another_job_is_accepted(self, new: tuple[str, int | None, str, str]) -> str:
        return self._accept(*new)

    @precondition(
        lambda self: len(self.model.jobs) > 4 * len(self.model.of("cancelled"))
    )  # enough is left to befall others
    @rule(job_id=consumes(jobs))
    def a_job_is_cancelled(self, job_id: str) -> None:
        is_open = job_id in self.model.open()
        assert self.ledger.cancel(job_id) == is_open
        if is_open:
            self.model.jobs[job_id].state = "cancelled"

    @precondition(lambda self: self.model.of("quarantined"))
    @rule()
    def who_is_set_aside_is_replayed(self) -> None:
        for job_id in self.model.of("quarantined"):
            job = self.model.jobs[job_id]
            self.redis.tick()
            self.quarantine.replay(job_id, job.kind)
            job.is_accepted(self.redis.now_s())

    # What befalls messages

    @precondition(lambda self: self.queue.waiting)
    @rule(first=LINES)
    def a_message_is_lost(self, first: str) -> None:
        self.queue.pop(first)

    @rule(job_id=jobs, again=st.booleans())
    def a_message_comes_twice(self, job_id: str, again: bool) -> None:
        """As when a user, who had no reply, accepts a job again by the same id."""
        job = self.model.jobs[job_id]
        if job.state is not None:
            assert not self.ledger.create(job_id, job.kind, "default", job.payload)
            self.queue.send(job_id, job.kind, again=again)

    # What workers do

    @precondition(lambda self: self.queue.waiting)
    @rule(target=held, which=WORKERS, first=LINES, suspects=st.booleans())
    def a_worker_takes_a_message(self, which: int, first: str, suspects: bool) -> Any:
        return multiple(*self._taken(self.workers[which], first, 1, suspects=suspects))

    @precondition(lambda self: self.queue.waiting)
    @rule(target=held, which=WORKERS)
    def a_worker_takes_all_messages(self, which: int) -> Any:
        return multiple(*self._taken(self.workers[which], FIRST_LINE, self.queue.waiting))

    @rule(held=consumes(held))
    def a_worker_finishes(self, held: tuple[Worker, Claim]) -> None:
        worker, claim = held
        if worker.awake:
            self._finish(worker, claim)

    @rule(held=consumes(held), crashed=st.booleans(), queue_down=ONE_IN_FOUR)
    def a_worker_gives_back(self, held: tuple[Worker, Claim], crashed: bool, queue_down: bool) -> None:
        worker, claim = held
        if worker.awake:
            with self.queue.perhaps_down(down=queue_down):
                self._release(worker, claim, crashed=crashed)

    @precondition(lambda self: self._busy())
    @rule(target=held, killed=ONE_IN_FOUR, seconds=st.sampled_from([0, 20]))
    def a_worker_falls_silent(self, killed: bool, seconds: int) -> Any:
        """In time another one takes what it had."""
        worker = self._busy()[0]
        worker.awake = False
        if killed:
            self._is_killed(worker)
        self.time_passes(seconds, queue_down=False)
        other = next((each for each in self.workers if each.awake), worker)
        return multiple(*self._taken(other, FIRST_LINE, self.queue.waiting if seconds else 0))

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
        for job_id, job in self.model.jobs.items():
            row = self.ledger.read(job_id)
            assert (row and row.state, row.attempt if row else 0) == (job.state, job.attempt), job_id
            if row and row.ended:
                job.end = job.end or self._all_of(job_id)
                assert self._all_of(job_id) == job.end, f"{job_id} changed after its end"
                assert job.end["result"], "Celery's result is stored with the end"

    @invariant()
    def sets_agree_with_rows(self) -> None:
        leases = dict(resolved(self.redis.zrange(keys.LEASES, 0, -1, withscores=True)))
        running = {job_id: self.model.jobs[job_id].lease_s for job_id in self.model.of("running")}
        assert leases == pytest.approx(running, abs=1e-5)
        waiting = [(job_id, line) for line in LISTS for job_id in self.redis.zrange(keys.waiting(line), 0, -1)]
        queued = [(job_id, self.redis.hget(keys.job_row(job_id), "line")) for job_id in self.model.of("queued")]
        assert sorted(waiting) == queued
        assert set(self.model.of("quarantined")) <= set(self.redis.zrange(keys.QUARANTINE, 0, -1))

    @invariant()
    def nothing_stays_for_ever(self) -> None:
        ours = self.redis.keys("vidask:*") + self.redis.keys("celery-task-meta-*")
        assert [key for key in ours if self.redis.ttl(key) == -1] == []

    def teardown(self) -> None:
        """One worker at a time lives, and takes every message: each job comes to its end, and only once."""
        if sys.exc_info()[0] is not None:
            return  # a step has failed, and that is what is to be read
        for worker in self.workers:
            worker.awake = False
        self.workers.append(Worker(self.ledger, self.queue))
        self._all_end()
        self.who_is_set_aside_is_replayed()
        self._all_end()

    def _all_end(self) -> None:
        for _ in range(150):  # a job whose message was lost often is sent again after 320 s at most
            self._sweep(self.workers[-1])
            self.rows_are_what_the_model_says()
            self.sets_agree_with_rows()
            for worker, claim in self._taken(self.workers[-1], FIRST_LINE, self.queue.waiting):
                self._former_holders_wake_up(claim.job_id)
                if worker.awake:
                    self._finish(worker, claim)
            if not self.model.open():
                return
            self.redis.pass_time(3)
        pytest.fail(f"stuck: {self.model.open()}")

    # One step of the real thing, and of the model

    def _accept(self, kind: str, deadline_s: int | None, by: str, ends: str) -> str:
        """Its client may die before it has sent the message; plain Celery writes no row."""
        job_id = f"{kind}-{len(self.model.jobs)}"
        job = self.model.jobs[job_id] = JobInModel(kind, deadline_s if kind == "ask" else None, ends)
        self.redis.tick()
        if by != "plain Celery":
            assert self.ledger.create(job_id, kind, "default", job.payload, deadline_s=job.deadline_s)
            job.is_accepted(self.redis.now_s())
        if by != "dying client":
            self.queue.send(job_id, kind)
        if by == "client":
            job.first_message = str(self.redis.lindex(LISTS[keys.line(kind)], 0))
        return job_id

    def _taken(self, worker: Worker, first: str, most: int, *, suspects: bool = True) -> list[tuple[Worker, Claim]]:
        """What it has claimed when there is no more, or one of these has ended it."""
        claims: list[tuple[Worker, Claim]] = []
        for _ in range(most):
            if not worker.awake or not (job_id := self.queue.pop(first)):
                break
            if claim := self._claim(worker, job_id, suspects=suspects):
                claims.append((worker, claim))
                self._meets(worker, claim)
        return claims

    def _meets(self, worker: Worker, claim: Claim) -> None:
        """Where a model has ended, its worker gives the job back before it ends itself."""
        ends = self.model.jobs[claim.job_id].ends
        if ends == "the model":
            self._release(worker, claim, crashed=True)
        if ends != "nothing":
            self._is_killed(worker)

    def _claim(self, worker: Worker, job_id: str, *, suspects: bool) -> Claim | None:
        self.redis.tick()
        job = self.model.jobs[job_id]
        claim = worker.claims.claim(
            job_id, kind=job.kind, worker="one", payload=job.payload, tenant="default", suspects=suspects
        )
        waits = job.state == "queued" and job.crashes >= keys.MAX_CRASHES - 1 and not suspects
        if waits:
            job.waits(0.0)
        assert (claim is not None) == (job.state in (None, "queued") and not waits)
        if claim is not None:
            job.is_claimed(self.redis.now_s(), LEASE_S)
            assert (claim.attempt, claim.crashes) == (job.attempt, job.crashes)
        return claim

    def _finish(self, worker: Worker, claim: Claim) -> None:
        job = self.model.jobs[claim.job_id]
        is_held = job.is_held_by(claim)
        assert worker.claims.finish(claim, DONE) == is_held, "an end counts for the last claim alone"
        if is_held:
            job.state = "succeeded"

    def _release(self, worker: Worker, claim: Claim, *, crashed: bool = False) -> None:
        """The third crash is left to the lease."""
        self.redis.tick()
        job = self.model.jobs[claim.job_id]
        if job.is_held_by(claim) and not (crashed and claim.on_probation):
            job.waits(self.redis.now_s())
            job.crashes += crashed
        worker.claims.release(claim, crashed=crashed)

    def _is_killed(self, worker: Worker) -> None:
        """And a new one is started in its place."""
        worker.awake = False
        self.workers[self.workers.index(worker)] = Worker(self.ledger, self.queue)

    def _former_holders_wake_up(self, job_id: str) -> None:
        for worker in self.workers[:-1]:
            if worker.attempts_at(job_id):
                self._wakes_up(worker)
                worker.awake = False

    def _wakes_up(self, worker: Worker) -> None:
        """It hears what it has lost, and nothing counts that it says of that."""
        for claim in self._renew(worker):
            self._finish(worker, claim)
            self._release(worker, claim)

    def _next_looks_around(self, *, queue_down: bool = False) -> None:
        self.turn += 1
        worker = self.workers[self.turn % len(self.workers)]
        if worker.awake:
            self._renew(worker)
            self._sweep(worker, queue_down=queue_down)

    def _renew(self, worker: Worker) -> list[Claim]:
        held = {claim: self.model.jobs[claim.job_id] for claim in worker.claims.held()}
        ours = [job for claim, job in held.items() if job.is_held_by(claim)]
        still = self.model.open()
        lost = [claim for claim, job in held.items() if claim.job_id in still and not job.is_held_by(claim)]
        assert worker.claims.renew() == lost
        assert not worker.awake or all(held[claim].was_replayed_since(claim) for claim in lost), (
            "a well worker lost a job"
        )
        worker.awake = True
        for job in ours:
            job.lease_s = self.redis.now_s() + LEASE_S
        return lost

    def _sweep(self, worker: Worker, *, queue_down: bool = False) -> None:
        self.redis.tick()
        self.queue.sent.clear()
        with self.queue.perhaps_down(down=queue_down):
            worker.sweep.run()
        crashed = self.model.leases_run_out(self.redis.now_s())
        self.model.deadlines_pass(self.redis.now_s())
        for job_id in crashed:
            job = self.model.jobs[job_id]
            assert not any(each.awake and job.attempt in each.attempts_at(job_id) for each in self.workers), job_id
            assert queue_down or job.state != "queued" or job_id in self.queue.sent
        assert sorted(self.queue.sent) == sorted(set(self.queue.sent))
        for job_id in sorted(self.queue.sent):
            assert self.model.jobs[job_id].state == "queued"
            if job_id not in crashed:
                self._was_lost(self.model.jobs[job_id])

    def _was_lost(self, job: JobInModel) -> None:
        """Its message was sent again for a reason."""
        now_s = self.redis.now_s()
        assert now_s - job.sent_at_s > PATIENCE_S
        assert self.redis.lpos(LISTS[keys.line(job.kind)], job.first_message) is None, "its first message was there"
        job.sent_at_s = now_s

    def _all_of(self, job_id: str) -> dict[str, Any]:
        return {"row": self.redis.hgetall(keys.job_row(job_id)), "result": self.redis.get(keys.celery_result(job_id))}

    def _busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.awake and worker.claims.held()]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnClock]:
    with redis_server(tmp_path_factory.mktemp("ledger-redis")) as url, OwnClock.of(url) as connection:
        yield connection


def test_whatever_happens_each_job_ends_once_and_none_is_stuck(connection: OwnClock) -> None:
    run_state_machine_as_test(
        lambda: LedgerMachine(connection),  # pyright: ignore[reportArgumentType]  whatever makes one will do
        settings=settings(max_examples=80, stateful_step_count=40, deadline=None, derandomize=True),
    )
