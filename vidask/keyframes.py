"""Which frames of a video are worth keeping, by what they look like.

Frames are compared in a grid of cells, each about as wide as a letter on a slide. One more bullet changes several cells side by
side; a mouse pointer changes few, and the noise of compression none. As a whole, frames are compared by a perceptual hash,
which tells one scene from another where something moves all the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Generic, TypeVar

from vidask.looks import CELLS, Look, boxes, larger_than_a_pointer

T = TypeVar("T")

#: How often scene changes are looked for, seconds.
STEP_S: Final = 0.5

#: A change of so many cells is another slide, or a long line.
_BIG_CELLS: Final = CELLS // 50
#: By how much, of 255, a moving pixel differs from one look to the next: less than a change, as a slow fade moves little.
_MOVEMENT: Final = 10
#: Where less than this share of what is new moves, the new has come to rest.
_MOVING_SHARE: Final = 0.25
#: How long a slide is left alone before it is kept, seconds: the next bullet may follow at once, or somebody is writing.
_HOLD_S: Final = 2.0
_LONGEST_HOLD_S: Final = 10.0
#: How long a scene that never comes to rest goes on before it is kept, seconds.
_RESTLESS_S: Final = 4.0
#: What moved so often within so many looks is alive. Slides that somebody flips through move at every other look.
_LIVELY_TIMES: Final = 8
_LIVELY_LOOKS: Final = 10
#: Where nothing moved for so many looks, nothing is alive any more.
_STILL_LOOKS: Final = 4


@dataclass(frozen=True)
class Sample(Generic[T]):
    """A frame that was looked at.

    Attributes:
        at_s: when it was looked at, seconds.
        time_s: when it appears, seconds; no later than `at_s`.
        look: what it shows.
        picture: the frame itself.
    """

    at_s: float
    time_s: float
    look: Look
    picture: T


def scene_changes(samples: Iterable[Sample[T]]) -> Iterator[Sample[T]]:
    """A sample of each scene, of each slide, and of each state of a slide, when it has come to rest.

    Each is compared with the last one kept alone: a slide that is shown again is kept again, as its time is another. Where
    something moves all the time, like a speaker beside the slides, that place is left out of account.

    Args:
        samples: `STEP_S` apart.
    """
    picker: _Picker[T] = _Picker()
    for now, after in pairwise(_last_one_twice(samples)):
        yield from picker.look_at(now, after)
    yield from picker.end()


def _last_one_twice(samples: Iterable[Sample[T]]) -> Iterator[Sample[T]]:
    """The video's last picture stays, and so rests."""
    sample: Sample[T] | None = None
    for sample in samples:
        yield sample
    if sample is not None:
        yield sample


def unlike_neighbours(samples: Iterable[Sample[T]]) -> Iterator[Sample[T]]:
    """All samples but those that show what the one kept before them shows, or nothing."""
    kept: Look | None = None
    for sample in samples:
        if _is_new(sample.look, kept):
            kept = sample.look
            yield sample


def most_changed(kept: Iterable[Sample[T]], most: int) -> list[Sample[T]]:
    """At most so many samples. Those go that differ least from the next one: of a slide built line by line, the full one stays."""
    stay: list[Sample[T]] = []
    for sample in kept:
        stay.append(sample)
        if len(stay) > most:
            changed = [before.look.changes(after.look).bit_count() for before, after in pairwise(stay)]
            del stay[changed.index(min(changed))]
    return stay


class _Picker(Generic[T]):
    """Knows what was kept last, and the candidate: something else that has come to rest since."""

    def __init__(self) -> None:
        self._kept: Look | None = None
        self._candidate: Sample[T] | None = None
        self._candidates_since_s = 0.0
        self._restless_since_s: float | None = None
        self._life = _Life()

    def look_at(self, now: Sample[T], after: Sample[T]) -> Iterator[Sample[T]]:
        """What is to be kept, now that `after` tells whether `now` rests."""
        movement = now.look.changes(after.look, by=_MOVEMENT)
        self._life.note(movement)
        if self._candidate is not None and self._is_over(self._candidate, now):
            yield self._keep(self._candidate)
        if not _is_new(now.look, self._kept, self._life.cells):
            self._candidate = self._restless_since_s = None
        elif self._moves(now.look, movement) or not now.look.is_same_view(after.look):
            yield from self._restless(now)
        else:
            self._resting(now)

    def end(self) -> Iterator[Sample[T]]:
        """The candidate that the video ends with."""
        if self._candidate is not None:
            yield self._keep(self._candidate)

    def _keep(self, sample: Sample[T]) -> Sample[T]:
        self._kept = sample.look
        self._candidate = self._restless_since_s = None
        return sample

    def _is_over(self, candidate: Sample[T], now: Sample[T]) -> bool:
        """Whether the candidate has been shown for long enough, or was the last state of what has gone."""
        if now.at_s - candidate.at_s >= _HOLD_S or now.at_s - self._candidates_since_s >= _LONGEST_HOLD_S:
            return True
        changed = candidate.look.changes(now.look) & ~self._life.cells
        return changed.bit_count() >= _BIG_CELLS or candidate.look.is_other_scene(now.look)

    def _moves(self, look: Look, movement: int) -> bool:
        """Whether much of what is new is still on its way. Who speaks beside a new slide is not yet known to be alive."""
        new = look.changes(self._kept or look.paper) & ~self._life.cells
        moving = larger_than_a_pointer(movement & ~self._life.cells)
        return moving.bit_count() > new.bit_count() * _MOVING_SHARE

    def _resting(self, now: Sample[T]) -> None:
        """Make this the candidate, unless it is what the candidate shows."""
        self._restless_since_s = None
        if self._candidate is None:
            self._candidates_since_s = now.at_s
        elif not _is_new(now.look, self._candidate.look, self._life.cells):
            return
        self._candidate = now

    def _restless(self, now: Sample[T]) -> Iterator[Sample[T]]:
        """Keep another scene that goes on and on without a rest."""
        if self._restless_since_s is None:
            self._restless_since_s = now.at_s
        if now.at_s - self._restless_since_s >= _RESTLESS_S and (
            self._kept is None or self._kept.is_other_scene(now.look)
        ):
            yield self._keep(now)


class _Life:
    """Where in the picture something moves all the time: a speaker, a clip, a meter.

    Attributes:
        cells: of these places.
    """

    def __init__(self) -> None:
        self.cells = 0
        self._movements: deque[int] = deque(maxlen=_LIVELY_LOOKS)
        self._still: dict[int, int] = {}  # by place: looks since something moved there

    def note(self, movement: int) -> None:
        """Take into account what moved between two looks. A slide that comes rests at once, and a pointer is too small to live."""
        moved = larger_than_a_pointer(movement)
        self._movements.append(moved)
        still = {place: 0 if place & moved else looks + 1 for place, looks in self._still.items()}
        still |= {box: 0 for box in boxes(self._often_moving()) if box & ~self.cells}
        self._still = {place: looks for place, looks in still.items() if looks < _STILL_LOOKS}
        self.cells = 0
        for place in self._still:
            self.cells |= place

    def _often_moving(self) -> int:
        """Cells that moved in `_LIVELY_TIMES` of the last looks."""
        moved = [-1] + [0] * _LIVELY_TIMES  # by n: cells that moved n times at least
        for cells in self._movements:
            for times in range(_LIVELY_TIMES, 0, -1):
                moved[times] |= moved[times - 1] & cells
        return moved[-1]


def _is_new(look: Look, kept: Look | None, life: int = 0) -> bool:
    """Whether it shows something, and not what was kept."""
    if look.is_blank:
        return False
    return kept is None or bool(larger_than_a_pointer(look.changes(kept) & ~life)) or look.is_other_scene(kept)
