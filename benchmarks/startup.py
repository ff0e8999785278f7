"""`make demo` as a newcomer meets it: on a fresh clone with every package to download, and started again."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure

_ROOT = Path(__file__).parents[1]


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="vidask-bench-") as folder:
        clone = Path(folder) / "vidask"
        subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(clone)], check=True)  # noqa: S607
        yield Figure("make_demo_fresh_s", _make_demo(clone), "<=", 240)
        yield Figure("make_demo_again_s", _make_demo(clone), "<=", 20)


def _make_demo(clone: Path) -> float:
    begun = time.perf_counter()
    env = {**os.environ, "PIP_NO_CACHE_DIR": "1"}
    command = ["make", "--no-print-directory", "demo"]
    done = subprocess.run(command, cwd=clone, env=env, check=True, capture_output=True, text=True)
    took = time.perf_counter() - begun
    assert done.stdout.splitlines()[-1] == "demo: 7 jobs, 7 succeeded, 0 failed", done.stdout[-2000:]
    return took
