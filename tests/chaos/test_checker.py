"""The checker of the drill finds what is wrong: each fault is put into the evidence of a drill without fault."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.chaos.checker import figures
from tests.chaos.drill import Evidence
from tests.chaos.plan import Plan
from tests.chaos.records import Note, What
from tests.chaos.systems import End, Vidask

PLAN = Plan(
    jobs=3,
    busy_s=10.0,
    limit_s=20.0,
    seed=1,
    workers=2,
    producers=1,
    lease_s=5.0,
    concurrency=4,
    poison=1,
    kills=1,
    stops=1,
    terms=0,
    redis_kills=0,
)
[POISON] = [PLAN.job_id(number) for number in PLAN.poisonous]
QUIET, REDONE = [job for job in (PLAN.job_id(number) for number in range(PLAN.jobs)) if job != POISON]


def _answer(job: str, attempt: int, pid: int) -> str:
    return f"{job} {attempt} {pid}"


def _executed(job: str, attempt: int, pid: int, start_s: float, end_s: float, end: What = "done") -> list[Note]:
    return [Note("started", job, attempt, "", pid, start_s), Note(end, job, attempt, "", pid, end_s)]


@dataclass
class Drill:
    """One job goes well, one loses its worker to a kill and is done again, one is poison; a worker is stopped at rest."""

    notes: list[Note]
    ends: dict[str, End]
    eternal: list[str]

    def figures_missed(self) -> list[str]:
        notes = sorted(self.notes, key=lambda note: note.at_s)
        found = figures(Evidence(PLAN, Vidask, notes, self.ends, self.eternal, 20.0))
        return [figure.name for figure in found if not figure.reached]

    def end(self, job: str, visible: str, attempt: int) -> None:
        """Another end, for the row and for who listened."""
        self.ends[job] = End(visible, attempt)
        told = Note("published", job, text=visible, at_s=20.0)
        self.notes = [told if (note.what, note.job) == ("published", job) else note for note in self.notes]


@pytest.fixture
def drill() -> Drill:
    ends = {
        QUIET: End(_answer(QUIET, 1, 11), 1),
        REDONE: End(_answer(REDONE, 2, 12), 2),
        POISON: End("JobQuarantined", 3),
    }
    notes = [
        *(Note("accepted", job, at_s=0.0) for job in ends),
        *(Note("published", job, text=end.visible, at_s=20.0) for job, end in ends.items()),
        *_executed(QUIET, 1, 11, 1.0, 2.0),
        Note("started", REDONE, 1, "", 11, 1.0),
        Note("killed", pid=11, at_s=3.0),
        *_executed(REDONE, 2, 12, 8.5, 9.0),
        *(note for at in (1, 2, 3) for note in _executed(POISON, at, 12 + at, 5.0 * at, 5.0 * at + 0.5, "poison")),
        Note("ended", pid=10, text="1", at_s=1.0),  # it could not begin, because Redis was away
        Note("stopped", pid=12, at_s=10.0),
        Note("continued", pid=12, at_s=18.0),
    ]
    return Drill(notes, ends, [])


def test_a_drill_without_fault_reaches_every_goal(drill: Drill) -> None:
    assert drill.figures_missed() == []


def test_the_time_without_redis_is_no_fault_of_the_workers(drill: Drill) -> None:
    drill.notes = [replace(note, at_s=note.at_s + 4) if note.attempt == 2 else note for note in drill.notes]
    drill.notes += [Note("redis killed", at_s=4.0), Note("redis started", at_s=8.0)]
    assert drill.figures_missed() == []


def _lost(drill: Drill) -> None:
    drill.ends[QUIET] = End("", 1)


def _never_run_again(drill: Drill) -> None:
    drill.ends[REDONE] = End("", 1)
    drill.notes = [note for note in drill.notes if note.job != REDONE or note.what == "accepted" or note.attempt == 1]


def _two_results(drill: Drill) -> None:
    drill.notes.append(Note("seen", QUIET, text="JobFailed", at_s=4.0))


def _written_by_who_was_killed(drill: Drill) -> None:
    drill.end(REDONE, _answer(REDONE, 1, 11), 2)


def _two_workers_at_one_attempt(drill: Drill) -> None:
    drill.notes += [*_executed(QUIET, 1, 12, 1.2, 2.0), Note("stopped", pid=12, at_s=1.5)]
    drill.notes += [Note("continued", pid=12, at_s=1.8)]


def _poison_at_large(drill: Drill) -> None:
    drill.end(POISON, "JobFailed", 3)


def _harmed_beside_poison(drill: Drill) -> None:
    """It was running where poison killed the worker for the first time."""
    drill.notes.append(Note("started", QUIET, 1, "", 13, 5.1))
    drill.end(QUIET, "JobQuarantined", 3)


def _harmed(drill: Drill) -> None:
    drill.end(QUIET, "JobFailed", 1)


def _done_again(drill: Drill) -> None:
    drill.notes += _executed(QUIET, 2, 12, 2.5, 3.0)
    drill.end(QUIET, _answer(QUIET, 2, 12), 2)


def _all_done_again(drill: Drill) -> None:
    _done_again(drill)
    drill.notes += _executed(REDONE, 3, 12, 9.5, 9.8)
    drill.end(REDONE, _answer(REDONE, 3, 12), 3)


def _slow_to_recover(drill: Drill) -> None:
    drill.notes = [replace(note, at_s=note.at_s + 4) if note.attempt == 2 else note for note in drill.notes]


def _slow_to_recover_after_redis(drill: Drill) -> None:
    """More than the time for which Redis was away."""
    drill.notes = [replace(note, at_s=note.at_s + 4) if note.attempt == 2 else note for note in drill.notes]
    drill.notes += [Note("redis killed", at_s=4.0), Note("redis started", at_s=5.0)]


def _a_key_that_stays(drill: Drill) -> None:
    drill.eternal.append("vidask:job:1")


def _a_worker_fell_over(drill: Drill) -> None:
    drill.notes += [Note("ready", pid=12, at_s=0.5), Note("ended", pid=12, text="1", at_s=19.0)]


def _a_worker_stayed(drill: Drill) -> None:
    drill.notes.append(Note("told to end", pid=12, at_s=4.0))


def _nobody_heard(drill: Drill) -> None:
    drill.notes = [note for note in drill.notes if note.what != "published"]


def _nobody_was_killed(drill: Drill) -> None:
    drill.notes = [replace(note, what="poison") if note.what == "killed" else note for note in drill.notes]


@pytest.mark.parametrize(
    ("fault", "missed"),
    [
        (_lost, {"accepted_jobs_without_one_end"}),
        (_never_run_again, {"accepted_jobs_without_one_end", "recovery_p99_s", "results_heard_at_once"}),
        (_two_results, {"jobs_with_two_visible_results"}),
        (_written_by_who_was_killed, {"results_written_by_fenced_workers"}),
        (_two_workers_at_one_attempt, {"results_written_by_fenced_workers"}),
        (_poison_at_large, {"poison_jobs_not_quarantined"}),
        (_harmed_beside_poison, {"neighbours_of_poison_that_failed"}),
        (_harmed, {"other_jobs_that_failed"}),
        (_done_again, {"executions_without_cause"}),
        (_all_done_again, {"executions_without_cause", "executions_beyond_the_first"}),
        (_slow_to_recover, {"recovery_p99_s"}),
        (_slow_to_recover_after_redis, {"recovery_p99_s"}),
        (_a_key_that_stays, {"keys_without_ttl"}),
        (_a_worker_fell_over, {"workers_that_ended_unasked"}),
        (_a_worker_stayed, {"workers_that_stayed_when_told_to_end"}),
        (_nobody_heard, {"results_heard_at_once"}),
        (_nobody_was_killed, {"workers_killed"}),
    ],
)
def test_each_fault_is_found(drill: Drill, fault: Callable[[Drill], None], missed: set[str]) -> None:
    fault(drill)
    assert set(drill.figures_missed()) == missed
