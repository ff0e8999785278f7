"""MiniLM's speed in sentence-transformers, by torch threads, their way to wait, and batch size; alone, and beside one busy core.

python -m benchmarks.torch_threads
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack

from worker.embedded import child_process

_SECONDS = 3.0
_BATCHES = (1, 8, 16)
_POLICIES = ("", "PASSIVE")


def main() -> None:
    print(
        "busy cores | OMP_WAIT_POLICY | torch threads | texts/s one by one | in batches of 8 | of 16 | CPU ms a text of 16"
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

    from pipeline.embeddings import load_embeddings, minilm_folder  # noqa: PLC0415

    model = load_embeddings(str(minilm_folder()))
    torch.set_num_threads(threads)
    cpu_ms = 0.0
    for batch in _BATCHES:
        texts = [f"Why does the model number {number} overfit when trees are deep?" for number in range(batch)]
        model.embed_documents(texts)
        begun, cpu_begun, embedded = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - begun < _SECONDS:
            model.embed_documents(texts)
            embedded += batch
        print(round(embedded / (time.perf_counter() - begun)))
        cpu_ms = 1000 * (time.process_time() - cpu_begun) / embedded
    print(round(cpu_ms, 1))


if __name__ == "__main__":
    measure(int(sys.argv[1])) if len(sys.argv) > 1 else main()
