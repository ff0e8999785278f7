"""The slides of the first example lecture, drawn: some of what stands on them is never said.

`python -m examples.slides talk.mp4` writes them as a video.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from typing import cast

import av
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont

from vidask import Frame

LECTURE = "01-decision-trees"
DURATION_S = 414

_SIZE = (1280, 720)
_SLIDES: tuple[tuple[int, str, Sequence[str]], ...] = (
    (0, "Learning from data, lecture 1", ("Decision trees", "Random forests")),
    (60, "How a tree is grown", ("Gini impurity", "Stop at depth 8", "At least 20 examples a leaf")),
    (180, "Exercise sheet 1", ("Prune the tree of the penguin data", "Hand in by 14 March, room B 214")),
)


def slides() -> list[Frame]:
    """Each with the time from which it is shown."""
    return [Frame(begins_s, _jpeg(_drawn(title, lines))) for begins_s, title, lines in _SLIDES]


def write_video(path: str) -> None:
    """The slides, each shown until the next, one frame a second."""
    with av.open(path, "w") as container:
        stream = cast("VideoStream", container.add_stream("libx264", rate=1, options={"preset": "ultrafast"}))
        stream.width, stream.height, stream.pix_fmt = *_SIZE, "yuv420p"
        for picture in _each_second():
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def _each_second() -> Iterator[Image.Image]:
    ends_s = [begins_s for begins_s, *_ in _SLIDES[1:]] + [DURATION_S]
    for (begins_s, title, lines), end_s in zip(_SLIDES, ends_s, strict=True):
        picture = _drawn(title, lines)
        yield from (picture for _ in range(begins_s, end_s))


def _drawn(title: str, lines: Sequence[str]) -> Image.Image:
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    draw.text((80, 60), title, fill="navy", font=ImageFont.load_default(64))
    for number, line in enumerate(lines):
        draw.text((110, 210 + 90 * number), f"- {line}", fill="black", font=ImageFont.load_default(44))
    return picture


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    write_video(sys.argv[1])
