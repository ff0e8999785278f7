"""From a video file to the frames that are worth indexing. This module, and what it alone imports, needs `vidask[video]`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vidask.decoding import VideoFile, jpeg, thumbnail
from vidask.errors import InvalidJob
from vidask.frames import Frame
from vidask.keyframes import STEP_S, Sample, most_changed, scene_changes, unlike_neighbours
from vidask.looks import THUMBNAIL, Look
from vidask.models import MAX_TIME_S

if TYPE_CHECKING:
    import av

MIN_EVERY_S: Final = 0.1
#: A frame that lasts for longer than so many steps is looked at as often, and no oftener: it stays as it is.
_MAX_LOOKS: Final = 120
#: Pictures that end so much earlier than the file says, and by a tenth of its length, may have been cut off, seconds.
_MISSING_S: Final = 2.0

#: Is called with the seconds that were read, and with the video's length in seconds, where that is known.
OnProgress = Callable[[float, float | None], object]


def pick_frames(
    path: str | os.PathLike[str],
    *,
    every_s: float | None = None,
    max_frames: int | None = None,
    on_progress: OnProgress | None = None,
) -> PickedFrames:
    """The frames of a video that are worth indexing: each scene, each slide, and each state of a slide, come to rest.

    The file is read while they are iterated. They are JPEGs, upright, their longer side at most 1,280 pixels. Their times are
    those at which these very frames appear, in seconds from the video's start: half a second after the change, at most, or
    after what came to rest.

    Args:
        path: the video file.
        every_s: look at a frame each so many seconds only, 0.1 or more, whatever is on it. Those go that show what the one
            before them shows.
        max_frames: how many to keep at most, 1 or more. Those go that differ least from the next one, so of a slide that is
            built line by line the full one stays. The frames then come together, when the whole file has been read.
        on_progress: is called now and then, with the seconds read and the video's length, None where that is not known.

    Raises:
        InvalidJob: a number is too small or too large. While iterating: the file cannot be opened, is no video, or shows nothing.
    """
    if every_s is not None and not MIN_EVERY_S <= every_s <= MAX_TIME_S:
        raise InvalidJob(f"every_s: {every_s:g} s; give {MIN_EVERY_S:g} to {MAX_TIME_S:,.0f} s")
    if max_frames is not None and max_frames < 1:
        raise InvalidJob(f"max_frames: {max_frames}; give 1 at least")
    return PickedFrames(Path(path), every_s, max_frames, on_progress)


class PickedFrames:
    """Frames of a video, to be iterated once. What it tells of the file is complete after that.

    Attributes:
        decoded: frames that were read.
        kept: frames that were handed out.
        duration_s: the video's length, seconds.
        warnings: what is wrong with the file, one line each.
    """

    def __init__(
        self, path: Path, every_s: float | None, max_frames: int | None, on_progress: OnProgress | None
    ) -> None:
        self.decoded = self.kept = 0
        self.duration_s = 0.0
        self.warnings: tuple[str, ...] = ()
        self._path = path
        self._every_s = every_s
        self._max_frames = max_frames
        self._on_progress = on_progress

    @property
    def dropped(self) -> int:
        """Frames that were read and not kept."""
        return self.decoded - self.kept

    def __iter__(self) -> Iterator[Frame]:
        with VideoFile(self._path) as file:
            for sample in self._picked(file):
                self.kept += 1
                yield Frame(round(sample.time_s, 3), sample.picture)
            self._sum_up(file)

    def _picked(self, file: VideoFile) -> Iterable[Sample[bytes]]:
        samples = self._samples(file)
        picked = scene_changes(samples) if self._every_s is None else unlike_neighbours(samples)
        kept = (_encoded(sample, file) for sample in picked)
        return kept if self._max_frames is None else most_changed(kept, self._max_frames)

    def _samples(self, file: VideoFile) -> Iterator[Sample[av.VideoFrame]]:
        """What somebody sees who looks at the video each few seconds."""
        step_s = STEP_S if self._every_s is None else self._every_s
        next_s: float | None = None
        for time_s, frame, until_s in _shown(file):
            next_s = time_s if next_s is None else next_s
            if next_s >= until_s:
                continue
            next_s += step_s * max(0, math.ceil((until_s - next_s) / step_s) - _MAX_LOOKS)
            look = Look(thumbnail(frame, THUMBNAIL))
            while next_s < until_s:
                yield Sample(next_s, time_s, look, frame)
                next_s += step_s
            if self._on_progress is not None:
                self._on_progress(time_s, file.duration_s)

    def _sum_up(self, file: VideoFile) -> None:
        name = repr(str(self._path))
        if not file.decoded:
            raise InvalidJob(f"{name}: no frame of it can be decoded; give a whole video file")
        if not self.kept:
            raise InvalidJob(f"{name}: its {file.decoded} frames show nothing, each is of one colour")
        self.decoded = file.decoded
        self.duration_s = _length_s(file)
        if file.broken:
            self.warnings += (f"{file.broken} packets cannot be decoded, or not wholly; the others are used",)
        if self.duration_s - file.end_s > max(_MISSING_S, self.duration_s / 10):
            self.warnings += (f"the pictures end at {file.end_s:.1f} of {self.duration_s:.1f} s; is the file cut off?",)


def _encoded(sample: Sample[av.VideoFrame], file: VideoFile) -> Sample[bytes]:
    return Sample(sample.at_s, sample.time_s, sample.look, jpeg(sample.picture, file.pixel_aspect))


def _shown(file: VideoFile) -> Iterator[tuple[float, av.VideoFrame, float]]:
    """The frames, each with the times from which and until which it is shown."""
    shown: tuple[float, av.VideoFrame] | None = None
    for time_s, frame in file.frames():
        if shown is not None:
            yield *shown, time_s
        shown = time_s, frame
    if shown is not None:
        yield *shown, _length_s(file)


def _length_s(file: VideoFile) -> float:
    return max(file.end_s, file.duration_s or 0.0)
