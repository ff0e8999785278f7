"""The pictures of the parts about frames: drawn slides with the lectures' sentences, no two alike, kept as files for all parts."""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.engine.workload import lecture_sentences
from tests.drawing import jpeg, slide
from vidask import Frame

#: Of an import that is timed, and of the one beside which people ask.
IMPORTED = 2_000
SECONDS_A_SLIDE = 10.0

_SIZE = (1280, 720)
_LINES = 5
_LINE_CHARS = 48


def imported(jobs: int) -> int:
    """How many there are in a run of so many questions, where a few questions are to be done in a few minutes."""
    return min(IMPORTED, 4 * jobs)


def frames(folder: Path, n: int, *, begin: int = 0) -> list[Frame]:
    """`n` slides with their times; drawn into the folder where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(begin, begin + n) if not _file(folder, number).exists()]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        list(processes.map(partial(_draw, folder), missing, chunksize=16))
    numbers = range(begin, begin + n)
    return [Frame(at * SECONDS_A_SLIDE, _file(folder, number).read_bytes()) for at, number in enumerate(numbers)]


def _draw(folder: Path, number: int) -> None:
    chance = random.Random(number)  # noqa: S311
    said = [sentence[:_LINE_CHARS] for sentence in chance.sample(lecture_sentences(), _LINES)]
    picture = slide(f"Slide {number}: {said[0][:24]}", said, size=_SIZE)
    _file(folder, number).write_bytes(jpeg(picture, quality=85))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.jpg"
