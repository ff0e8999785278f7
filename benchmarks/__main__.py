"""`make bench`: every figure with its goal; exit status 1 when one falls short. Name parts to run only those."""

from __future__ import annotations

import sys
from importlib import import_module

PARTS = ("queue", "search", "retrieval", "recall", "prefix", "embedding", "startup", "slides", "ocr", "importing")


def main() -> int:
    missed = 0
    for part in sys.argv[1:] or PARTS:
        for figure in import_module(f"benchmarks.{part}").figures():
            missed += not figure.reached
            print(figure if figure.reached else f"{figure}  MISSED", flush=True)
    print(f"bench: {missed} figures missed their goal" if missed else "bench: every figure reached its goal")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
