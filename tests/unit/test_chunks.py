from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chunks import Chunk, Cue, cut, span
from vidask.models import Segment


def said(*texts: str, pause_s: float = 0.0) -> list[Segment]:
    """Cues of a second each, one after the other."""
    starts = [n * (1 + pause_s) for n in range(len(texts))]
    return [Segment(start_s=start, end_s=start + 1, text=text) for start, text in zip(starts, texts, strict=True)]


def texts(chunks: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def test_nothing_said_makes_no_chunks() -> None:
    assert cut([]) == []


def test_cues_are_joined_by_a_space_and_keep_their_times() -> None:
    assert cut(said("Hello", "world.")) == [
        Chunk(start_s=0.0, end_s=2.0, text="Hello world.", cues=(Cue(0.0, 1.0, 0), Cue(1.0, 2.0, 6)))
    ]


@pytest.mark.parametrize("ending", [".", "!", "?", "…", "。", "！", "？", '."', "?”", "!»", ".)", "。」"])
def test_a_chunk_of_the_wanted_length_is_closed_at_the_end_of_a_sentence(ending: str) -> None:
    chunks = cut(said("one two", "three" + ending, "four"), target_chars=8)
    assert texts(chunks) == ["one two three" + ending, "four"]


def test_a_chunk_goes_on_while_its_sentence_does() -> None:
    assert texts(cut(said("one two", "three", "3.14 four", "five. Six"), target_chars=3)) == [
        "one two three 3.14 four five. Six"
    ]


def test_a_sentence_that_ends_too_soon_closes_nothing() -> None:
    assert texts(cut(said("One.", "Two.", "Three."), target_chars=9)) == ["One. Two.", "Three."]


def test_no_chunk_is_longer_than_allowed() -> None:
    assert texts(cut(said("aaaa", "bbbb", "cccc"), max_chars=9)) == ["aaaa bbbb", "cccc"]
    assert texts(cut(said("aaaa", "bbbb", "cccc"), max_chars=8)) == ["aaaa", "bbbb", "cccc"]


def test_a_cue_longer_than_allowed_is_a_chunk_of_its_own() -> None:
    assert texts(cut(said("a", "b" * 50, "c"), max_chars=10)) == ["a", "b" * 50, "c"]


def test_a_long_pause_closes_a_chunk_that_has_something_in_it() -> None:
    assert texts(cut(said("aaa", "bbb", pause_s=6.1), target_chars=12)) == ["aaa", "bbb"]
    assert texts(cut(said("aaa", "bbb", pause_s=6.0), target_chars=12)) == ["aaa bbb"]
    assert texts(cut(said("aa", "bbb", pause_s=6.1), target_chars=12)) == ["aa bbb"]


def test_while_an_earlier_cue_still_runs_there_is_no_pause() -> None:
    segments = [
        Segment(start_s=0.0, end_s=60.0, text="[music plays]"),
        Segment(start_s=1.0, end_s=2.0, text="Hello"),
        Segment(start_s=50.0, end_s=51.0, text="again"),
    ]
    (chunk,) = cut(segments, target_chars=20)
    assert (chunk.start_s, chunk.end_s) == (0.0, 60.0)


def test_a_stretch_of_text_is_said_when_the_cues_it_touches_are() -> None:
    (chunk,) = cut(said("Hello", "big", "world"))
    cues = json.loads(json.dumps(chunk.cues))  # as a database gives them back
    size = len(chunk.text)
    assert span(cues, size, 0, size) == (0.0, 3.0)
    assert span(cues, size, 0, 5) == (0.0, 1.0)
    assert span(cues, size, 6, 9) == (1.0, 2.0)
    assert span(cues, size, 5, 9) == (1.0, 2.0)
    assert span(cues, size, 8, 11) == (1.0, 3.0)
    assert span(cues, size, 4, 7) == (0.0, 2.0)


def test_a_stretch_that_touches_no_cue_has_the_times_of_the_one_before() -> None:
    (chunk,) = cut(said("Hello", "world"))
    size = len(chunk.text)
    assert span(chunk.cues, size, 5, 6) == (0.0, 1.0)
    assert span(chunk.cues, size, 3, 3) == (0.0, 1.0)
    assert span(chunk.cues, size, size, size + 5) == (1.0, 2.0)
    assert span(chunk.cues, size, -5, 0) == (0.0, 1.0)


def test_overlapping_cues_have_the_times_of_both() -> None:
    segments = [Segment(start_s=0.0, end_s=9.0, text="long"), Segment(start_s=1.0, end_s=2.0, text="short")]
    (chunk,) = cut(segments)
    assert span(chunk.cues, len(chunk.text), 0, len(chunk.text)) == (0.0, 9.0)


def test_a_chunk_without_cues_is_an_error_and_no_time() -> None:
    with pytest.raises(ValueError, match="at least one"):
        span([], 10, 0, 5)


TIMES = st.integers(min_value=0, max_value=3_600_000_000).map(lambda ms: ms / 1000)
NEAR = st.integers(min_value=0, max_value=60_000).map(lambda ms: ms / 1000)
WORDS = st.text(alphabet="ab .!?。”", min_size=1, max_size=60).map(lambda text: " ".join(text.split()) or "x")
SEGMENTS = st.lists(
    st.tuples(TIMES | NEAR, TIMES | NEAR, WORDS).map(
        lambda cue: Segment(start_s=min(cue[:2]), end_s=max(cue[:2]), text=cue[2])
    ),
    max_size=40,
).map(lambda segments: sorted(segments, key=lambda segment: (segment.start_s, segment.end_s)))


@given(segments=SEGMENTS, target_chars=st.integers(1, 100), max_chars=st.integers(1, 200))
def test_every_cue_is_in_one_chunk_once_with_its_text_and_times(
    segments: list[Segment], target_chars: int, max_chars: int
) -> None:
    chunks = cut(segments, target_chars=target_chars, max_chars=max_chars)
    assert " ".join(texts(chunks)) == " ".join(segment.text for segment in segments)
    found = [cue for chunk in chunks for cue in chunk.cues]
    assert [cue[:2] for cue in found] == [(segment.start_s, segment.end_s) for segment in segments]
    left = iter(segments)
    for chunk in chunks:
        assert len(chunk.text) <= max_chars or len(chunk.cues) == 1
        assert chunk.start_s == min(cue.start_s for cue in chunk.cues)
        assert chunk.end_s == max(cue.end_s for cue in chunk.cues)
        for cue in chunk.cues:
            own = next(left).text
            assert chunk.text.startswith(own, cue.offset)
            assert span(chunk.cues, len(chunk.text), cue.offset, cue.offset + len(own)) == cue[:2]


@given(segments=SEGMENTS)
def test_a_chunk_is_closed_only_for_one_of_the_three_reasons(segments: list[Segment]) -> None:
    chunks = cut(segments, target_chars=40, max_chars=80, max_pause_s=6.0)
    for chunk, following in pairwise(chunks):
        first = following.text[: following.cues[1].offset - 1] if following.cues[1:] else following.text
        ended = len(chunk.text) >= 40 and chunk.text.rstrip("”")[-1:] in {".", "!", "?", "。"}
        full = len(chunk.text) + 1 + len(first) > 80
        paused = len(chunk.text) >= 10 and following.cues[0].start_s - chunk.end_s > 6
        assert ended or full or paused
