from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from pipeline.chunks import Chunk, cut
from pipeline.citations import check
from pipeline.documents import transcript_documents
from vidask.models import Citation, Segment


def excerpt(*texts: str, video_id: str = "talk", begin_s: float = 0.0) -> Document:
    """An excerpt whose cues last ten seconds each."""
    segments = [
        Segment(start_s=begin_s + 10 * n, end_s=begin_s + 10 * n + 10, text=text) for n, text in enumerate(texts)
    ]
    (document,) = transcript_documents(video_id, cut(segments, max_chars=10_000, target_chars=10_000))
    return document


TREES = excerpt("A deep tree overfits.", "Every leaf holds one example.", "So it memorises noise.")
PRUNING = excerpt("Pruning removes branches.", "It is done last.", video_id="other", begin_s=100.0)
WHOLE = Citation(number=1, video_id="talk", start_s=0.0, end_s=30.0, text=TREES.page_content)


def times(citations: tuple[Citation, ...]) -> list[tuple[int, float, float]]:
    return [(citation.number, citation.start_s, citation.end_s) for citation in citations]


def test_a_paraphrase_is_cited_with_its_whole_excerpt() -> None:
    assert check("It learns by heart [1].", [TREES, PRUNING]) == ("It learns by heart [1].", (WHOLE,))


def test_an_answer_without_numbers_cites_nothing() -> None:
    assert check("I do not know, see (1) or [a].", [TREES]) == ("I do not know, see (1) or [a].", ())


@pytest.mark.parametrize("number", ["0", "3", "99", "9999", "00"])
def test_a_number_that_was_not_retrieved_is_removed_from_the_answer(number: str) -> None:
    text, cited = check(f"It overfits [{number}]. It is pruned[{number}] [2].", [TREES, PRUNING])
    assert text == "It overfits. It is pruned [2]."
    assert [citation.number for citation in cited] == [2]


def test_where_nothing_was_retrieved_all_numbers_are_removed() -> None:
    assert check("It overfits [1][2].", []) == ("It overfits.", ())


def test_citations_come_in_the_order_of_their_first_mention_each_once() -> None:
    text, cited = check("Prune [2]. Trees [1][2], and again [1].", [TREES, PRUNING])
    assert text == "Prune [2]. Trees [1][2], and again [1]."
    assert [(citation.number, citation.video_id) for citation in cited] == [(2, "other"), (1, "talk")]


@pytest.mark.parametrize("marks", ["“{}” [1]", '"{}" [1]', "「{}」[1]", "“{}”[1]"])
def test_a_quotation_is_cited_with_the_times_of_the_cues_it_stands_in(marks: str) -> None:
    _, cited = check("Quoted: " + marks.format("Every leaf holds one example."), [TREES])
    (citation,) = cited
    assert (citation.start_s, citation.end_s) == (10.0, 20.0)
    assert citation.text == "Every leaf holds one example."


def test_a_quotation_over_two_cues_has_the_times_of_both() -> None:
    assert times(check("“overfits. Every leaf” [1]", [TREES])[1]) == [(1, 0.0, 20.0)]


def test_two_quotations_of_one_excerpt_are_one_citation_from_the_first_words_to_the_last() -> None:
    _, cited = check("“memorises noise” [1] because “one example.” [1]", [TREES])
    assert times(cited) == [(1, 10.0, 30.0)]
    assert cited[0].text == "one example. So it memorises noise"


def test_quotations_of_two_excerpts_are_narrowed_each_by_its_own() -> None:
    _, cited = check("“done last” [2], “overfits” [1]", [TREES, PRUNING])
    assert times(cited) == [(2, 110.0, 120.0), (1, 0.0, 10.0)]


@pytest.mark.parametrize(
    "answer",
    [
        "“Every leaf knows one example.” [1]",
        "“It is done last.” [1]",
        "“Every leaf holds one example.” This is so [1].",
        "“Every leaf holds one example.” [2][1]",
    ],
    ids=["not word for word", "of another excerpt", "number not behind it", "another number behind it"],
)
def test_what_is_no_quotation_of_the_excerpt_cites_all_of_it(answer: str) -> None:
    assert WHOLE in check(answer, [TREES, PRUNING])[1]


def test_a_quotation_that_is_not_found_does_not_widen_one_that_is() -> None:
    assert times(check("“Never said” [1], “overfits” [1]", [TREES])[1]) == [(1, 0.0, 10.0)]


def test_a_quotation_is_found_behind_a_number_that_is_removed() -> None:
    assert check("“overfits” [7] [1]", [TREES])[0] == "“overfits” [1]"
    assert times(check("“overfits” [7] [1]", [TREES])[1]) == [(1, 0.0, 10.0)]


def chunks_of(letters: str) -> st.SearchStrategy[list[Chunk]]:
    said = st.lists(st.text(letters, min_size=1, max_size=8), min_size=1, max_size=4)
    return said.map(lambda texts: cut([Segment(n, n + 1, text) for n, text in enumerate(texts)], max_chars=10_000))


MARKERS = st.integers(0, 12).map("[{}]".format)
PIECES = st.lists(MARKERS | st.text('abc “”"1. \n', max_size=8), max_size=12)


@given(videos=st.lists(chunks_of("abc “”."), max_size=5), pieces=PIECES)
def test_every_citation_is_of_a_retrieved_excerpt_and_stands_in_the_text(
    videos: list[list[Chunk]], pieces: list[str]
) -> None:
    documents = [document for chunks in videos for document in transcript_documents("talk", chunks)]
    text, cited = check("".join(pieces), documents)
    left = [int(number) for number in re.findall(r"\[(\d+)\]", text)]
    assert [citation.number for citation in cited] == list(dict.fromkeys(left))
    for citation in cited:
        assert 1 <= citation.number <= len(documents)
        document = documents[citation.number - 1]
        assert citation.text in document.page_content
        assert citation.start_s in {cue[0] for cue in document.metadata["cues"]}
        assert document.metadata["start_s"] <= citation.start_s <= citation.end_s <= document.metadata["end_s"]


@given(chunks=chunks_of("abcdefg ."), data=st.data())
def test_whatever_part_of_an_excerpt_is_quoted_is_what_is_cited(chunks: list[Chunk], data: st.DataObject) -> None:
    said = chunks[0].text
    begin = data.draw(st.integers(0, len(said) - 1))
    quoted = said[begin : data.draw(st.integers(begin + 1, len(said)))]
    (citation,) = check(f"“{quoted}” [1]", transcript_documents("talk", chunks))[1]
    assert citation.text == quoted
    found = said.find(quoted)
    touched = [cue for cue in chunks[0].cues if cue.offset < found + len(quoted)]
    assert citation.end_s == max([cue.end_s for cue in touched] or [chunks[0].cues[0].end_s])
