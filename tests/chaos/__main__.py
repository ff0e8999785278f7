"""`make chaos`: the drill on vidask, and the same on plain Celery; exit status 1 where vidask misses a goal."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.checker import figures, table
from tests.chaos.drill import drill
from tests.chaos.plan import long_plan


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=15, help="the most that a drill may take")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--plain", action="store_true", help="do the same with plain Celery afterwards")
    parser.add_argument("--folder", type=Path, help="keep logs and notes in this folder, which is made")
    given = parser.parse_args()
    plan = long_plan(jobs=given.jobs, minutes=given.minutes, seed=given.seed, workers=given.workers)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="vidask-chaos-"))
    folder.mkdir(exist_ok=True)
    _say(f"{plan}\nchaos: logs and notes are kept in {folder}")
    evidence = drill(plan, "vidask", folder / "vidask")
    _say(f"vidask took {evidence.took_s:.0f} s")
    ours = figures(evidence)
    plain = figures(drill(plan, "plain Celery", folder / "plain")) if given.plain else None
    _say(f"what it came to\n{table(ours, plain)}")
    return 0 if all(figure.reached for figure in ours) else 1


def _say(text: str) -> None:
    print(f"chaos: {text}", flush=True)  # noqa: T201  what the user is to read


if __name__ == "__main__":
    sys.exit(main())
