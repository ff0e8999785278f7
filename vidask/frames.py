"""Frames as a producer has them: pictures of a video with their times. A job carries references to them, and no bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from vidask.errors import InvalidFrame, InvalidJob
from vidask.models import MAX_FRAME_BYTES, MAX_FRAMES, FrameRef, IndexFramesJob, check_order
from vidask.validation import build


@dataclass(frozen=True)
class Frame:
    """A picture of a video at a time: its bytes, or its path below the workers' media root.

    Attributes:
        time_s: seconds from the video's start.
        image: the bytes of an image file, up to 8 MiB.
        path: instead of bytes, like `talk-1/0001.jpg`.

    Raises:
        InvalidFrame: its bytes are none, or too many, or there is no telling bytes from path.
        InvalidJob: the time or the path breaks a limit.
    """

    time_s: float
    image: bytes | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        known = build(FrameRef, {"time_s": self.time_s, "path": "its bytes" if self.path is None else self.path})
        object.__setattr__(self, "time_s", known.time_s)
        if (self.image is None) == (self.path is None):
            msg = f"frame at {self.time_s:g} s: give its image or its path, and not both"
            raise InvalidFrame(msg)
        if self.image is not None:
            _check_bytes(self.time_s, self.image)

    def reference(self) -> FrameRef:
        """What a job says of it."""
        if self.image is None:
            return FrameRef(time_s=self.time_s, path=self.path)
        return FrameRef(time_s=self.time_s, sha256=hashlib.sha256(self.image).hexdigest())


def _check_bytes(time_s: float, image: object) -> None:
    if not isinstance(image, bytes):
        msg = f"frame at {time_s:g} s: its image is of type {type(image).__name__}; give the bytes of an image file"
        raise InvalidFrame(msg)
    if not image:
        msg = f"frame at {time_s:g} s: its image holds no bytes; give those of an image file"
        raise InvalidFrame(msg)
    if len(image) > MAX_FRAME_BYTES:
        msg = f"frame at {time_s:g} s: {len(image):,} bytes, at most {MAX_FRAME_BYTES:,} are taken; make the picture smaller"
        raise InvalidFrame(msg)


def in_order(frames: Iterable[Frame]) -> Iterable[Frame]:
    """Frames whose times rise: a sequence is gone through at once, anything else while it is read.

    Raises:
        InvalidJob: something is no frame, or does not come after the one before it.
    """
    if not isinstance(frames, Sequence):
        return _in_order(only_frames(frames))
    for _ in _in_order(only_frames(frames)):
        pass
    return frames


def only_frames(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Raise InvalidJob at the first that is no frame."""
    if not isinstance(cast("object", frames), Iterable):
        msg = f"frames: a {type(frames).__name__} is no list of frames; put it into one"
        raise InvalidJob(msg)
    for frame in frames:
        if not isinstance(cast("object", frame), Frame):
            msg = f"frames: a {type(frame).__name__} is no frame; make it a vidask.Frame"
            raise InvalidJob(msg)
        yield frame


def _in_order(frames: Iterable[Frame]) -> Iterator[Frame]:
    before_s: float | None = None
    for frame in frames:
        if before_s is not None:
            try:
                check_order(before_s, frame.time_s)
            except ValueError as error:
                msg = f"frames: {error}"
                raise InvalidJob(msg) from None
        before_s = frame.time_s
        yield frame


def jobs_of(
    job_id: str, common: dict[str, Any], refs: Sequence[FrameRef], duration_s: float | None
) -> dict[str, IndexFramesJob]:
    """The jobs that index a list of frames, each with its id; their stretches cover the whole video.

    Args:
        job_id: of the whole list; its only job has this id, several have it with a number.
        common: what all of them say.
        refs: the frames, in the order of their times.
        duration_s: the video's length, seconds, where it is known.

    Raises:
        InvalidJob: there are no frames, or they break a limit.
    """
    if not refs:
        msg = "frames: there are none; give one at least, or forget the video"
        raise InvalidJob(msg)
    begins = range(0, len(refs), MAX_FRAMES)
    if len(begins) == 1:
        return {job_id: _part(common, refs, 0, duration_s)}
    return {f"{job_id}:{number}": _part(common, refs, at, duration_s) for number, at in enumerate(begins, start=1)}


def _part(common: dict[str, Any], refs: Sequence[FrameRef], at: int, duration_s: float | None) -> IndexFramesJob:
    """The first part begins with the video, and the last one ends with it."""
    end = at + MAX_FRAMES
    next_s = refs[end].time_s if end < len(refs) else None
    fields = {
        **common,
        "frames": refs[at:end],
        "from_s": refs[at].time_s if at else 0.0,
        "until_s": next_s,
        "ends_s": duration_s if next_s is None else next_s,
    }
    return build(IndexFramesJob, fields)
