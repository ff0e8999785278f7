"""Whether a worker grows: its memory after 20,000 jobs beside that after 2,000; exit status 1 where it does."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure
from tests.support import wait_for
from vidask import Client
from worker.embedded import redis_server, worker_process

_FEW, _MANY = 2_000, 20_000
_LIMIT_S = 600.0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="vidask-chaos-") as folder:
        figure = measured(Path(folder))
    print(figure if figure.reached else f"{figure}  MISSED", flush=True)  # noqa: T201  what the user is to read
    return 0 if figure.reached else 1


def measured(folder: Path) -> Figure:
    """One worker whose model answers at once."""
    env = {"VIDASK_LOG_LEVEL": "ERROR"}
    with (
        redis_server(folder / "redis") as url,
        worker_process(url, env=env, app="benchmarks.instant_app", log=folder / "worker.log") as worker,
        Client(url) as client,
    ):
        _do(client, _FEW)
        few = _resident_mib(worker.pid)
        _do(client, _MANY - _FEW)
        many = _resident_mib(worker.pid)
    return Figure("worker_memory_20000_jobs_over_2000", many / few, "<=", 1.05, f"{many:.1f} MiB over {few:.1f} MiB")


def _do(client: Client, jobs: int) -> None:
    handles = [client.ask(f"Why does a deep tree overfit? (number {number})") for number in range(jobs)]
    for job in handles:
        wait_for("every job has ended", lambda job=job: job.status() == "succeeded", _LIMIT_S)


def _resident_mib(pid: int) -> float:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
