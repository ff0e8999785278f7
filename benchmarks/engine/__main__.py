"""A worker with an engine, measured whole, over what nothing around the engine can beat, and beside what people do today.

    python -m benchmarks.engine.shapes qwen2.5-7b /tmp/qwen2.5-7b
    python -m benchmarks.engine --model /tmp/qwen2.5-7b --out /tmp/figures --goal 0.95

On a CPU, with a few jobs (see the tests of the engine for what the environment needs):

    python -m benchmarks.engine.shapes tiny /tmp/tiny
    python -m benchmarks.engine --model /tmp/tiny --out /tmp/figures --jobs 24 --engine '{"enforce_eager": true}'

With a model that sees pictures (the shape `qwen2.5-vl-7b`, or `tiny-vl` on a CPU) also `--parts chat,captions+beside-frames`.

The part `whole` starts the system once and measures in it all that is measured there; one of its measurements alone is a part, too,
and so are several, like `system+priority`.
The parts `batches` and `one` need the packages celery-batches and langchain-community.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from benchmarks.engine.library import is_indexed
from benchmarks.engine.options import ENGINE, Options
from benchmarks.engine.part import PARTS, WHOLE, found_by
from benchmarks.engine.processes import adopt_orphans, run_part
from benchmarks.engine.table import figures, lines
from benchmarks.engine.whole import MEASUREMENTS, OF_FRAMES

_KNOWN = (*PARTS, *MEASUREMENTS, "chat", *OF_FRAMES)
_PARTS = f"of {','.join(PARTS)}; or of the measurements in {WHOLE}, {','.join(MEASUREMENTS)}; of frames chat,{','.join(OF_FRAMES)}"
_LIMIT_S = 480.0
_LIMITS_S = {WHOLE: 420.0}


def main() -> int:
    arguments = _arguments()
    options = Options(
        model=str(arguments.model.resolve()),
        out=str(arguments.out.resolve()),
        library=str((arguments.library or arguments.out / "library").resolve()),
        jobs=arguments.jobs,
        rounds=arguments.rounds,
        engine=ENGINE | arguments.engine,
        embedding_device=arguments.embedding_device,
    )
    options.save()
    adopt_orphans()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM")
    )  # so that nothing of a part stays on the card
    failed = [part for part in _needed(arguments.parts, options) if not _run(part, options, arguments.limit)]
    print("\n".join(lines(options)))
    missed = 0
    for figure in figures(options, goal=arguments.goal):
        missed += not figure.reached
        print(figure if figure.reached else f"{figure}  MISSED")
    return 1 if failed or missed else 0


def _run(part: str, options: Options, limit_s: float | None) -> bool:
    for name in found_by(part):
        (options.folder / f"{name}.json").unlink(missing_ok=True)
    begun = time.monotonic()
    reason = run_part(part, options.folder, limit_s or _LIMITS_S.get(part, _LIMIT_S))
    print(f"part {part}: {time.monotonic() - begun:.0f} s{f', failed: {reason}' if reason else ''}", flush=True)
    return not reason


def _needed(parts: list[str], options: Options) -> list[str]:
    """The parts in their order; the index before them, unless it is there."""
    wanted = [part for part in _KNOWN if part in parts and part != "index"]
    wanted += [part for part in parts if "+" in part]
    return wanted if is_indexed(options) else ["index", *wanted]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found, and for logs")
    parser.add_argument("--library", type=Path, help="folder of the index, to share it between runs; OUT/library")
    parser.add_argument("--jobs", type=int, default=512, help="questions; 512")
    parser.add_argument("--rounds", type=int, default=3, help="of all questions, to measure the system; 3")
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help=f"{_PARTS}; all")
    parser.add_argument("--engine", type=json.loads, default={}, help="more engine arguments, a JSON object")
    parser.add_argument("--embedding-device", default="cpu", help="where MiniLM runs; cpu")
    parser.add_argument("--goal", type=float, default=0.85, help="of the share of the bound; 0.85")
    parser.add_argument(
        "--limit", type=float, help=f"longest time of one part, seconds; {_LIMIT_S:g}, for {WHOLE} {_LIMITS_S[WHOLE]:g}"
    )
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := {name for part in parts for name in part.split("+")} - {*_KNOWN}:
        msg = f"{', '.join(sorted(unknown))}: no such part; there are {', '.join(_KNOWN)}"
        raise argparse.ArgumentTypeError(msg)
    return parts


if __name__ == "__main__":
    sys.exit(main())
