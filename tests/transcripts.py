"""What the tests of transcripts share."""

from __future__ import annotations

import pytest

from pipeline.transcripts import Transcript, parse_transcript
from vidask.errors import InvalidTranscript
from vidask.models import TranscriptFormat

ASS = "[Script Info]\nTitle: x\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"


def cue(text: str) -> str:
    return f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n"


def said(transcript: Transcript) -> list[tuple[float, float, str]]:
    return [(segment.start_s, segment.end_s, segment.text) for segment in transcript.segments]


def words(text: str, transcript_format: TranscriptFormat | None = None) -> list[str]:
    return [segment.text for segment in parse_transcript(text, transcript_format).segments]


def dialogue(text: str, start: str = "0:00:01.00", end: str = "0:00:02.50") -> str:
    return f"Dialogue: 0,{start},{end},Default,,0,0,0,,{text}\n"


def refusal(text: str, transcript_format: TranscriptFormat | None = None) -> str:
    with pytest.raises(InvalidTranscript) as error:
        parse_transcript(text, transcript_format)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    return message
