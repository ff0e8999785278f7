"""MiniLM's speed by torch threads and batch size, on an idle machine and with one core busy with something else.

python -m benchmarks.torch_threads
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

from worker.embedded import child_process

_SECONDS = 3.0
_BATCHES = (1, 8, 16)


def main() -> None:
    print("busy cores | torch threads | texts/s one by one | in batches of 8 | of 16")
    for busy in (0, 1):
        for threads in (1, 2):
            with ExitStack() as stack:
                for _ in range(busy):
                    stack.enter_context(child_process([sys.executable, "-c", "while True: pass"]))
                command = [sys.executable, "-m", "benchmarks.torch_threads", str(threads)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"{busy} | {threads} | {' | '.join(done.stdout.split())}", flush=True)


def measure(threads: int) -> None:
    import torch  # noqa: PLC0415  only the child needs it

    from pipeline.embeddings import load_embeddings  # noqa: PLC0415

    model = load_embeddings()
    torch.set_num_threads(threads)
    for batch in _BATCHES:
        texts = [f"Why does the model number {number} overfit when trees are deep?" for number in range(batch)]
        model.embed_documents(texts)
        begun, embedded = time.perf_counter(), 0
        while time.perf_counter() - begun < _SECONDS:
            model.embed_documents(texts)
            embedded += batch
        print(round(embedded / (time.perf_counter() - begun)))


if __name__ == "__main__":
    measure(int(sys.argv[1])) if len(sys.argv) > 1 else main()
