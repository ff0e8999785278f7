"""Pictures from anywhere, read safely: what is decoded is decided from their bytes, and their size is known before their pixels."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Resampling, Transpose

from pipeline.ocr import read_text
from pipeline.picture_formats import format_of, size_of
from vidask.errors import InvalidFrame

#: The most that Qwen2.5-VL is given of a picture: 1,280 tiles of 28 by 28 pixels, each of which is a token of the prompt.
MODEL_PIXELS: Final = 1_280 * 28 * 28
#: More than the largest of common cameras; 100 MB decoded.
MAX_PIXELS: Final = 25_000_000
MIN_SIDE: Final = 8
#: Neither the text's recognition nor the model makes anything of a strip.
MAX_RATIO: Final = 20
#: The longer side of the copy that is kept.
SMALL_SIDE: Final = 768

_TAKEN: Final = ("JPEG", "PNG", "WebP")
_MODEL_QUALITY: Final = 90
_SMALL_QUALITY: Final = 80
#: What undoes each orientation that EXIF knows.
_UPRIGHT: Final = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_ON_ITS_SIDE: Final = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class ReadPicture:
    """A picture, its text, and what is made of it.

    Attributes:
        text: what is written on it, a line a line, from top to bottom.
        jpeg: for the model: RGB, upright, at most `MODEL_PIXELS` pixels, without metadata.
        small: to be kept: the same, its longer side at most `SMALL_SIDE` pixels.
        width: of the original when it is upright, pixels.
        height: likewise.
    """

    text: str
    jpeg: bytes
    small: bytes
    width: int
    height: int


@dataclass(frozen=True)
class DecodedPicture:
    """A picture in RGB, upright, at most `MODEL_PIXELS` pixels; `width` and `height` are the original's when it is upright."""

    image: Image.Image
    width: int
    height: int


def read_picture(data: bytes) -> ReadPicture:
    """Decode a picture, read what is written on it, and make the copies that are needed of it.

    Raises:
        InvalidFrame: it is no JPEG, PNG or WebP, is animated, damaged, too large or too small.
        InvalidSettings: the library that reads text is not installed.
    """
    picture = decode_picture(data)
    return ReadPicture(
        text=read_text(picture.image),
        jpeg=_jpeg(picture.image, _MODEL_QUALITY),
        small=_jpeg(_small(picture.image), _SMALL_QUALITY),
        width=picture.width,
        height=picture.height,
    )


def decode_picture(data: bytes) -> DecodedPicture:
    """The pixels of a JPEG, PNG or WebP, scaled to the model's budget; a large JPEG is decoded at a fraction of its size.

    Raises:
        InvalidFrame: as in `read_picture`.
    """
    picture_format = _check_format(data)
    size = size_of(data, picture_format)
    if size is not None:
        _check_size(size)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is odd in its metadata
            return _decode(data, picture_format)
    except InvalidFrame:
        raise
    except Exception as error:  # a broken file leads its decoder into errors of any type
        msg = f"the {picture_format} of {len(data):,} bytes is cut off or damaged; send all of it, or save it anew"
        raise InvalidFrame(msg) from error


def _check_format(data: bytes) -> str:
    if not data:
        msg = "the picture is empty (0 bytes); send a JPEG, PNG or WebP"
        raise InvalidFrame(msg)
    if (picture_format := format_of(data)) not in _TAKEN:
        msg = f"the picture is {picture_format}; send a JPEG, PNG or WebP"
        raise InvalidFrame(msg)
    return picture_format


def _check_size(size: tuple[int, int]) -> None:
    shorter, longer = sorted(size)
    sides = f"{size[0]:,} × {size[1]:,} pixels"
    if shorter < MIN_SIDE:
        msg = f"the picture has {sides}, and each side needs {MIN_SIDE} at least; send a larger one"
        raise InvalidFrame(msg)
    if shorter * longer > MAX_PIXELS:
        msg = f"the picture has {sides}, {shorter * longer:,} in all, at most {MAX_PIXELS:,} are taken; scale it down"
        raise InvalidFrame(msg)
    if longer > MAX_RATIO * shorter:
        msg = (
            f"the picture has {sides}, and may be at most {MAX_RATIO} times as long as it is wide; cut it into several"
        )
        raise InvalidFrame(msg)


def _decode(data: bytes, picture_format: str) -> DecodedPicture:
    with Image.open(io.BytesIO(data), formats=[picture_format.upper()]) as image:
        _check_size(image.size)  # what was read before may have been one of several sizes in the file
        if picture_format != "JPEG" and getattr(image, "is_animated", False):
            frames = getattr(image, "n_frames", "several")
            msg = f"the {picture_format} is animated ({frames} pictures); send each as a frame with its own time"
            raise InvalidFrame(msg)
        width, height = image.size
        image.draft(None, _within(MODEL_PIXELS, image.size))
        image.load()
        orientation = _orientation(image)
        decoded = _on_white(_scaled(_eight_bits(image), _within(MODEL_PIXELS, image.size)))
    decoded.info = {}  # its comment would be written into the copies
    if orientation in _UPRIGHT:
        decoded = decoded.transpose(_UPRIGHT[orientation])
    if orientation in _ON_ITS_SIDE:
        width, height = height, width
    return DecodedPicture(decoded, width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  like decoders, EXIF's reader raises anything; the picture is none the worse for it
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """In RGB, or RGBA where something is transparent.

    Grey of 16 bits is scaled here, as Pillow's own conversion makes all but its darkest white.
    """
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if size == image.size else image.resize(size, Resampling.LANCZOS, reducing_gap=2.0)


def _within(pixels: int, size: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same shape that has no more pixels."""
    scale = min(1.0, math.sqrt(pixels / (size[0] * size[1])))
    return int(size[0] * scale), int(size[1] * scale)


def _small(image: Image.Image) -> Image.Image:
    scale = min(1.0, SMALL_SIDE / max(image.size))
    return _scaled(image, (round(image.width * scale), round(image.height * scale)))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
