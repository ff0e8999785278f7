"""The drill: jobs, workers and disturbances, then the peace in which everything is to come to its end."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.hosts import Crew, Redis, Worker
from tests.chaos.plan import Blow, Plan
from tests.chaos.producing import listener, producers
from tests.chaos.records import Note, Records, read
from tests.chaos.systems import SYSTEMS, End, Name, System
from tests.chaos.watch import Watch
from tests.chaos.work import RECORDS
from tests.support import keys_without_ttl, wait_for

_START_LIMIT_S = 180.0
_TICK_S = 0.05
#: A disturbance that finds only one worker at work, or no Redis, waits for so long.
_LATER_S = 0.2
#: Redis is away for up to so long.
_REDIS_AWAY_S = 1.5
#: A worker is stopped for so many times its lease, at least and at most.
_STOPPED_LEASES = (1.3, 2.5)
_LOOK_EVERY_S = 1.0
_AT_ONCE = 1_000
#: Where no job has ended for so long, none will.
_PROGRESS_S = 120.0
#: Those who wait look at the row every five seconds, should they have missed the news.
_LAST_RESULTS_S = 10.0


@dataclass(frozen=True)
class Evidence:
    """What a drill leaves: the notes of all processes by time, how the jobs stand in Redis, and keys that would stay for ever."""

    plan: Plan
    system: type[System]
    notes: Sequence[Note]
    ends: dict[str, End]
    eternal: Sequence[str]
    took_s: float


class Drill:
    """One drill that is under way."""

    def __init__(self, plan: Plan, redis: Redis, crew: Crew, watch: Watch, records: Records) -> None:
        self._plan = plan
        self._redis = redis
        self._crew = crew
        self._watch = watch
        self._records = records
        self._chance = random.Random(f"{plan.seed} drill")
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def schedule(self) -> None:
        """The disturbances, from now on."""
        do: dict[Blow, Callable[[], None]] = {
            "kill a worker": lambda: self._to_a_worker(self._crew.kill),
            "stop a worker": lambda: self._to_a_worker(self._stop),
            "tell a worker to end": lambda: self._to_a_worker(self._crew.tell_to_end),
            "kill Redis": self._kill_redis,
        }
        for at_s, blow in self._plan.blows():
            self._later(at_s, do[blow])

    def go_on_until(self, done: Callable[[], bool], limit_at: float) -> bool:
        """Tend the workers and do what is due, until it is done; false where that took too long."""
        while not done():
            if time.monotonic() > limit_at:
                return False
            self._crew.tend()
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()
            time.sleep(_TICK_S)
        return True

    @property
    def at_peace(self) -> bool:
        """Whether every disturbance has happened and is over."""
        return not self._due and not self._crew.is_leaving()

    def _later(self, after_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + after_s, next(self._order), do))

    def _to_a_worker(self, do: Callable[[Worker], None]) -> None:
        """To one of those at work, where another goes on meanwhile."""
        at_work = self._crew.at_work()
        victims = [worker for worker in at_work if self._watch.may_be_hit(worker.pid)]
        if len(at_work) < 2 or not victims:
            self._later(_LATER_S, lambda: self._to_a_worker(do))
        else:
            do(self._chance.choice(victims))

    def _stop(self, worker: Worker) -> None:
        self._crew.stop(worker)
        self._later(self._plan.lease_s * self._chance.uniform(*_STOPPED_LEASES), lambda: self._crew.go_on(worker))

    def _kill_redis(self) -> None:
        if self._redis.away:
            self._later(_LATER_S, self._kill_redis)
            return
        self._redis.kill()
        self._records.note("redis killed")
        self._later(self._chance.uniform(0.0, _REDIS_AWAY_S), self._start_redis)

    def _start_redis(self) -> None:
        self._redis.start()
        self._records.note("redis started")


def drill(plan: Plan, name: Name, folder: Path) -> Evidence:
    """Do it, with what it needs in that folder; everything that it started has ended when this returns."""
    folder.mkdir()
    with ExitStack() as stack:
        redis = stack.enter_context(closing(Redis(folder / "redis")))
        system = stack.enter_context(SYSTEMS[name](redis.url))
        records, watch = Records(folder, "driver"), Watch(folder)
        crew = stack.enter_context(closing(_crew(plan, system, folder, records, watch)))
        wait_for("all workers take jobs", lambda: len(crew.at_work()) == plan.workers, _START_LIMIT_S)
        stack.enter_context(listener(redis.url, folder))
        begun = time.monotonic()
        _run(Drill(plan, redis, crew, watch, records), plan, system, folder)
        ended = time.monotonic()
        ids = _accepted(folder)
        crew.close()
        notes, ends, eternal = read(folder), _ends(system, ids), keys_without_ttl(redis.url)
    return Evidence(plan, type(system), notes, ends, eternal, ended - begun)


def _run(under_way: Drill, plan: Plan, system: System, folder: Path) -> None:
    """From the first job until each has ended, or nothing goes on any more."""
    limit_at = time.monotonic() + plan.limit_s
    with producers(plan, system.name, system.url, folder) as producing:
        under_way.schedule()
        under_way.go_on_until(lambda: under_way.at_peace and all(each.sent.is_set() for each in producing), limit_at)
        rest = _Rest(system, _accepted(folder))
        under_way.go_on_until(rest.is_over, limit_at)
        patience = time.monotonic() + _LAST_RESULTS_S
        under_way.go_on_until(lambda: not any(each.process.is_alive() for each in producing), patience)


class _Rest:
    """The jobs that have not ended; over when there are none, or none has ended for long."""

    def __init__(self, system: System, job_ids: Sequence[str]) -> None:
        self._system = system
        self._left = job_ids
        self._looked_at = self._progress_at = time.monotonic()

    def is_over(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at > _LOOK_EVERY_S:
            left = [job_id for job_id, end in _ends(self._system, self._left).items() if not end.visible]
            self._progress_at = now if len(left) < len(self._left) else self._progress_at
            self._left, self._looked_at = left, now
        return not self._left or now - self._progress_at > _PROGRESS_S


def _ends(system: System, job_ids: Sequence[str]) -> dict[str, End]:
    parts = (system.ends(job_ids[at : at + _AT_ONCE]) for at in range(0, len(job_ids), _AT_ONCE))
    return {job_id: end for part in parts for job_id, end in part.items()}


def _accepted(folder: Path) -> list[str]:
    return [note.job for note in read(folder) if note.what == "accepted"]


def _crew(plan: Plan, system: System, folder: Path, records: Records, watch: Watch) -> Crew:
    env = {
        RECORDS: str(folder),
        "VIDASK_REDIS_URL": system.url,
        "VIDASK_CONCURRENCY": str(plan.concurrency),
        "VIDASK_LEASE_S": f"{plan.lease_s:g}",
    }
    return Crew(system.app, plan.workers, env=env, folder=folder, records=records, watch=watch)
