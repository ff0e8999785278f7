"""An answer that is handed out while it is written says what the whole one says."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.documents import Document

from pipeline.chunks import cut
from pipeline.citations import CitationFilter, check
from pipeline.documents import transcript_documents
from vidask.models import Segment

DOCUMENTS = transcript_documents("talk", cut([Segment(n, n + 1, "word " * 20) for n in range(40)], max_chars=200))


def handed_out(pieces: list[str], documents: list[Document]) -> list[str]:
    numbers = CitationFilter(documents)
    return [*(numbers.feed(piece) for piece in pieces), numbers.end()]


ANSWERS = st.text('ab “”"[]0123459٣ \t\n\u2003\u00a0.', max_size=60) | st.lists(
    st.sampled_from(["[1]", "[9]", "[", "]", "12", " ", "\n", "a", " [2]", "[[9]1]", "[9999999]", "“x”", "树"]),
    max_size=30,
).map("".join)


@given(answer=ANSWERS, cuts=st.lists(st.integers(0, 200), max_size=12), retrieved=st.integers(0, 4))
@example("  [9] a [9[9]] [1][9] b [9] \n", [3, 9, 11, 17, 24], 1)
@example("[9]", [1, 2], 0)
@example(" \n ", [1], 1)
def test_however_an_answer_is_cut_it_reads_like_the_checked_whole(answer: str, cuts: list[int], retrieved: int) -> None:
    places = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    pieces = [answer[begin:end] for begin, end in pairwise(places)]
    documents = DOCUMENTS[:retrieved]
    assert "".join(handed_out(pieces, documents)) == check(answer.strip(), documents)[0]


def test_words_are_handed_out_with_the_piece_that_brings_them() -> None:
    assert handed_out(["A tree", " overfits", "."], DOCUMENTS) == ["A tree", " overfits", ".", ""]


def test_what_may_become_a_number_without_a_source_waits_until_it_is_known() -> None:
    assert handed_out(["It overfits", " [", "99", "]", "."], DOCUMENTS[:2]) == ["It overfits", "", "", "", ".", ""]
    assert handed_out(["It overfits", " [", "2", "]", "."], DOCUMENTS[:2]) == ["It overfits", "", "", "", " [2].", ""]


@pytest.mark.parametrize("piece", [" ", "1", "["])
def test_a_long_run_of_what_is_held_back_costs_no_more_than_its_length(piece: str) -> None:
    begun = time.process_time()
    handed_out(["a", *([piece] * 100_000), "b"], DOCUMENTS)
    handed_out(["a", piece * 100_000, "b"], DOCUMENTS)
    assert time.process_time() - begun < 5
