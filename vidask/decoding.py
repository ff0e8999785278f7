"""A video file, read frame by frame with PyAV. What is damaged is left out and counted."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from vidask.errors import InvalidJob, VidaskError

try:
    import av
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.packet import Packet
    from av.stream import Disposition
    from av.video.stream import VideoStream
    from PIL import Image
except ImportError:
    msg = "videos are read with PyAV and Pillow; run: pip install 'vidask[video]'"
    raise VidaskError(msg) from None

#: The longer side of a picture, pixels, and the quality of its JPEG.
MAX_SIDE: Final = 1280
_QUALITY: Final = 85
#: Where a file says nothing of its times, frames a second.
_USUAL_RATE: Final = 25
#: Text, which libav would show as a terminal does; pictures have formats that end in `_pipe`, too.
_NO_VIDEOS: Final = ("tty", "image2", "_pipe")


class VideoFile:
    """An open video file; a context manager.

    Attributes:
        pixel_aspect: width of a pixel by its height; None where they are square, as far as is known.
        decoded: frames read so far.
        broken: packets so far that could not be decoded, or not wholly.
        duration_s: how long the video is, by its header; None where that says nothing.
        end_s: where the last frame that was read ends, seconds from the video's start.

    Raises:
        InvalidJob: the file cannot be opened, or is no video.
    """

    def __init__(self, path: Path) -> None:
        self.decoded = self.broken = 0
        self.end_s = 0.0
        self._container = _open(path)
        self._stream = self._find_stream(path)
        self.pixel_aspect = self._stream.sample_aspect_ratio
        self._start_s = (self._container.start_time or 0) / av.time_base
        self.duration_s = self._container.duration / av.time_base if self._container.duration else None
        self._stream.thread_type = "AUTO"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._container.close()

    def frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """The frames with the times at which they appear, in seconds from the video's start, rising; damaged ones, too."""
        rate = float(self._stream.guessed_rate or _USUAL_RATE)
        before_s = -math.inf
        for frame in self._decode():
            time_s = self.end_s if frame.pts is None else max(frame.time - self._start_s, 0.0)
            if time_s > before_s:
                lasts_s = float(frame.duration * (frame.time_base or 0)) or 1 / rate
                self.end_s = time_s + lasts_s
                before_s = time_s
                yield time_s, frame

    def _find_stream(self, path: Path) -> VideoStream:
        """Not the cover of a piece of music, which is a stream of one picture to libav."""
        for stream in self._container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                return stream
        self._container.close()
        raise InvalidJob(f"{str(path)!r}: has no video stream, at most sound and a cover; give a video file")

    def _decode(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)  # pyright: ignore[reportUnknownMemberType]
            except FFmpegError:
                self.broken += 1
                continue
            self.broken += packet.is_corrupt or any(frame.is_corrupt for frame in frames)
            self.decoded += len(frames)
            yield from frames

    def _packets(self) -> Iterator[Packet[Any]]:
        """Packets up to where the file breaks off. Behind them an empty one makes the decoder give the frames it still holds."""
        try:
            yield from self._container.demux(self._stream)
        except IndexError:  # after the last one, from PyAV, where damaged data looked like one more stream
            return
        except FFmpegError:
            self.broken += 1
            yield Packet()


def _open(path: Path) -> InputContainer:
    name = repr(str(path))
    if _is_empty(path):
        raise InvalidJob(f"{name}: is empty; give a video file")
    try:
        container = av.open(f"file:{path}", metadata_errors="ignore")
    except FFmpegError:
        raise InvalidJob(f"{name}: is no video, or lacks the part that says how to read it; give a whole one") from None
    if container.format.name.endswith(_NO_VIDEOS):
        container.close()
        raise InvalidJob(f"{name}: is no video; give a video file")
    return container


def _is_empty(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return not file.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidJob(f"{str(path)!r}: {reason}; give the path of a video file you may read") from None


def jpeg(frame: av.VideoFrame, pixel_aspect: Fraction | None = None) -> bytes:
    """The frame as a JPEG: upright, its longer side at most `MAX_SIDE`, its pixels made square."""
    width, height = frame.width * float(pixel_aspect or 1), float(frame.height)
    scale = min(1.0, MAX_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = _scaled(frame, size, "rgb24", "RGB").rotate(frame.rotation, expand=True)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def thumbnail(frame: av.VideoFrame, size: tuple[int, int]) -> Image.Image:
    """The frame in grey, as large as `size`, pixels."""
    return _scaled(frame, size, "gray", "L")


def _scaled(frame: av.VideoFrame, size: tuple[int, int], pixels: str, mode: str) -> Image.Image:
    """Area averages, so that thin strokes are not lost."""
    (plane,) = frame.reformat(*size, pixels, interpolation="AREA").planes
    return Image.frombytes(mode, size, bytes(plane), "raw", mode, plane.line_size)
