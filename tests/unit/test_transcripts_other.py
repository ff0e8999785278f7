from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.transcripts import from_segments, parse_transcript
from tests.transcripts import ASS, cue, dialogue, refusal, said, words
from vidask.errors import InvalidTranscript
from vidask.models import MAX_SEGMENT_CHARS, MAX_SEGMENTS, Segment

LECTURES = Path(__file__).parents[2] / "examples" / "lectures"
# Whisper.

WHISPER = [{"id": 0, "start": 0, "end": 1.2345, "text": r" if { x } \n"}, {"start": 2.5, "end": 3.0, "text": " <b>"}]


@pytest.mark.parametrize("result", [WHISPER, {"text": "all", "segments": WHISPER, "language": "en"}])
def test_a_result_of_whisper_gives_its_segments(result: object) -> None:
    assert said(parse_transcript(json.dumps(result))) == [(0.0, 1.234, r"if { x } \n"), (2.5, 3.0, "<b>")]


def test_a_result_of_whisper_cpp_gives_its_segments() -> None:
    segment = {"timestamps": {"from": "00:00:00,100"}, "offsets": {"from": 100, "to": 2000}, "text": " hi"}
    assert said(parse_transcript(json.dumps({"transcription": [segment]}))) == [(0.1, 2.0, "hi")]


def test_whispers_times_are_mended_as_any_others() -> None:
    transcript = parse_transcript('[{"start": 5, "end": 4, "text": "a"}, {"start": -1, "end": 1, "text": "b"}]')
    assert said(transcript) == [(0.0, 1.0, "b"), (4.0, 5.0, "a")]
    assert [warning.split(":")[0] for warning in transcript.warnings] == ["cue 1", "cue 2"]


@pytest.mark.parametrize(
    ("segment", "field"),
    [
        ('{"start": "1.0", "end": 2, "text": ""}', "start is '1.0'"),
        ('{"start": NaN, "end": 2, "text": ""}', "start is nan"),
        ('{"start": 1, "end": Infinity, "text": ""}', "end is inf"),
        ('{"start": null, "end": 2, "text": ""}', "start is None"),
        ('{"start": true, "end": 2, "text": ""}', "start is True"),
        ('{"start": 1e308, "end": 2, "text": ""}', "start is 1e+308"),
        ('{"start": 1' + "0" * 500 + ', "end": 2, "text": ""}', "start is 100000"),
        ('{"end": 2, "text": ""}', "start is missing"),
        ('{"start": 1, "end": 2}', "text is missing"),
        ('{"start": 1, "end": 2, "text": 3}', "text is 3"),
        ("7", "it is 7"),
    ],
)
def test_a_malformed_segment_is_refused_by_number(segment: str, field: str) -> None:
    assert f"segment 2: {field}" in refusal('[{"start": 0, "end": 1, "text": "fine"}, ' + segment + "]")


def test_a_malformed_segment_of_whisper_cpp_is_refused_by_number() -> None:
    segment = {"offsets": {"from": "0", "to": 2000}, "text": "hi"}
    assert "segment 1: offsets.from is '0'" in refusal(json.dumps({"transcription": [segment]}))


@pytest.mark.parametrize("text", ['{"segments": [', "[" * 100_000, '{"segments": [{"text": "\\ud800"}]}', "{a: 1}"])
def test_malformed_json_is_refused(text: str) -> None:
    assert "no valid JSON" in refusal(text)


@pytest.mark.parametrize("text", ['{"text": "no segments"}', '{"segments": null}', '"segments"', "3"])
def test_json_without_segments_is_refused(text: str) -> None:
    assert "'segments'" in refusal(text, "whisper")


# All formats.


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("01-decision-trees.srt", (1.2, 4.287, "Hello, and welcome to Learning from data.")),
        ("02-gradient-descent.vtt", (1.2, 3.55, "Welcome back to Learning from data.")),
        ("03-neural-networks.json", (1.2, 4.31, "Hello again, and welcome to lecture three.")),
    ],
)
def test_the_example_lectures_are_read_without_being_told_their_format(
    name: str, first: tuple[float, float, str]
) -> None:
    transcript = parse_transcript((LECTURES / name).read_text(encoding="utf-8"))
    assert said(transcript)[0] == first
    assert transcript.warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        "[by somebody]\n\n" + cue("x"),
        "\n\nWEBVTT\n\n00:01.000 --> 00:02.000\nx\n\nNOTE no\n",
        "; made by hand\n" + ASS.lower() + dialogue("x", "0:00:01.00", "0:00:02.00"),
        ' \n[{"start": 1, "end": 2, "text": "x"}]',
    ],
    ids=["srt", "vtt", "ass", "whisper"],
)
def test_a_format_is_known_by_more_than_its_first_letter(text: str) -> None:
    assert said(parse_transcript(text)) == [(1.0, 2.0, "x")]


@pytest.mark.parametrize("text", ["", "just words\nand more", "WEBVT", "# --- >"])
def test_text_in_no_known_format_is_refused_with_the_formats_there_are(text: str) -> None:
    assert "SRT, WebVTT, ASS/SSA or Whisper JSON" in refusal(text)


@pytest.mark.parametrize("text", ["WEBVTT\n\n", ASS, "[]", '{"segments": []}', cue(" \u200b "), "a --> b\nc\n"])
def test_a_transcript_in_which_nothing_is_said_is_refused(text: str) -> None:
    assert "0 cues" in refusal(text)


def test_where_nothing_is_left_the_first_reason_is_given() -> None:
    assert "line 1: 'a --> b' is no time range" in refusal("a --> b\nc\n")


DIRT = "\ufeffHe\x01\u200b\u202e\u00adllo\t \u3000\u2028you\u2066"
CLEAN = "Hello you"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + cue(DIRT + "\0"),
        "\ufeffWEBVTT\n\n00:01.000 --> 00:02.000\n\0" + DIRT + "&#8203;&lrm;",
        ASS + dialogue(DIRT + "\0"),
        json.dumps([{"start": 1, "end": 2, "text": DIRT + "\0\n"}]),
    ],
    ids=["srt", "vtt", "ass", "whisper"],
)
def test_what_nobody_sees_is_taken_out_in_all_formats(text: str) -> None:
    assert words(text) == [CLEAN]


def test_marks_that_nobody_sees_around_a_time_do_not_hide_it() -> None:
    assert said(parse_transcript("\u202a00:00:01,000 --> 00:00:02,000\u202c\nx\n")) == [(1.0, 2.0, "x")]


def test_joiners_stay_for_the_scripts_that_need_them() -> None:
    assert words(cue("می\u200cخواهم 👩\u200d💻")) == ["می\u200cخواهم 👩\u200d💻"]


def test_a_half_of_a_surrogate_pair_does_no_harm() -> None:
    assert words(cue("a\ud800b")) == ["ab"]


@pytest.mark.parametrize(
    "text",
    [
        cue("fine") + "\n2\n1000:00:00,001 --> 1000:00:01,000\nlate\n",
        cue("fine") + "\n2\n999999999:00:00,000 --> 00:00:01,000\nlate\n",
        ASS + dialogue("fine") + dialogue("late", end="1000:00:00.01"),
    ],
)
def test_a_time_beyond_a_thousand_hours_is_refused_by_cue(text: str) -> None:
    message = refusal(text)
    assert message.startswith("cue 2: ")
    assert "3,600,000 s" in message


def test_a_cue_may_be_long_but_not_too_long() -> None:
    assert words(cue("x" * MAX_SEGMENT_CHARS)) == ["x" * MAX_SEGMENT_CHARS]
    assert refusal(cue("x" * (MAX_SEGMENT_CHARS + 1))).startswith("cue 1: 20,001 characters, at most 20,000")


def test_there_may_be_many_cues_but_not_too_many() -> None:
    segment = Segment(start_s=0.0, end_s=1.0, text="x")
    assert len(from_segments([segment] * MAX_SEGMENTS).segments) == MAX_SEGMENTS
    with pytest.raises(InvalidTranscript, match="100,001 cues, at most 100,000"):
        from_segments([segment] * (MAX_SEGMENTS + 1))


def test_only_the_first_warnings_are_given() -> None:
    transcript = parse_transcript("\n".join("00:00:02,000 --> 00:00:01,000\nx\n" for _ in range(25)))
    assert len(transcript.warnings) == 21
    assert transcript.warnings[-1] == "and 5 more"


def test_segments_that_are_given_as_such_are_cleaned_and_sorted_like_any_others() -> None:
    transcript = from_segments(
        [
            Segment(start_s=5.0, end_s=6.0004, text=" <b> {x}\n&amp; "),
            Segment(start_s=3.0, end_s=3.0, text="\u200b"),
            Segment(start_s=1.0, end_s=2.0, text=DIRT),
        ]
    )
    assert said(transcript) == [(1.0, 2.0, CLEAN), (5.0, 6.0, "<b> {x} &amp;")]


@pytest.mark.parametrize("segments", [[], [Segment(start_s=0.0, end_s=1.0, text=" ")]])
def test_segments_in_which_nothing_is_said_are_refused(segments: list[Segment]) -> None:
    with pytest.raises(InvalidTranscript, match="0 cues"):
        from_segments(segments)
