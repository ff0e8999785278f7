"""Subtitles in any of the formats, and Whisper's results, made into clean segments in order.

pysubs2 takes the markup out. What it gets wrong, or drops without a word, is settled here before it sees a cue: hours
beyond 99 and times without hours, signs, identifiers and NOTE blocks, braces and backslashes that are part of the text.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import pysubs2
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from vidask.errors import InvalidTranscript
from vidask.models import MAX_SEGMENT_CHARS, MAX_SEGMENTS, MAX_TIME_S, Segment, TranscriptFormat

_FORMATS: Final = "SRT, WebVTT, ASS/SSA or Whisper JSON"
_SHOWN_WARNINGS: Final = 20
_SHOWN_CHARS: Final = 60

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Transcript:
    """What is said in a video.

    Attributes:
        segments: sorted by their start and end; each has text, without markup, in one line. They may overlap.
        warnings: what had to be mended, by the cue's number in the file, or left out, by its line; the first few.
    """

    segments: tuple[Segment, ...]
    warnings: tuple[str, ...]


def parse_transcript(text: str, format: TranscriptFormat | None = None) -> Transcript:  # noqa: A002 - the job's word
    """Read a transcript; without `format`, its text tells which it is.

    Times that run backwards are swapped, negative ones become 0, a cue with unreadable ones is left out: all with a
    warning.

    Raises:
        InvalidTranscript: the format is none of ours, no cue can be read, or one breaks a limit of `vidask.models`.
    """
    text = _INVISIBLE.sub("", text).replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")
    warnings: list[str] = []
    read = _READERS[format or _detect(text)]
    return _transcript(read(text, warnings), warnings)


def from_segments(segments: Iterable[Segment]) -> Transcript:
    """Segments that are already structured, cleaned and sorted like any others.

    Raises:
        InvalidTranscript: there are none with text, or too many.
    """
    cues = (_Cue(n, _ms(segment.start_s), _ms(segment.end_s), segment.text) for n, segment in enumerate(segments, 1))
    return _transcript(cues, [])


class _Cue(NamedTuple):
    number: int
    start_ms: int
    end_ms: int
    text: str


# From cues to segments.


def _transcript(cues: Iterable[_Cue], warnings: list[str]) -> Transcript:
    segments = [segment for cue in cues if (segment := _segment(cue))]
    if not segments:
        reason = f" ({warnings[0]})" if warnings else ""
        raise InvalidTranscript(f"0 cues with text and times were found{reason}; give {_FORMATS} with at least one")
    if len(segments) > MAX_SEGMENTS:
        raise InvalidTranscript(f"{len(segments):,} cues, at most {MAX_SEGMENTS:,} are taken; split the transcript")
    segments.sort(key=lambda segment: (segment.start_s, segment.end_s))
    shown = warnings[:_SHOWN_WARNINGS]
    if len(warnings) > _SHOWN_WARNINGS:
        shown.append(f"and {len(warnings) - _SHOWN_WARNINGS} more")
    return Transcript(tuple(segments), tuple(shown))


def _segment(cue: _Cue) -> Segment | None:
    text = _clean(cue.text)
    if len(text) > MAX_SEGMENT_CHARS:
        limit = f"at most {MAX_SEGMENT_CHARS:,} are taken"
        raise InvalidTranscript(f"cue {cue.number}: {len(text):,} characters, {limit}; split it into several cues")
    return Segment(start_s=cue.start_ms / 1000, end_s=cue.end_ms / 1000, text=text) if text else None


def _mend(cue: _Cue, warnings: list[str]) -> _Cue:
    start_ms, end_ms = cue.start_ms, cue.end_ms
    latest_s = max(start_ms, end_ms) / 1000
    if latest_s > MAX_TIME_S:
        limit = f"the latest time is {MAX_TIME_S:,.0f} s"
        raise InvalidTranscript(f"cue {cue.number}: {latest_s:,.3f} s, {limit}; mend its times, or leave it out")
    if end_ms < start_ms:
        warnings.append(f"cue {cue.number}: ended at {end_ms / 1000:g} s, before {start_ms / 1000:g} s; swapped")
        start_ms, end_ms = end_ms, start_ms
    if start_ms < 0:
        warnings.append(f"cue {cue.number}: started at {start_ms / 1000:g} s, before the video; now at 0 s")
    return cue._replace(start_ms=max(start_ms, 0), end_ms=max(end_ms, 0))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _invisible() -> re.Pattern[str]:
    """What nobody sees but every index would: control and format characters, and halves of surrogate pairs.

    White space is not among them, nor are the joiners that some scripts are not legible without.
    """
    # The planes between these hold ideographs and nothing else; going through them would take longer than all imports.
    points = (*range(0x20000), *range(0xE0000, 0xE1000))
    unwanted = (
        char
        for char in map(chr, points)
        if unicodedata.category(char) in {"Cc", "Cf", "Cs"} and not char.isspace() and char not in "\u200c\u200d"
    )
    return re.compile(f"[{''.join(map(re.escape, unwanted))}]")


_INVISIBLE: Final = _invisible()


def _clean(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())


# Which format it is.


def _detect(text: str) -> TranscriptFormat:
    text = text.lstrip()
    if text.startswith("WEBVTT"):
        return "vtt"
    if re.search(r"^\[Script Info\]", text, re.MULTILINE | re.IGNORECASE):
        return "ass"
    if text.startswith(("{", "[")) and not re.search(rf"^{_TIMING.pattern}", text, re.MULTILINE):
        return "whisper"
    if "-->" in text:
        return "srt"
    raise InvalidTranscript(f"{_shown(text)} begins no format we know; give {_FORMATS}")


def _shown(value: object) -> str:
    shown = repr(value[: _SHOWN_CHARS + 1] if isinstance(value, str) else value)
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…"


# SRT and WebVTT.

# So few digits that no time is too large to compute with.
_STAMP: Final = r"(-?)(?:(\d{1,9}):)?(\d{1,9}):(\d{1,2})(?:[.,](\d{1,9}))?"
_TIMING: Final = re.compile(rf"[ \t]*{_STAMP}[ \t]*-->[ \t]*{_STAMP}(?=\s|$)", re.ASCII)
_COMMENT: Final = re.compile(r"NOTE(?=[ \t]|$)|(?:STYLE|REGION)$")
_WORD_TIME: Final = re.compile(r"<(?:\d+:)?\d+:\d+\.\d+>")
_LINE_BREAK: Final = re.compile(r"< ?br ?/?>", re.IGNORECASE)
_ENTITY: Final = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")

# Only what is surely markup is left to pysubs2: `vector<int>`, `{ x }` and `\n` are what a programming lecture says.
_MARKUP: Final = re.compile(
    r"""
    (?P<tag>
        <[ ]?/?[ ]?(?:[bcisu]|em|rt|ruby|strong)(?:\.[^<>\s]*)?[ ]?>
        | <[ ]?/?[ ]?(?:font|lang|span|v)(?:[.\s][^<>]*)?>
        | \{(?:\\(?:
            (?:an?|[bisuq]|[kK][fo]?|fs|bord|shad)\d+ | (?:[1-4]?c|alpha)&H[^\\{}]* | fn[^\\{}]+ | r
            | (?:pos|move|org|fade?)\([^(){}]*\)
        ))+\}
    )
    | [<{}\\:]
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Control characters, none of which is left in the text, stand in for what pysubs2 would take for markup, or, with two
# times in a line, for the beginning of another cue.
_GUARD: Final = str.maketrans("<{}\\:", "\x01\x02\x03\x04\x05")
_UNGUARD: Final = str.maketrans("\x01\x02\x03\x04\x05", "<{}\\:")


def _read_blocks(text: str, warnings: list[str]) -> Iterator[_Cue]:
    cues = [_mend(cue, warnings) for cue in _timed_blocks(text, warnings)]
    blocks = (f"{_stamp(cue.start_ms)} --> {_stamp(cue.end_ms)}\n{_guarded(cue.text)}\n" for cue in cues)
    subtitles = pysubs2.SSAFile.from_string("\n".join(("WEBVTT\n", *blocks)), format_="vtt")
    for cue, event in zip(cues, subtitles, strict=True):
        plain = event.plaintext.translate(_UNGUARD)
        yield cue._replace(text=_ENTITY.sub(lambda entity: html.unescape(entity[0]), plain))


def _timed_blocks(text: str, warnings: list[str]) -> Iterator[_Cue]:
    """Each timing line, with the lines up to the next one that belong to it; a header before the first is left out."""
    lines = _Lines(text)
    for number, (at, following) in enumerate(pairwise([*lines.timings, len(lines.lines)]), 1):
        timing = _TIMING.match(lines.lines[at])
        if timing is None:
            warnings.append(f"line {at + 1}: {_shown(lines.lines[at])} is no time range; its cue was left out")
            continue
        start, end = timing.groups()[:5], timing.groups()[5:]
        yield _Cue(number, _stamp_ms(*start), _stamp_ms(*end), "\n".join(lines.body(at + 1, following)))


class _Lines:
    """The lines of an SRT or WebVTT file, and what each of them is."""

    def __init__(self, text: str) -> None:
        self.lines = [line.rstrip() for line in text.split("\n")]
        self._is_vtt = text.lstrip().startswith("WEBVTT")
        self.timings = [at for at, line in enumerate(self.lines) if "-->" in line and self._is_timing(at)]
        # Where the first cue has a number all have, blank lines between them or not; elsewhere a number is text.
        self._is_numbered = bool(self.timings) and self._is_number(self.timings[0] - 1)

    def body(self, begin: int, following: int) -> Iterator[str]:
        """Lines of text before the timing line `following`, without its identifier and without comments."""
        is_last = following == len(self.lines)
        in_comment = False
        for at in range(begin, following if is_last or not self._names_a_cue(following - 1) else following - 1):
            starts_comment = self._is_vtt and self._starts_block(at) and _COMMENT.match(self.lines[at])
            in_comment = bool(starts_comment or (in_comment and self.lines[at]))
            if not in_comment:
                yield self.lines[at]

    def _is_timing(self, at: int) -> bool:
        """Whether times stand there, or something in their place that was meant to be times."""
        return bool(_TIMING.match(self.lines[at])) or self._starts_block(at) or self._is_identifier(at - 1)

    def _names_a_cue(self, at: int) -> bool:
        return self._is_identifier(at) or (self._is_numbered and self._is_number(at))

    def _is_identifier(self, at: int) -> bool:
        is_name = self._is_vtt and at >= 0 and self.lines[at] != "" and "-->" not in self.lines[at]
        return (is_name or self._is_number(at)) and self._starts_block(at)

    def _is_number(self, at: int) -> bool:
        return at >= 0 and self.lines[at].strip().isdecimal()

    def _starts_block(self, at: int) -> bool:
        return at == 0 or not self.lines[at - 1]


def _guarded(text: str) -> str:
    text = _LINE_BREAK.sub(" ", _WORD_TIME.sub("", " ".join(text.split())))
    return _MARKUP.sub(lambda found: found[0] if found["tag"] else found[0].translate(_GUARD), text)


def _stamp(ms: int) -> str:
    minutes, ms = divmod(ms, 60_000)
    return f"{minutes // 60:04}:{minutes % 60:02}:{ms // 1000:02}.{ms % 1000:03}"


def _stamp_ms(sign: str, hours: str | None, minutes: str, seconds: str, fraction: str | None) -> int:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    ms = whole * 1000 + round(float(f"0.{fraction or 0}") * 1000)
    return -ms if sign else ms


# ASS and SSA.

_DIALOGUE: Final = re.compile(rf"Dialogue:[^,]*,\s*{_STAMP}\s*,\s*{_STAMP}\s*,(?:[^,]*,){{6}}(.*)", re.ASCII)
_DRAWING: Final = re.compile(r"\\p[1-9]")


def _read_dialogues(text: str, warnings: list[str]) -> Iterator[_Cue]:
    number = 0
    for at, line in enumerate(text.split("\n"), 1):
        if not line.lstrip().startswith("Dialogue:"):
            continue
        number += 1
        found = _DIALOGUE.match(line.lstrip())
        if found is None:
            warnings.append(f"line {at}: {_shown(line)} is no dialogue with times; it was left out")
        elif not _DRAWING.search(found[11]):
            start, end = found.groups()[:5], found.groups()[5:10]
            yield _mend(_Cue(number, _stamp_ms(*start), _stamp_ms(*end), _without_overrides(found[11])), warnings)


def _without_overrides(text: str) -> str:
    # pysubs2 looks for the end of each override, over and over through all the text where a brace is never closed.
    closed, brace, rest = text.rpartition("}")
    event = pysubs2.SSAEvent(text=closed + brace + rest.replace("{", "{".translate(_GUARD)))
    return event.plaintext.translate(_UNGUARD)


# Whisper.

_WhisperSeconds = Annotated[float, Field(strict=True, ge=-MAX_TIME_S, le=MAX_TIME_S, allow_inf_nan=False)]
_WhisperMs = Annotated[int, Field(strict=True, ge=-MAX_TIME_S * 1000, le=MAX_TIME_S * 1000)]


class _WhisperSegment(BaseModel):
    start: _WhisperSeconds
    end: _WhisperSeconds
    text: str


class _Offsets(BaseModel):
    start: _WhisperMs = Field(alias="from")
    end: _WhisperMs = Field(alias="to")


class _WhisperCppSegment(BaseModel):
    offsets: _Offsets
    text: str


def _read_whisper(text: str, warnings: list[str]) -> Iterator[_Cue]:
    found = enumerate(_whisper_segments(text), 1)
    cues = [_mend(_Cue(n, _ms(start), _ms(end), _clean(said)), warnings) for n, (start, end, said) in found]
    segments = [
        {"start": cue.start_ms / 1000, "end": cue.end_ms / 1000, "text": cue.text.translate(_GUARD)} for cue in cues
    ]
    for cue, event in zip(cues, pysubs2.load_from_whisper(segments), strict=True):
        yield cue._replace(text=event.plaintext.translate(_UNGUARD))


def _whisper_segments(text: str) -> list[tuple[float, float, str]]:
    """Start and end in seconds, and text, of the segments of openai-whisper's result or of whisper.cpp's."""
    try:
        result = from_json(text)
    except ValueError as error:
        raise InvalidTranscript(f"no valid JSON: {error}; give {_FORMATS}") from None
    match result:
        case {"segments": list(items)} | list(items):
            return [(item.start, item.end, item.text) for item in _validated(TypeAdapter(list[_WhisperSegment]), items)]
        case {"transcription": list(items)}:
            valid = _validated(TypeAdapter(list[_WhisperCppSegment]), items)
            return [(item.offsets.start / 1000, item.offsets.end / 1000, item.text) for item in valid]
        case _:
            raise InvalidTranscript(f"{_shown(text)} has no list of 'segments'; give the whole result of Whisper")


def _validated(segments: TypeAdapter[list[_Model]], items: list[Any]) -> list[_Model]:
    try:
        return segments.validate_python(items)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        index, *field = detail["loc"]
        where = f"segment {int(index) + 1}: {'.'.join(map(str, field)) or 'it'}"
        problem = "is missing" if detail["type"] == "missing" else f"is {_shown(detail['input'])}: {detail['msg']}"
        raise InvalidTranscript(f"{where} {problem}; mend it, or run Whisper again") from None


_READERS: Final[dict[TranscriptFormat, Callable[[str, list[str]], Iterable[_Cue]]]] = {
    "srt": _read_blocks,
    "vtt": _read_blocks,
    "ass": _read_dialogues,
    "ssa": _read_dialogues,
    "whisper": _read_whisper,
}
