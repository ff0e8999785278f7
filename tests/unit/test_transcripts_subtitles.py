from __future__ import annotations

import html
import json
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transcripts import Transcript, parse_transcript
from tests.transcripts import ASS, cue, dialogue, refusal, said, words
from vidask.models import Segment

# SRT.


def test_an_srt_file_gives_its_cues() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,500\nHello\nthere.\n\n2\n00:00:03,000 --> 00:00:04,000\nBye.\n"
    assert parse_transcript(text) == Transcript(
        (Segment(start_s=1.0, end_s=2.5, text="Hello there."), Segment(start_s=3.0, end_s=4.0, text="Bye.")), ()
    )


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\r\r\n"])
def test_line_ends_of_any_system_are_read(newline: str) -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nHello\nthere\n\n2\n00:00:03,000 --> 00:00:04,000\nBye\n"
    assert said(parse_transcript(text.replace("\n", newline))) == [(1.0, 2.0, "Hello there"), (3.0, 4.0, "Bye")]


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("00:05,000", 5.0),
        ("00:00:05.000", 5.0),
        ("0:0:5", 5.0),
        ("90:05,000", 5405.0),
        ("00:00:05,5", 5.5),
        ("00:00:05,25", 5.25),
        ("00:00:05,123456", 5.123),
        ("100:00:01,000", 360_001.0),
        ("1000:00:00,000", 3_600_000.0),
    ],
)
def test_times_with_few_or_many_digits_are_read(stamp: str, seconds: float) -> None:
    before = "1\n00:00:01,000 --> 00:00:02,000\nbefore\n\n"
    transcript = parse_transcript(f"{before}2\n{stamp} --> {stamp}  X1:40 X2:600\nit\n")
    assert said(transcript) == [(1.0, 2.0, "before"), (seconds, seconds, "it")]
    assert transcript.warnings == ()


def test_reversed_times_are_swapped_with_a_warning_that_names_the_cue() -> None:
    transcript = parse_transcript(cue("one") + "\n2\n00:00:09,000 --> 00:00:08,500\ntwo\n")
    assert said(transcript) == [(1.0, 2.0, "one"), (8.5, 9.0, "two")]
    (warning,) = transcript.warnings
    assert "cue 2" in warning
    assert "swapped" in warning


def test_a_negative_time_becomes_zero_with_a_warning_that_names_the_cue() -> None:
    transcript = parse_transcript(cue("one") + "\n2\n-00:00:01,500 --> 00:00:00,500\ntwo\n")
    assert said(transcript) == [(0.0, 0.5, "two"), (1.0, 2.0, "one")]
    (warning,) = transcript.warnings
    assert "cue 2" in warning
    assert "-1.5 s" in warning


def test_overlapping_cues_are_kept_and_sorted() -> None:
    text = (
        "1\n00:00:05,000 --> 00:00:06,000\nlate\n\n2\n00:00:01,000 --> 00:00:09,000\nlong\n\n"
        "3\n00:00:01,000 --> 00:00:02,000\nshort\n\n4\n00:00:05,000 --> 00:00:06,000\nlate too\n"
    )
    assert words(text) == ["short", "long", "late", "late too"]


def test_cues_without_text_are_left_out_without_a_word() -> None:
    transcript = parse_transcript(
        "1\n00:00:01,000 --> 00:00:02,000\n\n\n2\n00:00:03,000 --> 00:00:04,000\n<i></i>\n\n3\n" + cue("x")[2:]
    )
    assert said(transcript) == [(1.0, 2.0, "x")]
    assert transcript.warnings == ()


def test_a_number_that_is_said_is_not_taken_for_a_cues_number() -> None:
    numbered = (
        "1\n00:00:01,000 --> 00:00:02,000\n1984\n\n2\n00:00:03,000 --> 00:00:04,000\nWas it\n1985\n\n3\n" + cue("x")[2:]
    )
    assert words(numbered) == ["1984", "x", "Was it 1985"]
    unnumbered = (
        "00:00:01,000 --> 00:00:02,000\n1984\n00:00:03,000 --> 00:00:04,000\n2\n\n00:00:05,000 --> 00:00:06,000\nx\n"
    )
    assert words(unnumbered) == ["1984", "2", "x"]


def test_blank_lines_may_be_missing_between_cues_or_stand_inside_one() -> None:
    assert words("1\n00:00:01,000 --> 00:00:02,000\none\n2\n00:00:03,000 --> 00:00:04,000\ntwo\n\nthree\n") == [
        "one",
        "two three",
    ]


def test_an_unreadable_time_costs_its_cue_with_a_warning_that_names_the_line() -> None:
    text = cue("one") + "\n2\n00:aa --> 00:00:05,000\nlost\n\n3\n00:00:06,000 --> 00:00:05,000\nthree\n"
    transcript = parse_transcript("\n\n" + text)
    assert said(transcript) == [(1.0, 2.0, "one"), (5.0, 6.0, "three")]
    assert "line 8: '00:aa --> 00:00:05,000'" in transcript.warnings[0]
    assert "cue 3" in transcript.warnings[1]


def test_in_an_srt_file_only_a_number_can_name_a_cue() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\none\n\nWorld\n00:00:03,000 --> 00:00:04,000\ntwo\n"
    assert words(text) == ["one World", "two"]


def test_an_arrow_that_is_said_is_text() -> None:
    assert words(cue("A --> B\n2 --> 3")) == ["A --> B 2 --> 3"]


@pytest.mark.parametrize(
    "code",
    [
        "if (x) { y = 1; }",
        r'printf("hi\n"); \N \h',
        r"\frac{\alpha}{\beta} and {\bf x}",
        "vector<int> v; a < b && c > d",
        "map<string, vector<double>>",
        "x: {1: 2}",
        "from 00:01.000 to 00:02.500, or 00:00:01,000",
        "#include <stdio.h>",
        "AT&T, a &notin b",
    ],
)
@pytest.mark.parametrize("head", ["", "WEBVTT\n\n"], ids=["SRT", "VTT"])
def test_code_that_is_said_stays_as_it_is(code: str, head: str) -> None:
    assert words(head + "00:01.000 --> 00:02.000\n" + code + "\n") == [code]


@pytest.mark.parametrize(
    "markup",
    [
        "<i>a</i> <b>b</b>",
        "<I>a</I> < i >b</ i >",
        '<font color="#fff" size=3>a</font> b',
        r"{\an8}a b",
        r"{\i1}a{\i0} {\c&H00FF00&\fs20\pos(1,2)}b",
        "a<br>b",
        "a<br />b",
        "a\nb",
        "a&nbsp;b",
        "<c.yellow.bg_blue>a</c> <00:00:01.500>b",
        "<v Roger Bingham>a</v> <lang en>b</lang>",
    ],
)
def test_markup_is_taken_out(markup: str) -> None:
    assert words(cue(markup)) == ["a b"]


# WebVTT.


def test_a_webvtt_file_gives_its_cues_and_nothing_else() -> None:
    text = """WEBVTT - a title
Kind: captions

NOTE who wrote this
on two lines

STYLE
::cue(b) { color: red; }

REGION
id:fred

first
00:01.000 --> 00:02.000 align:start position:0%
<v Roger>Hi &lt;b&gt; &amp; you&nbsp;all&#33;</v>

NOTE between cues

2
00:00:03.000 --> 00:00:04.000
second

STYLE
::cue(i) { color: blue; }

NOTEWORTHY

NOTE
NOTE
third cue
100:00:05.000 --> 100:00:06.000
NOTE that this is said
"""
    transcript = parse_transcript(text)
    assert said(transcript) == [
        (1.0, 2.0, "Hi <b> & you all!"),
        (3.0, 4.0, "second NOTEWORTHY"),
        (360_005.0, 360_006.0, "NOTE that this is said"),
    ]
    assert transcript.warnings == ()


def test_webvtt_is_webvtt_even_where_it_is_called_srt() -> None:
    assert words("WEBVTT\n\n00:01.000 --> 00:02.000\none\n\nNOTE x\n\nid\n00:03.000 --> 00:04.000\ntwo\n", "srt") == [
        "one",
        "two",
    ]


# ASS and SSA.


def test_an_ass_file_gives_what_is_said() -> None:
    text = (
        ASS
        + dialogue(r"{\i1}Hello,\Nworld{\i0}\hand {a comment}all")
        + "Comment: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,not said\n"
        + dialogue(r"{\p1}m 0 0 l 100 0{\p0}")
        + dialogue("late, but { said", "100:00:01.25", "100:00:02.00")
    )
    assert said(parse_transcript(text)) == [
        (1.0, 2.5, "Hello, world and all"),
        (360_001.25, 360_002.0, "late, but { said"),
    ]


def test_an_ssa_file_gives_what_is_said() -> None:
    event = "Dialogue: Marked=0,0:00:01.00,0:00:02.50,*Default,NTP,0000,0000,0000,,Hi\n"
    text = f"[Script Info]\nScriptType: v4.00\n\n[Events]\n{event}"
    assert said(parse_transcript(text, "ssa")) == said(parse_transcript(text)) == [(1.0, 2.5, "Hi")]


def test_dialogue_is_mended_as_any_cue_is() -> None:
    text = ASS + dialogue("one", "0:00:09.00", "0:00:08.00") + dialogue("two", "-0:00:01.00") + dialogue("lost", "soon")
    transcript = parse_transcript(text)
    assert said(transcript) == [(0.0, 2.5, "two"), (8.0, 9.0, "one")]
    assert [warning.split(":")[0] for warning in transcript.warnings] == ["cue 1", "cue 2", "line 8"]


def test_fifty_thousand_cues_are_read_in_seconds() -> None:
    stamps = [stamp(second * 1000, ",") for second in range(50_001)]
    text = "".join(f"{n}\n{begin} --> {end}\n<i>So</i> {{{n}}}\n\n" for n, (begin, end) in enumerate(pairwise(stamps)))
    started = time.process_time()
    assert words(text)[-1] == "So {49999}"
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    "text", ["{" * 300_000, "<v " * 100_000, r"{\pos(" * 50_000, "\n" * 300_000, "}" + "{" * 300_000]
)
@pytest.mark.parametrize("head", ["1\n00:00:01,000 --> 00:00:02,000\n", ASS + dialogue("")[:-1]], ids=["srt", "ass"])
def test_a_hostile_cue_takes_no_longer_than_an_honest_one(text: str, head: str) -> None:
    started = time.process_time()
    refusal(head + text)
    assert time.process_time() - started < 5


# Whatever is said comes back.

TIMES = st.integers(min_value=0, max_value=3_600_000_000)
LETTERS = st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" {}\\:->0189")
SAID = st.text(alphabet=LETTERS, min_size=1, max_size=40).map(lambda text: " ".join(text.split())).filter(bool)
CUES = st.lists(st.tuples(TIMES, TIMES, SAID).map(lambda c: (min(c[:2]), max(c[:2]), c[2])), min_size=1, max_size=12)


def stamp(ms: int, mark: str) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"


def expected(cues: list[tuple[int, int, str]]) -> list[tuple[float, float, str]]:
    return [(start / 1000, end / 1000, text) for start, end, text in sorted(cues, key=lambda cue: cue[:2])]


@given(cues=CUES.filter(lambda cues: not any(mark in text for _, _, text in cues for mark in ("<", "&", "{\\"))))
def test_what_is_written_as_srt_is_read_again(cues: list[tuple[int, int, str]]) -> None:
    blocks = (f"{n}\n{stamp(start, ',')} --> {stamp(end, ',')}\n{text}\n" for n, (start, end, text) in enumerate(cues))
    transcript = parse_transcript("\n".join(blocks))
    assert said(transcript) == expected(cues)
    assert transcript.warnings == ()


@given(cues=CUES.filter(lambda cues: not any("{\\" in text for _, _, text in cues)))
def test_what_is_written_as_webvtt_is_read_again(cues: list[tuple[int, int, str]]) -> None:
    blocks = (f"{stamp(start, '.')} --> {stamp(end, '.')}\n{html.escape(text)}\n" for start, end, text in cues)
    transcript = parse_transcript("WEBVTT\n\n" + "\nNOTE between\n\n".join(blocks))
    assert said(transcript) == expected(cues)
    assert transcript.warnings == ()


@given(cues=CUES)
def test_what_whisper_writes_is_read_as_it_is(cues: list[tuple[int, int, str]]) -> None:
    segments = [{"start": start / 1000, "end": end / 1000, "text": f" {text}"} for start, end, text in cues]
    assert said(parse_transcript(json.dumps({"segments": segments}))) == expected(cues)
