from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from vidask.clock import clock, parse_clock, place
from vidask.errors import InvalidJob
from vidask.models import (
    MAX_TIME_S,
    Answer,
    AskJob,
    Citation,
    ForgetJob,
    ForgetReport,
    IndexReport,
    IndexTranscriptJob,
    Message,
    Sampling,
    Segment,
    Usage,
)
from vidask.validation import build, parse_json


def refusal(model: type[BaseModel], fields: Mapping[str, Any]) -> str:
    with pytest.raises(InvalidJob) as error:
        build(model, fields)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


# Limits. Each is said with the field, the value, the limit and what to do.

ASK = {"question": "Why?"}
INDEX = {"video_id": "talk", "text": "WEBVTT"}
SEGMENT = {"start_s": 1, "end_s": 2, "text": "x"}
TENANT = "does not match ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$; use letters, digits, '.', '_' and '-'"
TIME = "input should be less than or equal to 3600000"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"question": "x" * 8_001}, "question: 8,001 characters, at most 8,000 are taken; shorten it"),
        ({"question": " \n"}, "question: is empty"),
        ({}, "question: is missing"),
        ({"question": 7}, "question: 7: input should be a valid string"),
        (
            {"question": b"\xff"},
            "question: b'\\xff': input should be a valid string, unable to parse raw data as a unicode string",
        ),
        ({"history": [Message("user", "x")] * 101}, "history: 101 items, at most 100 are taken; send fewer"),
        (
            {"history": [{"role": "user", "content": "x" * 32_001}]},
            "history.0.content: 32,001 characters, at most 32,000 are taken; shorten it",
        ),
        (
            {"history": [{"role": "system", "content": "x"}]},
            "history.0.role: 'system' is not one of 'user' or 'assistant'",
        ),
        ({"history": [{"role": "user"}]}, "history.0.content: is missing"),
        ({"video_ids": ["x"] * 51}, "video_ids: 51 items, at most 50 are taken; send fewer"),
        ({"video_ids": ["ok", "x" * 257]}, "video_ids.1: 257 characters, at most 256 are taken; shorten it"),
        ({"video_ids": [""]}, "video_ids.0: is empty"),
        ({"video_ids": ["a\nb"]}, "video_ids.0: holds control characters or line breaks; remove them"),
        ({"video_ids": "talk"}, "video_ids: 'talk': input should be a valid tuple"),
        ({"top_k": 0}, "top_k: 0: input should be greater than or equal to 1"),
        ({"top_k": 51}, "top_k: 51: input should be less than or equal to 50"),
        ({"start_s": -1}, "start_s: -1: input should be greater than or equal to 0"),
        ({"end_s": 3_600_001}, f"end_s: 3600001: {TIME}"),
        ({"end_s": float("nan")}, "end_s: nan: input should be a finite number"),
        (
            {"start_s": 20, "end_s": 10.5},
            "job: the time range ends at 10.5 s before it starts at 20 s; swap the two",
        ),
        ({"sampling": {"temperature": 2.1}}, "sampling.temperature: 2.1: input should be less than or equal to 2"),
        ({"sampling": {"temperature": -1}}, "sampling.temperature: -1: input should be greater than or equal to 0"),
        ({"sampling": {"temperature": float("nan")}}, "sampling.temperature: nan: input should be a finite number"),
        ({"sampling": {"top_p": 0}}, "sampling.top_p: 0: input should be greater than 0"),
        ({"sampling": {"top_p": 1.5}}, "sampling.top_p: 1.5: input should be less than or equal to 1"),
        ({"sampling": {"max_tokens": 0}}, "sampling.max_tokens: 0: input should be greater than or equal to 1"),
        ({"sampling": {"max_tokens": 4_097}}, "sampling.max_tokens: 4097: input should be less than or equal to 4096"),
        ({"sampling": {"seed": -1}}, "sampling.seed: -1: input should be greater than or equal to 0"),
        ({"sampling": {"seed": 2**63}}, f"sampling.seed: {2**63}: input should be less than {2**63}"),
        ({"deadline_s": 0}, "deadline_s: 0: input should be greater than 0"),
        ({"deadline_s": 604_801}, "deadline_s: 604801: input should be less than or equal to 604800"),
        ({"deadline_s": float("inf")}, "deadline_s: inf: input should be a finite number"),
        ({"tenant": ""}, f"tenant: '' {TENANT}"),
        ({"tenant": "a/b"}, f"tenant: 'a/b' {TENANT}"),
        ({"tenant": "a\n"}, f"tenant: 'a\\n' {TENANT}"),
        ({"tenant": "x" * 65}, f"tenant: '{'x' * 59}… {TENANT}"),
    ],
    ids=str,
)
def test_a_question_that_breaks_a_limit_is_refused_with_the_limit(fields: dict[str, Any], said: str) -> None:
    assert refusal(AskJob, {**(ASK if fields else {}), **fields}) == said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "x" * 10_000_001}, "text: 10,000,001 characters, at most 10,000,000 are taken; shorten it"),
        ({"text": " "}, "text: is empty"),
        ({"text": None}, "job: give the transcript as text or as segments, and not as both"),
        ({"segments": [SEGMENT]}, "job: give the transcript as text or as segments, and not as both"),
        ({"video_id": "\t"}, "video_id: is empty"),
        ({"format": "doc"}, "format: 'doc' is not one of 'srt', 'vtt', 'ass', 'ssa' or 'whisper'"),
        (
            {"text": None, "segments": [{**SEGMENT, "start_s": 3}]},
            "segments.0: ends at 2 s before it starts at 3 s; swap the two",
        ),
        (
            {"text": None, "segments": [SEGMENT, {**SEGMENT, "end_s": 3_600_000.5}]},
            f"segments.1.end_s: 3600000.5: {TIME}",
        ),
        (
            {"text": None, "segments": [{**SEGMENT, "text": "x" * 20_001}]},
            "segments.0.text: 20,001 characters, at most 20,000 are taken; shorten it",
        ),
        (
            {"text": None, "segments": [SEGMENT] * 100_001},
            "segments: 100,001 items, at most 100,000 are taken; send fewer",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_transcript_that_breaks_a_limit_is_refused_with_the_limit(fields: dict[str, Any], said: str) -> None:
    assert refusal(IndexTranscriptJob, INDEX | fields) == said


def test_what_is_just_within_the_limits_is_taken() -> None:
    job = build(
        AskJob,
        {
            "question": "x" * 8_000,
            "history": [Message("user", "x" * 32_000)] * 100,
            "video_ids": ["Vortrag über Bäume 树 " + "x" * 235] * 50,
            "start_s": 3_600_000,
            "end_s": 3_600_000,
            "top_k": 50,
            "sampling": Sampling(temperature=2.0, top_p=1.0, max_tokens=4_096, seed=2**63 - 1),
            "deadline_s": 604_800,
            "tenant": "a" + "._-9" * 15 + "xyz",
        },
    )
    assert (len(job.question), len(job.history), len(job.video_ids), job.top_k) == (8_000, 100, 50, 50)
    segments = [Segment(0.0, 0.0, "x" * 20_000)] * 2
    assert build(IndexTranscriptJob, {"video_id": "x", "segments": segments}).segments == tuple(segments)


def test_all_that_is_wrong_is_said_at_once_the_first_three_in_full() -> None:
    fields = {"question": "", "top_k": 0, "start_s": -1, "end_s": -1, "tenant": "?"}
    first = f"tenant: '?' {TENANT}; question: is empty; start_s: -1: input should be greater than or equal to 0"
    assert refusal(AskJob, fields) == f"{first}; and 2 more"


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"question": "\\ud800"}', "\x00"])
def test_json_that_is_no_job_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidJob) as error:
        parse_json(AskJob, text)
    assert "\n" not in str(error.value)


def test_a_huge_value_is_shown_shortened() -> None:
    assert "…" in refusal(AskJob, {"question": ["x"] * 1_000_000})


# Other versions.


@pytest.mark.parametrize("version", ["1.0", "1.7", "1"])
def test_a_job_of_this_major_version_is_taken(version: str) -> None:
    assert build(AskJob, {**ASK, "schema_version": version}).question == "Why?"


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "", "x"])
@pytest.mark.parametrize(
    ("model", "fields"), [(AskJob, ASK), (IndexTranscriptJob, INDEX), (ForgetJob, {"video_id": "x"})]
)
def test_a_job_of_another_major_version_is_refused(
    version: str, model: type[BaseModel], fields: dict[str, Any]
) -> None:
    message = refusal(model, {**fields, "schema_version": version})
    assert message == (
        f"schema_version: {version!r} is not understood here, 1.0 is; bring client and worker to the same release"
    )


def test_fields_that_a_newer_producer_adds_are_ignored() -> None:
    message = {"role": "user", "content": "x", "mood": "good"}
    job = parse_json(
        AskJob, '{"question": "Why?", "language": "en", "history": [{"role":"user","content":"x","at":1}]}'
    )
    assert job == AskJob(question="Why?", history=(Message("user", "x"),))
    assert build(AskJob, {"question": "Why?", "history": [message]}) == job
    assert build(AskJob, {**ASK, "sampling": {"min_p": 0.1}}) == AskJob(question="Why?")


# Round trips.

CITATION = Citation(number=1, video_id="talk", start_s=3661.5, end_s=3700.0, text="“树” \n")


@pytest.mark.parametrize(
    "model",
    [
        AskJob(
            question="Why {x}? 树\n", history=(Message("user", "a"), Message("assistant", "")), video_ids=("a", "b")
        ),
        AskJob(question="Why?", start_s=0.1, end_s=2.0, top_k=50, tenant="acme"),
        AskJob(question="Why?", sampling=Sampling(temperature=0.5, top_p=0.9, max_tokens=7, seed=1), deadline_s=0.5),
        IndexTranscriptJob(video_id="talk", text="WEBVTT\n\n", format="vtt"),
        IndexTranscriptJob(video_id="talk", segments=(Segment(0.1, 0.2, "x"), Segment(3.0, 3.0, ""))),
        ForgetJob(video_id="Vortrag über Bäume", tenant="acme"),
        CITATION,
        Usage(prompt_tokens=3, completion_tokens=4),
        Answer(
            text="[1]",
            standalone_question="?",
            citations=(CITATION,),
            usage=Usage(prompt_tokens=1),
            timings_s={"queued": 0.000001},
            model="extractive",
        ),
        IndexReport(
            video_id="x", segments=2, chunks=1, removed=3, superseded=True, warnings=("a",), timings_s={"a": 1.5}
        ),
        ForgetReport(video_id="x", removed=3, superseded=True),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_is_written_as_json_is_read_again(model: BaseModel) -> None:
    assert parse_json(type(model), model.model_dump_json()) == model
    assert build(type(model), model.model_dump()) == model
    assert parse_json(type(model), model.model_dump_json(exclude_none=True)) == model


def test_messages_and_segments_are_written_by_position_and_never_change() -> None:
    message, segment = Message("user", "Why?"), Segment(1, 2.5, "Hello")
    assert (message.role, message.content) == ("user", "Why?")
    assert (segment.start_s, segment.end_s, segment.text) == (1.0, 2.5, "Hello")
    for frozen, name in (
        (message, "content"),
        (segment, "text"),
        (AskJob(question="x"), "question"),
        (CITATION, "text"),
    ):
        with pytest.raises((AttributeError, ValidationError)):
            setattr(frozen, name, "y")


# Times as people write them.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1:30", 90), ("01:30", 90), ("1:02:03", 3723), ("12.5", 12.5), ("0:00", 0), (" 2:03.25 ", 123.25)],
)
def test_a_time_is_read_however_it_is_written(text: str, seconds: float) -> None:
    assert parse_clock(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "1:2:3:4", "1h", "1:", ":30", "1,5", "nan", "inf", "1e3", "1:30\n2"]
)
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InvalidJob) as error:
        parse_clock(text)
    assert str(error.value) == f"{text!r} is not a time; write 90, 1:30 or 1:02:03"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00"), (59.999, "00:59"), (60, "01:00"), (3599.9, "59:59"), (3600, "1:00:00"), (3_600_000, "1000:00:00")],
)
def test_a_time_is_shown_with_its_fraction_cut(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@given(seconds=st.floats(0, MAX_TIME_S))
def test_a_time_that_is_shown_and_read_again_lies_less_than_a_second_before(seconds: float) -> None:
    shown = clock(seconds)
    assert re.fullmatch(r"(\d+:)?\d\d:\d\d", shown)
    assert 0 <= seconds - parse_clock(shown) < 1


def test_a_place_is_the_video_with_the_time_from_and_to() -> None:
    assert place(CITATION) == "[talk 1:01:01–1:01:40]"
