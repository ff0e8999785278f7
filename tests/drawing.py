"""Slides that are drawn and videos that are encoded, so that no picture has to be kept in the repository."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont

SIZE = (640, 360)
#: Videos are written with times in milliseconds, so that frames may last as long as they like.
_TIME_BASE = Fraction(1, 1000)


def slide(
    title: str,
    lines: Sequence[str] = (),
    *,
    size: tuple[int, int] = SIZE,
    ink: str = "black",
    paper: str = "white",
) -> Image.Image:
    """A slide: the title, and a bullet for each line."""
    width, height = size
    picture = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(picture)
    draw.text((width * 0.06, height * 0.08), title, fill=ink, font=ImageFont.load_default(height * 0.09))
    font = ImageFont.load_default(height * 0.06)
    for number, text in enumerate(lines):
        draw.text((width * 0.08, height * (0.28 + 0.1 * number)), f"- {text}", fill=ink, font=font)
    return picture


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    return _saved(picture, "JPEG", quality=quality)


def png(picture: Image.Image) -> bytes:
    return _saved(picture, "PNG")


def _saved(picture: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Shot:
    """What a video shows for some seconds.

    Attributes:
        fade_s: the shot before turns into this one within its first seconds.
        pointer: a mouse pointer wanders over the picture, resting now and then.
        head: somebody talks in the lower right corner.
    """

    picture: Image.Image
    seconds: float
    fade_s: float = 0.0
    pointer: bool = False
    head: bool = False


def video(
    path: Path,
    shots: Sequence[Shot | tuple[Image.Image, float]],
    *,
    fps: float = 5.0,
    codec: str = "libx264",
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode shots, or pairs of a picture and its seconds, with a frame each `1 / fps` seconds."""
    drawn = draw([shot if isinstance(shot, Shot) else Shot(*shot) for shot in shots], fps)
    return encode(path, drawn, codec=codec, rotation=rotation, options=options)


def draw(shots: Sequence[Shot], fps: float) -> Iterator[tuple[float, Image.Image]]:
    """The frames of shots, with their times in seconds."""
    ends = 0.0
    number = 0
    before = shots[0].picture
    for shot in shots:
        begins, ends = ends, ends + shot.seconds
        while (time_s := number / fps) < ends - 1e-6:
            yield time_s, _drawn(shot, before, time_s, time_s - begins)
            number += 1
        before = shot.picture


def encode(
    path: Path,
    frames: Iterable[tuple[float, Image.Image]],
    *,
    codec: str = "libx264",
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures at their times, in seconds; `rotation` is how far players turn them, in degrees against the clock."""
    with av.open(str(path), "w") as container:
        stream = None
        for time_s, picture in frames:
            if stream is None:
                stream = cast("VideoStream", container.add_stream(codec, rate=25, options=options or {}))
                stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
                stream.codec_context.time_base = _TIME_BASE
                if rotation:
                    stream.set_display_rotation(rotation)
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = round(time_s / _TIME_BASE), _TIME_BASE
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
    return path


def _drawn(shot: Shot, before: Image.Image, time_s: float, since_s: float) -> Image.Image:
    picture = shot.picture
    if shot.fade_s > since_s >= 0:
        picture = Image.blend(before, picture, since_s / shot.fade_s)
    if shot.pointer or shot.head:
        picture = picture.copy()
    if shot.head:
        _draw_head(picture, time_s)
    if shot.pointer:
        _draw_pointer(picture, time_s)
    return picture


def _draw_pointer(picture: Image.Image, time_s: float) -> None:
    """An arrow that runs from place to place, two seconds each way, and rests for as long."""
    places = [(0.2, 0.5), (0.7, 0.3), (0.5, 0.8), (0.85, 0.6), (0.3, 0.2)]
    leg, within = divmod(time_s, 4.0)
    (x0, y0), (x1, y1) = places[int(leg) % 5], places[int(leg + 1) % 5]
    gone = min(within / 2.0, 1.0)
    x, y = (x0 + (x1 - x0) * gone) * picture.width, (y0 + (y1 - y0) * gone) * picture.height
    step = picture.height / 40
    arrow = [(x, y), (x, y + step), (x + step * 0.7, y + step * 0.7)]
    ImageDraw.Draw(picture).polygon(arrow, fill="black", outline="white")


def _draw_head(picture: Image.Image, time_s: float) -> None:
    """A face that leans to and fro before a wall, never quite still."""
    width, height = picture.size
    left, top = width * 0.8, height * 0.75
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, top, width, height), fill=(90, 110, 130))
    lean = ((time_s * 0.37) % 1.0 - 0.5) * width * 0.06
    nod = ((time_s * 1.3) % 1.0 - 0.5) * height * 0.03
    x, y, radius = width * 0.9 + lean, height * 0.89 + nod, height * 0.08
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(225, 185, 160))
    mouth = radius * (0.1 + 0.3 * ((time_s * 2.1) % 1.0))
    draw.ellipse((x - radius / 3, y + radius / 4, x + radius / 3, y + radius / 4 + mouth), fill=(120, 30, 40))
