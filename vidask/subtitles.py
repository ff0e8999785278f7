"""Subtitle files as people have them, read into text: the encoding is found out, what is no text is refused."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from charset_normalizer import CharsetMatch, from_bytes

from vidask.errors import InvalidTranscript
from vidask.models import MAX_TRANSCRIPT_CHARS

#: No encoding needs more than four bytes for a character.
MAX_FILE_BYTES: Final = MAX_TRANSCRIPT_CHARS * 4

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _alphabet(letters: str) -> re.Pattern[str]:
    """Letters of an alphabet, save those beside a Latin one: such words are accented Latin, read wrongly."""
    return re.compile(rf"(?<![A-Za-z])[{letters}](?![A-Za-z])")


# What the letters of each encoding's text mostly are: bytes that make sense in one encoding often do in others, as rare
# characters. In a tie the first of these wins.
_SCRIPTS: Final = {
    "cp1251": (_alphabet("А-яЁёЄІЇєіїҐґ"), 0.8),
    "koi8_r": (_alphabet("А-яЁё"), 0.8),
    "cp1253": (_alphabet("\u0370-\u03ff"), 0.8),
    "cp1255": (_alphabet("\u05d0-\u05ea"), 0.8),
    "cp1256": (_alphabet("\u0600-\u06ff"), 0.8),
    "shift_jis": (re.compile(r"[\u3040-\u30ff]"), 0.2),
    "euc_jp": (re.compile(r"[\u3040-\u30ff]"), 0.2),
    "cp949": (re.compile(r"[\uac00-\ud7a3]"), 0.85),
    "gb18030": (re.compile(r"[\u4e00-\u9fff]"), 0.9),
    "big5": (re.compile(r"[\u4e00-\u9fff]"), 0.9),
}
_LETTER: Final = re.compile(r"[^\W\d_\x00-\x7f]|[\ue000-\uf8ff]")
# charset_normalizer sees no difference between Western and Central European accents; these tell them apart, in cp1252.
_TELLTALES: Final = (
    ("cp1250", re.compile(r"[a-z][¹³¿][a-z]")),  # Polish ą, ł, ż inside a word
    ("cp1250", re.compile(r"(?s)õ.*û|û.*õ")),  # Hungarian ő, ű: Portuguese has no û, French no õ
    ("cp1250", re.compile(r"(?s)ø.*[ìù]|[ìù].*ø")),  # Czech ř, ě, ů: Danish has no ì, ù, Italian no ø
    ("cp1254", re.compile(r"(?s)[ðþ].*[çü]|[çü].*[ðþ]")),  # Turkish ğ, ş: Icelandic has no ç, ü
)
# High bytes, other than Western quotation marks, dashes, hard spaces, ¡ and ¿.
_HIGH_RUN: Final = re.compile(rb"[\x80-\x84\x86-\x90\x98-\x9f\xa2-\xaa\xac-\xba\xbc-\xbe\xc0-\xff]+")
_SAMPLE_BYTES: Final = 16_384

# Neither white space nor the end-of-file mark of old editors.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")


def read_subtitles(path: str | os.PathLike[str]) -> str:
    """The text of a subtitle file, whatever its encoding.

    Raises:
        InvalidTranscript: the file cannot be opened, is larger than `MAX_FILE_BYTES`, is empty, or is no text.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidTranscript(f"{str(path)!r}: {reason}; give the path of a subtitle file you may read") from None
    if len(data) > MAX_FILE_BYTES:
        raise InvalidTranscript(f"{str(path)!r}: is larger than {MAX_FILE_BYTES:,} bytes; split it")
    return decode_subtitles(data, name=str(path))


def decode_subtitles(data: bytes, *, name: str = "subtitles") -> str:
    """The text in `data`, its encoding found out; NULs are removed, line ends stay as they are.

    Arguments:
        data: a subtitle file's bytes, with or without a byte order mark.
        name: what error messages call the file.

    Raises:
        InvalidTranscript: the data are empty, or are no text.
    """
    text = _decode(data, name)
    if len(_CONTROL.findall(text)) > 2 + len(text) // 200:
        raise InvalidTranscript(f"{name!r}: is binary, not text; give an SRT, WebVTT, ASS or Whisper JSON file")
    text = text.replace("\0", "")
    if not text.strip():
        raise InvalidTranscript(f"{name!r}: is empty; give a file that has subtitles in it")
    return text


def _decode(data: bytes, name: str) -> str:
    marked = next((encoding for bom, encoding in _BOMS if data.startswith(bom)), None)
    try:
        return data.decode(marked or _likely_unicode(data))
    except UnicodeDecodeError as error:
        if marked is None:
            return _damaged_utf8(data) or _decode_legacy(data)
        problem = f"byte {error.start:,} is no valid {marked.upper()}, which its mark promises"
        raise InvalidTranscript(f"{name!r}: {problem}; save the file as UTF-8 again") from None


def _likely_unicode(data: bytes) -> str:
    # Digits, line ends and Latin letters have a NUL as their upper byte, and every subtitle file is full of digits.
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if max(even, odd) <= max(2 + len(data) // 10, 4 * min(even, odd)):
        return "utf-8"
    return "utf-16-be" if even > odd else "utf-16-le"


def _damaged_utf8(data: bytes) -> str | None:
    """UTF-8 with a few broken bytes, as a cut leaves them, is still UTF-8: guessing would garble all of it."""
    text = data.decode("utf-8", errors="replace")
    accented = len(text) - len(text.encode("ascii", errors="ignore"))
    return text if text.count("\ufffd") * 20 < accented else None


def _decode_legacy(data: bytes) -> str:
    for encoding in _legacy_encodings(data):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _legacy_encodings(data: bytes) -> Iterator[str]:
    """Encodings to try, the likeliest first."""
    sample = _accented_lines(data)
    runs = _HIGH_RUN.findall(sample)
    # Accented letters stand alone between unaccented ones; all other scripts are written in long runs of high bytes.
    if sum(map(len, runs)) > 1.3 * len(runs):
        yield from _other_scripts(sample)
    western = sample.decode("cp1252", errors="replace")
    yield from (encoding for encoding, telltale in _TELLTALES if telltale.search(western))
    yield "cp1252"


def _other_scripts(sample: bytes) -> list[str]:
    """The encodings that charset_normalizer finds the best, of those in which the sample is text of their script."""
    encodings = list(_SCRIPTS)
    matches = [match for match in from_bytes(sample, threshold=0.4, cp_isolation=encodings) if _in_script(match)]
    return sorted((match.encoding for match in matches if _as_good(match, matches[0])), key=encodings.index)


def _as_good(match: CharsetMatch, best: CharsetMatch) -> bool:
    return match.chaos <= best.chaos + 0.02 and match.coherence >= best.coherence - 0.02


def _in_script(match: CharsetMatch) -> bool:
    letters, share = _SCRIPTS[match.encoding]
    text = str(match)
    return len(letters.findall(text)) >= share * len(_LETTER.findall(text))


def _accented_lines(data: bytes) -> bytes:
    """Lines that are not ASCII, up to a sample's size: numbers and times only dilute what is to be seen."""
    sample = bytearray()
    for line in data.splitlines():
        if not line.isascii():
            sample += line + b"\n"  # whole, or its last character might be cut in two
        if len(sample) >= _SAMPLE_BYTES:
            break
    return bytes(sample)
