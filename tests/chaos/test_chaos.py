"""The short form of `make chaos`: workers and Redis are killed while jobs run, and every job still ends once."""

from pathlib import Path

import pytest

from tests.chaos.checker import figures, table
from tests.chaos.drill import drill
from tests.chaos.plan import Plan

SHORT = Plan(
    jobs=300,
    busy_s=18.0,
    limit_s=600.0,
    seed=12,
    workers=2,
    producers=2,
    lease_s=5.0,
    concurrency=4,
    poison=2,
    kills=3,
    stops=1,
    terms=1,
    redis_kills=1,
)
#: What a busy machine can make longer without a fault of ours.
_RECOVERY_LIMIT_S = 60.0


def test_no_job_is_lost_or_counts_twice_while_workers_and_redis_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDASK_GRACE_S", "15")
    found = {figure.name: figure for figure in figures(drill(SHORT, "vidask", tmp_path / "drill"))}
    said = table(list(found.values()))
    assert found.pop("recovery_p99_s").value <= _RECOVERY_LIMIT_S, said
    assert all(figure.reached for figure in found.values()), said
