"""What picture a few bytes begin, and how large it is, before anything is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

Size = tuple[int, int]

_HEAD_BYTES: Final = 1_024
#: Brands of the container that HEIC, AVIF and videos share; any other one is taken for a video's.
_BRANDS: Final = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
_BEGINNINGS: Final = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\0\0\1\0": "an icon",
    b"\x1aE\xdf\xa3": "a video",
    b"%PDF": "PDF",
    b"PK\3\4": "an archive",
    b"\x1f\x8b": "an archive",
}
#: Markers of a JPEG's start of frame, which gives its size; C4, C8 and CC of that row mean other things.
_STARTS_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


def format_of(data: bytes) -> str:
    """`JPEG`, `PNG` or `WebP`, or what else it seems to be, in words; nothing but the bytes says so."""
    head = data[:_HEAD_BYTES]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "a video")
    for beginning, name in _BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    if b"<svg" in head.lower():
        return "SVG"
    return "text" if _is_text(head) else f"no picture that is known here (it begins with {head[:4].hex(' ')})"


def size_of(data: bytes, picture_format: str) -> Size | None:
    """Width and height in pixels, as a JPEG's, PNG's or WebP's first bytes give them; None where they do not."""
    readers: dict[str, Callable[[bytes], Size | None]] = {"JPEG": _jpeg_size, "PNG": _png_size, "WebP": _webp_size}
    try:
        return readers[picture_format](data)
    except (struct.error, IndexError):  # the bytes end before they have told
        return None


def _png_size(data: bytes) -> Size | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _jpeg_size(data: bytes) -> Size | None:
    """Goes from one segment to the next until the one that starts the frame."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _STARTS_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == 0xFF:  # fills up
            at += 1
        elif marker in _STANDALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp_size(data: bytes) -> Size | None:
    match data[12:16]:
        case b"VP8X":  # may be transparent or animated: the canvas, each side less one in three bytes
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":  # lossless: each side less one in 14 bits
            bits = struct.unpack_from("<I", data, 21)[0]
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":  # each side in 14 bits; two more say how players should scale it
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None


def _is_text(head: bytes) -> bool:
    """The head may end within a character, whose bytes are left out of account."""
    text = head.decode(errors="replace").rstrip("\ufffd")
    return all(char.isprintable() or char.isspace() for char in text) and "\ufffd" not in text
