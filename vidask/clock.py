"""Times of a video as people write them: `mm:ss`, `h:mm:ss`."""

from __future__ import annotations

import re

from vidask.errors import InvalidJob
from vidask.models import Citation

_CLOCK = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,9})?)")


def clock(seconds: float) -> str:
    """`mm:ss`, or `h:mm:ss` from an hour on; fractions are cut, so that the moment named never lies after what is meant."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def parse_clock(text: str) -> float:
    """Seconds of `90`, `1:30`, `1:02:03` or `12.5`.

    Raises:
        InvalidJob: when it is none of these.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise InvalidJob(f"{text!r} is not a time; write 90, 1:30 or 1:02:03")
    hours, minutes, seconds = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def place(citation: Citation) -> str:
    """`[video mm:ss–mm:ss]`, and of what is shown and not said `[video mm:ss–mm:ss, on screen]`."""
    shown = ", on screen" if citation.kind == "frame" else ""
    return f"[{citation.video_id} {clock(citation.start_s)}–{clock(citation.end_s)}{shown}]"
