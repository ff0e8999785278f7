"""Questions that come when they come: an open loop, whose next arrival waits for nobody's answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from benchmarks.engine.options import Options
from benchmarks.engine.system import percentile

#: So many at most, and for so long; more make the p95 no better.
MAX_ARRIVALS = 256
_ARRIVING_S = 40.0


def arrivals_s(options: Options) -> list[float]:
    """When each question comes, seconds from the begin: at random, at half of what the whole system was measured to bear."""
    rate, chance = options.found("system")["jobs_per_s"] / 2, random.Random(0)  # noqa: S311
    at_s = itertools.accumulate(chance.expovariate(rate) for _ in range(min(options.jobs, MAX_ARRIVALS)))
    return [next(at_s), *itertools.takewhile(lambda at: at < _ARRIVING_S, at_s)]


def first_tokens(taken_s: Sequence[float], at_s: Sequence[float]) -> dict[str, float]:
    """Seconds to the first token, of questions that came at these times."""
    ordered = sorted(taken_s)
    return {
        "p50_s": percentile(ordered, 50),
        "p95_s": percentile(ordered, 95),
        "questions": len(ordered),
        "arrivals_per_s": len(at_s) / at_s[-1],
    }
