"""Cues joined into chunks: passages long enough to mean something, which still know when each word is said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from vidask.models import Segment

_SENTENCE_END: Final = re.compile(r"[.!?。！？…．؟।][\"'”’»›」』）)\]]*$")


class Cue(NamedTuple):
    """A cue inside a chunk: its times in seconds, and the index in the chunk's text where its own text begins."""

    start_s: float
    end_s: float
    offset: int


@dataclass(frozen=True)
class Chunk:
    """Neighbouring cues, their texts joined by one space.

    Attributes:
        start_s: when the earliest cue starts, in seconds.
        end_s: when the last cue to end ends; cues may overlap, so it need not be the last one.
        text: the cues' texts.
        cues: where in `text` each cue begins, and when it is said; in order.
    """

    start_s: float
    end_s: float
    text: str
    cues: tuple[Cue, ...]


def cut(
    segments: Iterable[Segment], *, target_chars: int = 360, max_chars: int = 600, max_pause_s: float = 6.0
) -> list[Chunk]:
    """Join `segments` into chunks, in order; no cue is split and none is left out.

    Arguments:
        segments: cues, sorted by their start.
        target_chars: a chunk that long is closed at the next end of a sentence.
        max_chars: no chunk is longer, save a single cue that is.
        max_pause_s: a longer pause closes a chunk that has at least a quarter of `target_chars`.
    """
    chunks: list[Chunk] = []
    draft = _Draft()
    for segment in segments:
        if draft.cues and (
            draft.chars + 1 + len(segment.text) > max_chars
            or (draft.chars >= target_chars and draft.ends_sentence())
            or (draft.chars >= target_chars / 4 and segment.start_s - draft.end_s > max_pause_s)
        ):
            chunks.append(draft.chunk())
            draft = _Draft()
        draft.add(segment)
    return [*chunks, draft.chunk()] if draft.cues else chunks


def span(cues: Sequence[tuple[float, float, int]], text_chars: int, begin: int, end: int) -> tuple[float, float]:
    """When what stands in `text[begin:end]` of a chunk is said: the times of all cues it touches, in seconds.

    The space between two cues belongs to neither; where nothing else is touched, the cue before counts.

    Arguments:
        cues: `(start_s, end_s, offset)` of each cue, in order, as in `Chunk.cues` or as JSON gives it back.
        text_chars: length of the chunk's text.
        begin: index of the first character.
        end: index after the last one.

    Raises:
        ValueError: `cues` is empty.
    """
    if not cues:
        raise ValueError(f"0 cues for text[{begin}:{end}]; pass the cues of the chunk, it has at least one")
    stops = [*(offset - 1 for _, _, offset in cues[1:]), text_chars]
    touched = [cue for cue, stop in zip(cues, stops, strict=True) if cue[2] < end and begin < stop]
    if not touched:
        touched = [cue for cue in cues if cue[2] <= begin][-1:] or [cues[0]]
    return min(start_s for start_s, _, _ in touched), max(end_s for _, end_s, _ in touched)


class _Draft:
    """The chunk that is being filled."""

    def __init__(self) -> None:
        self.cues: list[Cue] = []
        self.chars = 0
        self.end_s = 0.0
        self._texts: list[str] = []

    def add(self, segment: Segment) -> None:
        offset = self.chars + 1 if self.cues else 0
        self.cues.append(Cue(segment.start_s, segment.end_s, offset))
        self._texts.append(segment.text)
        self.chars = offset + len(segment.text)
        self.end_s = max(self.end_s, segment.end_s)

    def ends_sentence(self) -> bool:
        return _SENTENCE_END.search(self._texts[-1]) is not None

    def chunk(self) -> Chunk:
        start_s = min(cue.start_s for cue in self.cues)
        return Chunk(start_s, self.end_s, " ".join(self._texts), tuple(self.cues))
