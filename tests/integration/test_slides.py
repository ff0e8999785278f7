"""Slides are indexed and asked about: a real worker, real OCR, no vision model."""

from __future__ import annotations

import pytest

from tests.drawing import jpeg, png, slide
from tests.support import LECTURE
from vidask import Client, Frame, JobFailed

ENTROPY = slide("Entropy and information gain", ["A pure leaf has entropy zero", "Split where the gain is largest"])
PRUNING = slide("Cost complexity pruning", ["The penalty alpha is 0.015", "Prune from the bottom up"])


@pytest.fixture
def indexed(client: Client) -> Client:
    """A lecture with two slides: the first from 0 s on, the second from 75 s to the end at 185 s."""
    client.index_transcript("talk", text=LECTURE).result(60)
    report = client.index_frames(
        "talk", [Frame(0.0, jpeg(ENTROPY)), Frame(75.0, png(PRUNING))], duration_s=185.0
    ).result(60)
    assert (report.frames, report.indexed, report.captioned, report.empty, report.problems) == (2, 2, 0, 0, ())
    assert ["does not see pictures" in note for note in report.notes] == [True]
    return client


def test_what_stands_only_on_a_slide_is_found_and_cited_with_the_slides_times(indexed: Client) -> None:
    answer = indexed.ask("What is the penalty alpha of cost complexity pruning?", video_ids=["talk"]).result(60)
    assert "0.015" in answer.text
    citation = answer.citations[0]
    assert (citation.kind, citation.start_s, citation.end_s) == ("frame", 75.0, 185.0)
    assert "0.015" in citation.text


def test_what_is_said_is_still_cited_as_said(indexed: Client) -> None:
    answer = indexed.ask("Why does a deep tree overfit?", video_ids=["talk"]).result(60)
    assert "every leaf holds a single example" in answer.text
    assert answer.citations[0].kind == "transcript"


def test_a_slide_can_be_asked_about_without_saying_what_stands_on_it(indexed: Client) -> None:
    answer = indexed.ask("What is its penalty?", video_ids=["talk"], frames=[Frame(75.0, png(PRUNING))]).result(60)
    assert "0.015" in answer.text


def test_no_frame_is_left_once_the_video_is_forgotten(indexed: Client) -> None:
    indexed.index_transcript("other", text=LECTURE).result(60)
    assert indexed.forget("talk").result(60).removed > 2
    answer = indexed.ask("What is the penalty alpha of cost complexity pruning?").result(60)
    assert "0.015" not in answer.text


def test_a_text_file_among_the_slides_fails_alone_and_alone_fails_the_job(indexed: Client) -> None:
    frames = [Frame(0.0, b"this is no picture"), Frame(75.0, png(PRUNING))]
    report = indexed.index_frames("talk", frames).result(60)
    assert (report.indexed, [problem.time_s for problem in report.problems]) == (1, [0.0])
    with pytest.raises(JobFailed) as raised:
        indexed.index_frames("talk", frames[:1]).result(60)
    assert "\n" not in str(raised.value)
    assert indexed.ask("What is the penalty alpha?", video_ids=["talk"]).result(60).citations[0].kind == "frame"
