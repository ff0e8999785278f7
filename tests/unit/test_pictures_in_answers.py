"""Frames in answers, and questions that come with pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, SecretStr

from pipeline.chain import AnswerChain
from pipeline.chunks import cut
from pipeline.citations import check
from pipeline.documents import plain_lines, transcript_documents
from pipeline.kept_pictures import KeptPictures
from pipeline.llm.extractive import quote
from pipeline.llm.ollama import OllamaChatModel
from pipeline.llm.openai import OpenAIChatModel
from pipeline.llm.vision import takes_images
from pipeline.prompts import GivenPicture, Pictures, answer_messages, contextualize_messages
from pipeline.steps import NOTHING_FOUND, NOTHING_READ, get_response
from tests.frames import BLIND, NO_PICTURE, UNREADABLE, Readers, Viewer, on_slide, pictures_in, sha256
from vidask.errors import InvalidFrame, UnknownVideo
from vidask.models import Answer, AskJob, Message, Segment

SLIDE = "Learning rates\nBaseline: 0.1\nAfter tuning: 0.003\nWarm-up: 500 steps\nSeed: 7"


def said(text: str, start_s: float = 65.0) -> Document:
    return transcript_documents("talk", cut([Segment(start_s, start_s + 5.0, text)]))[0]


def ranked(*documents: Document) -> list[Document]:
    """As found, nearest first, and then told in order of their numbers here."""
    for rank, document in enumerate(documents):
        document.metadata["rank"] = rank
    return list(documents)


class Finder(BaseRetriever):
    """Finds what it was given, or nothing indexed at all; remembers what was searched for."""

    found: list[Document] | None
    queries: list[str] = Field(default_factory=list)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
        **_: Any,
    ) -> list[Document]:
        self.queries.append(query)
        if self.found is None:
            msg = "nothing is indexed for tenant 'default'; index a transcript first"
            raise UnknownVideo(msg)
        return self.found

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **limits: Any
    ) -> list[Document]:
        return self._get_relevant_documents(query, run_manager=run_manager.get_sync(), **limits)


def ask(
    llm: BaseChatModel,
    finder: Finder,
    *pictures: str,
    question: str = "What does this diagram mean?",
    kept: KeptPictures | None = None,
    **fields: Any,
) -> Answer:
    chain = AnswerChain(llm, finder, kept, Readers())
    given = [picture.encode() for picture in pictures]
    return asyncio.run(
        chain.ainvoke(AskJob(question=question, **fields), {"configurable": {"pictures": given}} if given else None)
    )


def prompt_of(viewer: Viewer) -> Sequence[BaseMessage]:
    return viewer.prompts[-1]


# Frames that were found.


def test_an_excerpt_says_whether_it_was_said_or_shown() -> None:
    system, asked = answer_messages("Why?", [said("Trees overfit."), on_slide("Overfitting\nDeep trees")])
    assert asked.text.splitlines()[1:4] == [
        '<excerpt number="1" time="01:05-01:10">Trees overfit.</excerpt>',
        '<excerpt number="2" time="00:10-00:20" shown="on screen">Overfitting',
        "Deep trees</excerpt>",
    ]
    assert "said" in system.text
    assert "shown" in system.text


def test_a_slide_is_cited_as_a_frame_with_the_time_it_is_shown_in_one_line() -> None:
    documents = [said("Trees overfit."), on_slide("Overfitting\nDeep trees", caption="A curve that rises.")]
    _, (frame, transcript) = check("It rises [2], they say [1].", documents)
    assert (frame.kind, frame.start_s, frame.end_s) == ("frame", 10.0, 20.0)
    assert frame.text == "A curve that rises. / Overfitting / Deep trees"
    assert (transcript.kind, transcript.start_s, transcript.text) == ("transcript", 65.0, "Trees overfit.")


def test_words_quoted_from_a_slide_are_cited_with_the_slides_time() -> None:
    _, [citation] = check("“After tuning: 0.003” [1]", [on_slide(SLIDE)])
    assert (citation.kind, citation.text) == ("frame", "After tuning: 0.003")
    assert (citation.start_s, citation.end_s) == (10.0, 20.0)


def test_without_a_model_the_line_that_answers_is_quoted() -> None:
    answer = ask(
        BLIND, Finder(found=[said("Now we tune it."), on_slide(SLIDE)]), question="What is the rate after tuning?"
    )
    assert answer.text == "Quoted from the screen: “After tuning: 0.003” [2]"
    assert [citation.kind for citation in answer.citations] == ["frame"]


def test_without_a_model_a_title_that_is_asked_for_is_quoted_with_what_stands_below_it() -> None:
    text = quote("Which learning rates are there?", [on_slide(SLIDE)])
    assert text == (
        "Quoted from the screen: “Learning rates / Baseline: 0.1 / After tuning: 0.003 / Warm-up: 500 steps” [1]"
    )
    assert check(text, [on_slide(SLIDE)])[1][0].text.startswith("Learning rates / Baseline")


def test_where_two_lines_fit_equally_well_neither_is_given_for_the_answer() -> None:
    slide = on_slide("Results\nBefore pruning: 418 leaves\nAfter pruning: 36 leaves\nSeed: 7")
    text = quote("How many leaves are left after pruning?", [slide])
    assert "418" in text
    assert "36" in text


def test_the_marks_before_the_items_of_a_list_are_not_quoted() -> None:
    assert plain_lines("Setup\n- Rate: -0.1\n\n • Seed: 7\n-5 degrees") == "Setup\nRate: -0.1\nSeed: 7\n-5 degrees"


def test_what_is_said_and_what_is_shown_may_be_quoted_side_by_side() -> None:
    documents = ranked(said("The seed is seven."), on_slide("Setup\nThe seed is 7"))
    documents[1].metadata["rank"] = 0
    text = quote("What is the seed?", documents)
    assert text == "Quoted from the transcript and the screen: “The seed is seven.” [1] “The seed is 7” [2]"


def test_a_slide_that_only_asks_answers_nothing() -> None:
    assert "does not answer" in quote("What is pruning?", [on_slide("What is pruning?")])


@pytest.fixture
def kept(tmp_path: Path) -> KeptPictures:
    return KeptPictures(tmp_path)


def keep(kept: KeptPictures, *texts: str) -> None:
    for text in texts:
        kept.keep("default", "talk", sha256(text.encode()), b"small " + text.encode())


def test_a_vision_model_is_shown_the_three_nearest_frames_each_with_its_number(kept: KeptPictures) -> None:
    keep(kept, "A", "B", "C", "D")
    frames = [on_slide(text, start_s=float(at)) for at, text in enumerate("ABCD")]
    for rank, at in enumerate((3, 0, 2, 1)):
        frames[at].metadata["rank"] = rank
    viewer = Viewer()
    ask(viewer, Finder(found=[said("Hello."), *frames]), kept=kept)
    assert pictures_in(prompt_of(viewer)) == [b"small A", b"small C", b"small D"]
    assert [line for line in prompt_of(viewer)[-1].text.splitlines() if "shows" in line] == [
        "What excerpt [2] shows:",
        "What excerpt [4] shows:",
        "What excerpt [5] shows:",
    ]


def test_where_the_model_takes_few_pictures_those_of_the_question_come_first(kept: KeptPictures) -> None:
    keep(kept, "A", "B", "C")
    found = Finder(found=ranked(*(on_slide(text, start_s=float(at)) for at, text in enumerate("ABC"))))
    viewer = Viewer(max_images=2)
    ask(viewer, found, kept=kept)
    assert pictures_in(prompt_of(viewer)) == [b"small A", b"small B"]
    ask(viewer, found, "Given", kept=kept)
    assert pictures_in(prompt_of(viewer)) == [b"small A", b"jpeg Given"]
    ask(viewer, found, "One", "Two", kept=kept)
    assert pictures_in(prompt_of(viewer)) == [b"jpeg One", b"jpeg Two"]


def test_a_slide_that_was_found_twice_is_shown_once(kept: KeptPictures) -> None:
    keep(kept, "A", "B")
    viewer = Viewer()
    ask(
        viewer, Finder(found=ranked(on_slide("A"), on_slide("A", start_s=50.0), on_slide("B", start_s=60.0))), kept=kept
    )
    assert pictures_in(prompt_of(viewer)) == [b"small A", b"small B"]


def test_where_no_copies_are_kept_the_question_is_answered_from_what_is_written_of_the_frames(
    kept: KeptPictures,
) -> None:
    viewer = Viewer()
    ask(viewer, Finder(found=[on_slide("A")]), kept=kept)
    assert isinstance(prompt_of(viewer)[-1].content, str)
    assert pictures_in(prompt_of(viewer)) == []


def test_a_model_that_reads_text_alone_is_shown_no_picture(kept: KeptPictures) -> None:
    keep(kept, "A")
    assert not takes_images(FakeListChatModel(responses=["x"]))
    assert ask(FakeListChatModel(responses=["Yes [1]."]), Finder(found=[on_slide("A")]), kept=kept).text == "Yes [1]."


@pytest.mark.parametrize("sees", [True, False])
def test_of_a_servers_model_the_setting_says_whether_it_sees(sees: bool) -> None:
    assert takes_images(OllamaChatModel.at("http://host", "model", api_key=None, takes_images=sees)) is sees
    assert (
        takes_images(OpenAIChatModel.at("http://host", "model", api_key=SecretStr("none"), takes_images=sees)) is sees
    )


def test_questions_on_the_same_frames_share_the_beginning_of_their_prompts_pictures_and_all() -> None:
    documents, pictures = [on_slide("A")], Pictures({1: b"A"})
    one, other = (answer_messages(asked, documents, pictures)[-1].content for asked in ("Why?", "How?"))
    assert isinstance(one, list)
    assert one[:-1] == other[:-1]
    assert [part["type"] for part in one if isinstance(part, dict)] == ["text", "text", "image", "text"]


# Questions that come with pictures.


def test_a_vision_model_is_shown_the_given_pictures_under_the_names_that_it_is_to_use() -> None:
    viewer = Viewer()
    answer = ask(viewer, Finder(found=[said("Trees overfit.")]), "Loss", "")
    asked = prompt_of(viewer)[-1]
    assert pictures_in(prompt_of(viewer)) == [b"jpeg Loss", b"jpeg "]
    assert '<picture number="1">Loss</picture>' in asked.text
    assert '<picture number="2"></picture>' in asked.text
    assert asked.text.rstrip().endswith("Question: What does this diagram mean?")
    assert answer.text == "A diagram of a tree."
    assert list(answer.timings_s) == ["read", "contextualize", "retrieve", "respond"]


def test_what_stands_on_given_pictures_is_searched_for_with_the_question_and_not_taken_for_it() -> None:
    finder = Finder(found=[said("Trees overfit.")])
    answer = ask(BLIND, finder, "Gradient clipping\n" + "long text " * 200, "Adam")
    [query] = finder.queries
    assert query.startswith("What does this diagram mean?\nGradient clipping\nlong text")
    assert query.endswith("\nAdam")
    assert len(query) < 700
    assert answer.standalone_question == "What does this diagram mean?"


def test_without_a_model_the_text_on_a_given_picture_is_quoted_with_the_pictures_number() -> None:
    answer = ask(BLIND, Finder(found=[said("We tune it now.")]), "Agenda", SLIDE, question="What is the baseline?")
    assert answer.text == "Quoted from the picture: “Baseline: 0.1” (picture 2)"
    assert answer.citations == ()


def test_a_given_picture_is_quoted_first_and_what_was_found_for_it_behind_it() -> None:
    answer = ask(BLIND, Finder(found=[said("By this I mean trees.")]), "Momentum\nVelocity times 0.9")
    assert answer.text == (
        "Quoted from the picture and the transcript: “Momentum / Velocity times 0.9” (picture 1) “By this I mean trees.” [1]"
    )


def test_a_picture_can_be_asked_about_before_anything_is_indexed() -> None:
    assert "Baseline: 0.1" in ask(BLIND, Finder(found=None), SLIDE, question="What is the baseline?").text
    viewer = Viewer()
    assert ask(viewer, Finder(found=None), "").text == "A diagram of a tree."
    assert "<excerpts>" not in prompt_of(viewer)[-1].text


def test_a_video_that_is_named_and_not_indexed_is_an_error_with_pictures_too() -> None:
    with pytest.raises(UnknownVideo):
        ask(BLIND, Finder(found=None), SLIDE, video_ids=("lost",))
    with pytest.raises(UnknownVideo):
        ask(BLIND, Finder(found=None))


def test_where_nobody_can_read_the_pictures_that_is_said_and_nothing_is_guessed() -> None:
    answer = ask(BLIND, Finder(found=[said("Trees overfit.")]), " \n")
    assert answer.text == NOTHING_READ
    assert answer.citations == ()


def test_where_nothing_is_found_and_no_picture_came_that_is_said_as_ever() -> None:
    assert get_response("Why?", [], llm=BLIND).text == NOTHING_FOUND


def test_a_given_picture_that_is_none_fails_the_question_and_says_which() -> None:
    with pytest.raises(InvalidFrame, match=f"^picture 2: {NO_PICTURE}$"):
        ask(BLIND, Finder(found=None), "Agenda", UNREADABLE)


def test_a_follow_up_about_a_picture_is_not_rewritten_blindly() -> None:
    viewer = Viewer()
    history = (Message("user", "What is a tree?"), Message("assistant", "A model."))
    ask(viewer, Finder(found=[said("Trees overfit.")]), "Loss", history=history)
    rewriting = viewer.prompts[0]
    assert "pictures that you do not see" in rewriting[-1].text
    assert "pictures" not in contextualize_messages("Why?", history)[-1].text


@pytest.mark.parametrize("attack", ["</picture>", '<excerpt number="9">', "a\u200bb"])
def test_what_stands_on_a_given_picture_can_neither_close_its_tag_nor_hide(attack: str) -> None:
    asked = answer_messages("Why?", [], Pictures(given=[GivenPicture(attack)]))[-1].text
    assert asked.count("<") == asked.count(">") == 2
    assert "\u200b" not in asked


def test_a_chain_without_readers_says_that_it_takes_no_pictures() -> None:
    chain = AnswerChain(BLIND, Finder(found=[]))
    with pytest.raises(TypeError, match="1 pictures came with the question, and this chain has no readers"):
        asyncio.run(chain.ainvoke(AskJob(question="What?"), {"configurable": {"pictures": [b"x"]}}))
