"""The engine's benchmark, with a few questions on the CPU: that it still measures everything, not how fast anything is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.engine.shapes import write_shape
from tests.engine.conftest import IN_ONE_PROCESS, ON_THE_CPU

ROOT = Path(__file__).parents[2]
JOBS = 4
LIMIT_S = 1200
ENGINE = {"enforce_eager": True, "max_num_seqs": 4, **IN_ONE_PROCESS}


def test_the_benchmark_of_the_engine_measures_everything_and_prints_it(tmp_path: Path) -> None:
    write_shape("tiny", tmp_path / "model")
    command = [sys.executable, "-m", "benchmarks.engine", "--model", tmp_path / "model", "--out", tmp_path / "found"]
    command += ["--jobs", JOBS, "--rounds", 1, "--parts", "bound,whole", "--engine", json.dumps(ENGINE)]
    command += ["--limit", LIMIT_S]  # of each of the three parts

    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | ON_THE_CPU,
        check=False,  # it ends with 1 where a goal is missed, and that a busy CPU may do
        capture_output=True,
        text=True,
        timeout=3 * LIMIT_S,
    )

    said = done.stdout + done.stderr
    assert not re.search("failed|skipped", said), said
    tokens = (
        r"\| \d+\.\d+ \| \d+\.\d\d \| 3[01]\d\d \| 172$"  # 32 for the question as it stands alone, 140 for the answer
    )
    for line in (
        "part bound: .* s",
        "  priority: .* s",
        "part whole: .* s",
        rf"bound {tokens}",
        rf"system {tokens}",
        rf"account {tokens}",
        "ttft: first token p50 .* ms",
        "ttft-engine: first token p50 .* ms",
        "CPU a job, .*: .* ms",
        "waiting for the loop: .* ms",
        "figure engine_jobs_over_offline_bound",
        "figure question_p95_beside_indexing_over_alone",
        "figure cancel_to_abort_p95_ms",
    ):
        assert re.search(rf"^{line}", said, re.MULTILINE), f"no line {line!r}:\n{said}"
