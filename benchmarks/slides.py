"""A lecture of ten minutes and forty slides, cut into the frames that are worth indexing.

Slides last for 4 to 30 seconds; a quarter fade in, a quarter are built up in three steps, a pointer moves over half of them, and a
speaker stands in the corner of the last ten.
"""

from __future__ import annotations

import io
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from benchmarks.figures import Figure
from tests.drawing import Shot, slide, video
from vidask import Frame
from vidask.video import pick_frames

_SLIDES = 40
_LENGTH_S = 600.0
_SIZE = (1280, 720)
_FPS = 12.5
_WORDS = (
    *(
        "tree",
        "forest",
        "split",
        "leaf",
        "depth",
        "gain",
        "entropy",
        "sample",
        "feature",
        "label",
        "noise",
        "bias",
        "margin",
    ),
    *(
        "kernel",
        "vector",
        "gradient",
        "step",
        "rate",
        "momentum",
        "batch",
        "epoch",
        "layer",
        "weight",
        "neuron",
        "signal",
    ),
    *("loss", "score", "model", "query", "index", "cache", "token", "chunk", "frame", "caption", "answer", "variance"),
)
#: Share of the pixels that a pointer and the noise of JPEG change, at most; a line of text changes more.
_SAME = 0.001


@dataclass(frozen=True)
class _Slide:
    """A slide as it is when it is complete, and when that is, in seconds."""

    picture: Image.Image
    complete_s: float
    until_s: float


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="vidask-bench-") as folder:
        shots, slides = _lecture()
        path = video(Path(folder) / "lecture.mp4", shots, fps=_FPS, options={"preset": "veryfast"})
        begun = time.perf_counter()
        picked = pick_frames(path)
        frames = list(picked)
        took_s = time.perf_counter() - begun
    seen = sum(any(_shows(frame, slide) for frame in frames) for slide in slides)
    speed = f"{picked.decoded} frames read, {took_s / _LENGTH_S * 60:.2f} s a minute of video"
    yield Figure("slides_kept_of_40", seen, ">=", 39, speed)
    size = sum(len(frame.image or b"") for frame in frames)
    yield Figure("slides_frames_kept", len(frames), "<=", 80, f"{size / 1e6:.1f} MB of JPEGs")
    yield Figure("slides_frames_over_one_each_2_s", len(frames) / (_LENGTH_S / 2), "<=", 0.3)


def _lecture() -> tuple[list[Shot], list[_Slide]]:
    chance = random.Random(5)  # noqa: S311
    lengths = [chance.uniform(4.0, 30.0) for _ in range(_SLIDES)]
    shots: list[Shot] = []
    slides: list[_Slide] = []
    ends_s = 0.0
    for number, length in enumerate(lengths):
        steps = _steps(chance)
        pause_s = length / sum(lengths) * _LENGTH_S / len(steps)
        for step, picture in enumerate(steps):
            fades = step == 0 and number % 4 == 1
            shots.append(Shot(picture, pause_s, 0.8 if fades else 0.0, pointer=number % 2 == 0, head=number >= 30))
        ends_s += pause_s * len(steps)
        slides.append(_Slide(steps[-1], ends_s - pause_s, ends_s))
    return shots, slides


def _steps(chance: random.Random) -> list[Image.Image]:
    """A slide, or the states in which it is built up line by line."""
    title = " ".join(chance.sample(_WORDS, 3)).capitalize()
    lines = [" ".join(chance.sample(_WORDS, chance.randint(2, 6))) for _ in range(chance.randint(3, 5))]
    shown = (len(lines) - 2, len(lines) - 1, len(lines)) if chance.random() < 0.25 else (len(lines),)
    return [slide(title, lines[:n], size=_SIZE) for n in shown]


def _shows(frame: Frame, slide: _Slide) -> bool:
    """Whether the frame appears while the slide is complete, and shows it, whatever stands in the speaker's corner."""
    assert frame.image is not None
    if not slide.complete_s <= frame.time_s < slide.until_s:
        return False
    differs = ImageChops.difference(Image.open(io.BytesIO(frame.image)).convert("L"), slide.picture.convert("L"))
    differs.paste(0, (_SIZE[0] * 3 // 4, _SIZE[1] * 7 // 10, *_SIZE))
    changed = sum(differs.histogram()[64:])
    return changed / (_SIZE[0] * _SIZE[1]) < _SAME
