"""What a drill consists of, decided in advance by its seed: the jobs, and when what is done to whom."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tests.chaos.work import Work

Blow = Literal["kill a worker", "stop a worker", "tell a worker to end", "kill Redis"]

_SHORTEST_S, _LONGEST_S = 0.02, 1.0
#: No poison among the last jobs, so that workers die of it while others are at work.
_POISON_UNTIL = 0.8
#: Of `make chaos` this part is busy; the rest is for what is left to do then.
_BUSY = 0.75


@dataclass(frozen=True)
class Plan:
    """A drill.

    Attributes:
        jobs: how many.
        busy_s: for how long they come and disturbances happen, seconds.
        limit_s: within which all is to be done, seconds.
        lease_s: of the workers, seconds.
        concurrency: jobs in flight in each worker.
        poison: how many of the jobs kill their worker.
        kills, stops, terms, redis_kills: how often a worker is killed, stopped beyond its lease, told to end, and Redis killed.
    """

    jobs: int
    busy_s: float
    limit_s: float
    seed: int
    workers: int
    producers: int
    lease_s: float
    concurrency: int
    poison: int
    kills: int
    stops: int
    terms: int
    redis_kills: int

    @cached_property
    def poisonous(self) -> frozenset[int]:
        """The numbers of the jobs that kill their worker, spread over the others."""
        return frozenset(int(part * self.jobs * _POISON_UNTIL) for part in self._spread("poison", self.poison))

    def job_id(self, number: int) -> str:
        """A job's id."""
        return f"chaos-{self.seed}-{number}"

    def is_poison(self, job_id: str) -> bool:
        """Whether that job kills its worker."""
        return int(job_id.rpartition("-")[2]) in self.poisonous

    def work(self, number: int) -> Work:
        """A job: as many take from 20 to 141 ms as from there to 1 s."""
        seconds = _SHORTEST_S * (_LONGEST_S / _SHORTEST_S) ** self._random(f"job {number}").random()
        return Work(seconds, poison=number in self.poisonous)

    def blows(self) -> Iterator[tuple[float, Blow]]:
        """When what happens, in seconds from the beginning, each sort spread over the busy time."""
        counts: dict[Blow, int] = {
            "kill a worker": self.kills,
            "stop a worker": self.stops,
            "tell a worker to end": self.terms,
            "kill Redis": self.redis_kills,
        }
        for blow, count in counts.items():
            for part in self._spread(blow, count):
                yield self.busy_s * part, blow

    def _spread(self, purpose: str, count: int) -> list[float]:
        """So many random numbers between 0 and 1, one in each stretch of the same length."""
        chance = self._random(purpose)
        return [(each + chance.random()) / count for each in range(count)]

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{self.seed} {purpose}")


def long_plan(*, jobs: int, minutes: float, seed: int, workers: int) -> Plan:
    """`make chaos`; a shorter one has fewer disturbances in proportion."""
    share = minutes / 15
    return Plan(
        jobs=jobs,
        busy_s=minutes * 60 * _BUSY,
        limit_s=minutes * 60,
        seed=seed,
        workers=workers,
        producers=3,
        lease_s=5.0,
        concurrency=8,
        poison=max(round(8 * share), 2),
        kills=max(round(66 * share), 3),
        stops=max(round(10 * share), 1),
        terms=max(round(10 * share), 1),
        redis_kills=max(round(6 * share), 1),
    )
