"""What a drill proves: the figures, from the notes of all processes and from what Redis holds at last."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.figures import Figure
from tests.chaos.drill import Evidence
from tests.chaos.records import Note, What
from tests.chaos.systems import End

#: A worker looks for what is lost so often within a lease.
_SWEEPS_A_LEASE = 5
#: Of the results so many are heard when they are published; the rest when Redis was killed at that moment.
_HEARD = 0.9


@dataclass(frozen=True)
class Execution:
    """One time that a worker began with a job; `done_at_s` is infinite where it never came to that."""

    job: str
    attempt: int
    pid: int
    started_at_s: float
    done_at_s: float


class Findings:
    """What follows from the evidence of one drill."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.plan = evidence.plan
        self._notes: defaultdict[What, list[Note]] = defaultdict(list)
        for note in evidence.notes:
            self._notes[note.what].append(note)

    def count(self, what: What) -> int:
        """How many notes say so."""
        return len(self._notes[what])

    def heard(self) -> int:
        """Of how many jobs the result was heard on their channels."""
        return len({note.job for note in self._notes["published"]})

    @cached_property
    def accepted(self) -> list[str]:
        """The jobs whose call returned."""
        return [note.job for note in self._notes["accepted"]]

    @cached_property
    def executions(self) -> dict[str, list[Execution]]:
        """By job, in the order in which they began."""
        done = {(note.job, note.attempt, note.pid): note.at_s for note in self._notes["done"]}
        by_job: defaultdict[str, list[Execution]] = defaultdict(list)
        for note in self._notes["started"]:
            done_at_s = done.get((note.job, note.attempt, note.pid), math.inf)
            by_job[note.job].append(Execution(note.job, note.attempt, note.pid, note.at_s, done_at_s))
        return by_job

    @cached_property
    def visible(self) -> dict[str, set[str]]:
        """By job, all that anybody ever saw of its result: on the channel, while waiting, in Redis at last."""
        seen = {job: {end.visible} for job, end in self.evidence.ends.items() if end.visible}
        for note in self._notes["published"] + self._notes["seen"]:
            seen.setdefault(note.job, set()).add(note.text)
        return seen

    def without_one_end(self) -> list[str]:
        """Accepted jobs that have no terminal state at last."""
        return [job for job in self.accepted if not self._end(job).visible]

    def with_two_results(self) -> list[str]:
        """Jobs of which somebody saw one result, and somebody another."""
        return [job for job, results in self.visible.items() if len(results) > 1]

    def fenced(self) -> list[str]:
        """Jobs with a result, wherever seen, by another execution than that of the row's last attempt."""
        return [
            job for job in self.accepted if any(self._is_fenced(job, result) for result in self.visible.get(job, ()))
        ]

    def in_flight_at_deaths(self) -> dict[Note, list[Execution]]:
        """By each death of a worker, of SIGKILL or of poison, what it had begun and not ended."""
        deaths = {note.pid: note for note in self._notes["killed"] + self._notes["poison"]}
        cut: dict[Note, list[Execution]] = {death: [] for death in deaths.values()}
        for execution in self._all():
            if execution.pid in deaths and execution.done_at_s == math.inf:
                cut[deaths[execution.pid]].append(execution)
        return cut

    def cut_off(self) -> set[Execution]:
        """What was in flight at those deaths, and when workers were stopped beyond their leases: each may be done once more."""
        stopped = {
            execution
            for execution in self._all()
            for stop in self._notes["stopped"]
            if stop.pid == execution.pid and execution.started_at_s <= stop.at_s < execution.done_at_s
        }
        return stopped.union(*self.in_flight_at_deaths().values())

    def recoveries_s(self) -> list[float]:
        """From a worker's death until each of its jobs was running again; infinite where that never was.

        Left out are those that had ended after all, with a result that was written or in quarantine, and the time without Redis.
        """
        return [
            took
            for death, cut in self.in_flight_at_deaths().items()
            for execution in cut
            if (took := self._recovery_s(death, execution)) is not None
        ]

    def beyond_the_first(self) -> int:
        """Executions of jobs that had been executed before."""
        return sum(len(executions) - 1 for executions in self.executions.values())

    def without_cause(self) -> int:
        """Executions beyond the first of their job, and beyond one for each time that it was cut off."""
        cut_off = Counter(execution.job for execution in self.cut_off())
        return sum(max(len(executions) - 1 - cut_off[job], 0) for job, executions in self.executions.items())

    def poison_at_large(self) -> list[str]:
        """Jobs that kill their worker, and are not in quarantine."""
        return [job for job in self.accepted if self.plan.is_poison(job) and self._end(job).visible != "JobQuarantined"]

    def harmed(self) -> list[str]:
        """Harmless jobs that came to another end than an answer."""
        return [
            job
            for job in self.accepted
            if not self.plan.is_poison(job) and self._end(job).visible and not self._end(job).succeeded
        ]

    def neighbours(self) -> set[str]:
        """Harmless jobs that were running when poison killed their worker."""
        return {
            execution.job
            for death, cut in self.in_flight_at_deaths().items()
            for execution in cut
            if death.what == "poison" and not self.plan.is_poison(execution.job)
        }

    def ended_unasked(self) -> Counter[str]:
        """Statuses of workers that ended at work though nobody killed them or told them to.

        One that cannot begin, because Redis is away, ends as it should and is started again.
        """
        killed = {note.pid for note in self._notes["killed"] + self._notes["poison"] + self._notes["told to end"]}
        unasked = {note.pid for note in self._notes["ready"]} - killed
        return Counter(note.text for note in self._notes["ended"] if note.pid in unasked)

    def stayed(self) -> list[int]:
        """Workers that did not end when they were told to."""
        ended = {note.pid for note in self._notes["ended"]}
        return [note.pid for note in self._notes["told to end"] if note.pid not in ended]

    def _recovery_s(self, death: Note, cut: Execution) -> float | None:
        again = [each.started_at_s for each in self.executions[cut.job] if each.started_at_s > death.at_s]
        if again:
            return again[0] - death.at_s - self._without_redis_s(death.at_s, again[0])
        return None if self._end(cut.job).visible else math.inf

    def _without_redis_s(self, begin_s: float, end_s: float) -> float:
        """For how long of that time Redis was away."""
        lives = zip(self._notes["redis killed"], self._notes["redis started"], strict=False)
        return sum(max(min(up.at_s, end_s) - max(down.at_s, begin_s), 0.0) for down, up in lives)

    def _is_fenced(self, job: str, result: str) -> bool:
        if not End(result).succeeded:
            return False
        of_job, attempt, pid = result.split()
        writers = [each.pid for each in self.executions[job] if each.attempt == int(attempt)]
        return (of_job, int(attempt), [int(pid)]) != (job, self._end(job).attempt, writers)

    def _end(self, job: str) -> End:
        return self.evidence.ends.get(job, End())

    def _all(self) -> Iterator[Execution]:
        for executions in self.executions.values():
            yield from executions


def figures(evidence: Evidence) -> list[Figure]:
    """The goals of the drill: what vidask promises, and that it was put to the test."""
    found = Findings(evidence)
    return [*_promises(found), *_tests(found)]


def _promises(found: Findings) -> Iterator[Figure]:
    harmed, neighbours, poison = set(found.harmed()), found.neighbours(), found.plan.poison
    recoveries_s = found.recoveries_s()
    fenced = len(found.fenced()) if found.evidence.system.fences else math.nan
    within_s = found.plan.lease_s * (1 + 2 / _SWEEPS_A_LEASE)
    yield Figure("accepted_jobs_without_one_end", len(found.without_one_end()), "<=", 0)
    yield Figure("results_written_by_fenced_workers", fenced, "<=", 0)
    yield Figure("jobs_with_two_visible_results", len(found.with_two_results()), "<=", 0)
    yield Figure("poison_jobs_not_quarantined", len(found.poison_at_large()), "<=", 0, f"of {poison}")
    yield Figure("neighbours_of_poison_that_failed", len(harmed & neighbours), "<=", 0, f"of {len(neighbours)}")
    yield Figure("other_jobs_that_failed", len(harmed - neighbours), "<=", 0)
    yield Figure("executions_beyond_the_first", found.beyond_the_first(), "<=", len(found.cut_off()), "those cut off")
    yield Figure("executions_without_cause", found.without_cause(), "<=", 0)
    yield Figure("recovery_p99_s", percentile(recoveries_s, 0.99), "<=", within_s, _spread(recoveries_s))
    yield Figure("keys_without_ttl", len(found.evidence.eternal), "<=", 0)
    yield Figure("workers_that_ended_unasked", found.ended_unasked().total(), "<=", 0)
    yield Figure("workers_that_stayed_when_told_to_end", len(found.stayed()), "<=", 0)


def _tests(found: Findings) -> Iterator[Figure]:
    plan, heard = found.plan, found.heard()
    yield Figure("jobs_accepted", len(found.accepted), ">=", plan.jobs, f"{found.count('sent again')} sent again")
    yield Figure("results_heard_at_once", heard, ">=", plan.jobs * _HEARD, f"and {found.count('seen')} waited for")
    yield Figure("workers_killed", found.count("killed"), ">=", plan.kills, f"and {found.count('poison')} by poison")
    yield Figure("workers_stopped", found.count("continued"), ">=", plan.stops)
    yield Figure("workers_told_to_end", found.count("told to end"), ">=", plan.terms)
    yield Figure("redis_killed", found.count("redis started"), ">=", plan.redis_kills)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; 0 where there are none."""
    return sorted(values)[math.ceil(len(values) * share) - 1] if values else 0.0


def _spread(values: Sequence[float]) -> str:
    return f"{len(values)} jobs, median {percentile(values, 0.5):.1f}, longest {max(values, default=0.0):.1f}"


def table(ours: Sequence[Figure], plain: Sequence[Figure] | None = None) -> str:
    """A line a figure; with the same drill on plain Celery beside it."""
    width = max(len(figure.name) for figure in ours)
    head = f"{'figure':{width}}  {'vidask':>10}  {'goal':>10}"
    lines = [head + ("  plain Celery" if plain else "")]
    for at, figure in enumerate(ours):
        goal = f"{figure.operator} {figure.goal:.4g}"
        beside = f"  {_shown(plain[at].value):>12}" if plain else ""
        note = f"  ({figure.note})" if figure.note else ""
        missed = "" if figure.reached else "  MISSED"
        lines.append(f"{figure.name:{width}}  {_shown(figure.value):>10}  {goal:>10}{beside}{missed}{note}")
    return "\n".join(lines)


def _shown(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "never" if math.isinf(value) else f"{value:.4g}"
