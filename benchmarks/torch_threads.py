"""MiniLM's speed by torch threads, their way to wait, and what is embedded; alone, and with one core busy with something else.

python -m benchmarks.torch_threads
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack

from langchain_core.embeddings import Embeddings

from worker.embedded import child_process

_SECONDS = 3.0
_BATCHES = (1, 8, 16)
#: Of about 250 tokens, as long as the model takes.
_CHUNK = "Deep trees learn the training data by heart, so we prune what does not help on data held out. " * 13
_POLICIES = ("", "PASSIVE")


def main() -> None:
    print(
        "busy cores | OMP_WAIT_POLICY | torch threads | questions/s one by one | in batches of 8 | of 16 | CPU ms a question of 16"
        " | chunks/s in batches of 16 | in float32"
    )
    for busy in (0, 1):
        for policy in _POLICIES:
            for threads in (1, 2):
                print(f"{busy} | {policy or 'default'} | {threads} | {_measured(busy, policy, threads)}", flush=True)


def _measured(busy: int, policy: str, threads: int) -> str:
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy:
        env["OMP_WAIT_POLICY"] = policy
    command = [sys.executable, "-m", "benchmarks.torch_threads", str(threads)]
    with ExitStack() as stack:
        for _ in range(busy):
            stack.enter_context(child_process([sys.executable, "-c", "while True: pass"]))
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return " | ".join(done.stdout.split())


def measure(threads: int) -> None:
    import torch  # noqa: PLC0415  only the child needs it

    from pipeline import embeddings  # noqa: PLC0415

    model = embeddings.load_embeddings()
    torch.set_num_threads(threads)
    cpu_ms = 0.0
    for batch in _BATCHES:
        questions = [f"Why does the model number {number} overfit when trees are deep?" for number in range(batch)]
        per_s, cpu_ms = _speed(model, questions)
        print(round(per_s))
    print(round(cpu_ms, 1))
    chunks = [f"{number}. {_CHUNK}" for number in range(_BATCHES[-1])]
    print(round(_speed(model, chunks)[0]))
    embeddings._WORTH_CONVERTING = sys.maxsize  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  as without bfloat16
    print(round(_speed(model, chunks)[0]))


def _speed(model: Embeddings, texts: list[str]) -> tuple[float, float]:
    """Texts a second, and CPU milliseconds a text."""
    model.embed_documents(texts)
    begun, cpu_begun, embedded = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < _SECONDS:
        model.embed_documents(texts)
        embedded += len(texts)
    return embedded / (time.perf_counter() - begun), 1000 * (time.process_time() - cpu_begun) / embedded


if __name__ == "__main__":
    measure(int(sys.argv[1])) if len(sys.argv) > 1 else main()
