"""What a frame looks like, made small enough to be compared with others in no time. Sets of cells are integers, a bit a cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

from PIL import Image, ImageChops

#: What every frame is scaled to, whatever its shape, pixels.
THUMBNAIL: Final = (320, 192)

#: The side of a cell in pixels of the thumbnail: 24 pixels of a picture that is 1,920 wide.
_CELL: Final = 4
_COLUMNS, _ROWS = THUMBNAIL[0] // _CELL, THUMBNAIL[1] // _CELL
CELLS: Final = _COLUMNS * _ROWS
_ALL: Final = (1 << CELLS) - 1
_ROW: Final = (1 << _COLUMNS) - 1
_RIGHT_EDGE: Final = sum(1 << _COLUMNS * row for row in range(_ROWS))
_LEFT_EDGE: Final = _RIGHT_EDGE << (_COLUMNS - 1)
#: A mouse pointer fits into a square of so many cells each way.
_POINTER_CELLS: Final = 4
#: What moves is looked for so many cells around, too.
_MARGIN: Final = 2

#: By how much, of 255, a pixel differs where something else is shown.
_CHANGE: Final = 24
#: So many pixels of a cell must differ.
_CHANGED_PIXELS: Final = 2
#: A picture whose brightness differs by less, of 255, shows nothing.
_BLANK: Final = 16
#: A hash has 256 bits. Two that differ in so many are of different scenes; of one at rest, few differ.
_HASH: Final = (17, 16)
_OTHER_SCENE_BITS: Final = 48
_AT_REST_BITS: Final = 16
#: The noise of a plain wall must not set bits of the hash.
_HASH_MARGIN: Final = 4


@dataclass(frozen=True)
class Look:
    """What a frame shows: its brightness, as a grey picture of the size `THUMBNAIL`."""

    thumbnail: Image.Image

    @cached_property
    def hash(self) -> int:
        """The perceptual hash: where the picture gets darker from left to right, in a grid of 16 by 16."""
        across, down = _HASH
        small = self.thumbnail.resize(_HASH, Image.Resampling.BOX).tobytes()
        bits = 0
        for y in range(down):
            for x in range(across - 1):
                at = y * across + x
                bits = bits << 1 | (small[at] > small[at + 1] + _HASH_MARGIN)
        return bits

    @cached_property
    def is_blank(self) -> bool:
        """Whether it is all of one colour, like the black between two scenes."""
        darkest, brightest = cast("tuple[int, int]", self.thumbnail.getextrema())
        return brightest - darkest < _BLANK

    @property
    def paper(self) -> Look:
        """An empty picture, as bright as most of this one."""
        counts = self.thumbnail.histogram()
        return Look(Image.new("L", THUMBNAIL, counts.index(max(counts))))

    def is_other_scene(self, other: Look) -> bool:
        """Whether the two differ as a whole."""
        return self._distance(other) > _OTHER_SCENE_BITS

    def is_same_view(self, other: Look) -> bool:
        """Whether the camera stood still between the two."""
        return self._distance(other) <= _AT_REST_BITS

    def _distance(self, other: Look) -> int:
        return (self.hash ^ other.hash).bit_count()

    def changes(self, other: Look, *, by: int = _CHANGE) -> int:
        """The cells in which pixels differ by `by` at least, of 255."""
        differs = [255 * (value >= by) for value in range(256)]
        share = [value >= 255 * _CHANGED_PIXELS // _CELL**2 for value in range(256)]
        pixels = ImageChops.difference(self.thumbnail, other.thumbnail).point(differs)
        return int.from_bytes(pixels.reduce(_CELL).point(share, "1").tobytes(), "big")


def larger_than_a_pointer(cells: int) -> int:
    """Of these cells, those that hang together as something that is larger than a mouse pointer."""
    return sum(shape for shape in _shapes(cells) if max(_stretch(shape)) > _POINTER_CELLS)


def boxes(cells: int) -> Iterator[int]:
    """The rectangles around what hangs together in these cells, with a margin."""
    for shape in _shapes(cells):
        top = _lowest_bit(shape) // _COLUMNS
        shadow, rows = _shadow(shape), _stretch(shape)[1]
        line = (1 << shadow.bit_length()) - (shadow & -shadow)
        box = sum(line << _COLUMNS * row for row in range(top, top + rows))
        for _ in range(_MARGIN):
            box = _grow(box)
        yield box & _ALL


def _shapes(cells: int) -> Iterator[int]:
    """Sets of cells that touch each other, by a side or a corner."""
    while cells:
        shape, grown = 0, cells & -cells
        while grown != shape:
            shape, grown = grown, _grow(grown) & cells
        yield shape
        cells ^= shape


def _grow(cells: int) -> int:
    wider = cells | (cells & ~_LEFT_EDGE) << 1 | (cells & ~_RIGHT_EDGE) >> 1
    return wider | wider << _COLUMNS | wider >> _COLUMNS


def _stretch(shape: int) -> tuple[int, int]:
    """How many columns and rows a shape stretches over."""
    shadow = _shadow(shape)
    rows = (shape.bit_length() - 1) // _COLUMNS - _lowest_bit(shape) // _COLUMNS + 1
    return shadow.bit_length() - _lowest_bit(shadow), rows


def _shadow(shape: int) -> int:
    """The columns in which a shape has cells."""
    shadow = 0
    while shape:
        shadow |= shape & _ROW
        shape >>= _COLUMNS
    return shadow


def _lowest_bit(cells: int) -> int:
    return (cells & -cells).bit_length() - 1
