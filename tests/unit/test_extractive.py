from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage

from pipeline.llm.extractive import ExtractiveChatModel, quote, rewrite
from pipeline.llm.words import sentences, stem, terms, words
from pipeline.prompts import answer_messages
from pipeline.steps import contextualize_query, get_response
from vidask.models import Message, Usage


def said(*texts: str) -> list[Document]:
    meta = {"video_id": "talk", "start_s": 0.0, "end_s": 9.0, "cues": [[0.0, 9.0, 0]]}
    return [Document(page_content=text, metadata=meta) for text in texts]


def quotes(answer: str) -> list[tuple[str, int]]:
    return [(quoted, int(number)) for quoted, number in re.findall(r"“(.*?)” \[(\d+)\]", answer)]


def asked(*questions: str) -> list[Message]:
    """A conversation in which these questions were asked, each with an answer."""
    turns = ((Message("user", question), Message("assistant", "Gradient boosting.")) for question in questions)
    return [message for turn in turns for message in turn]


# Quoting.


def test_the_sentence_that_fits_is_quoted_with_the_number_of_its_excerpt() -> None:
    answer = quote("When is pruning done?", said("Trees grow. Leaves fall.", "Hello. Pruning is done at the end. Bye."))
    assert answer == "Quoted from the transcript: “Pruning is done at the end.” [2]"


WORDS = st.sampled_from(
    ["tree", "trees", "overfits", "because", "noise", "is", "3.14", "（树）", "决策树", "“so”", "e.g.", "Why"]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
TEXTS = st.lists(st.tuples(SENTENCES, st.sampled_from([". ", "! ", "。", " "])).map("".join), min_size=1, max_size=5)


@given(question=SENTENCES, texts=st.lists(TEXTS.map("".join), min_size=1, max_size=6))
def test_whatever_is_quoted_stands_word_for_word_in_the_excerpt_it_names(question: str, texts: list[str]) -> None:
    answer = quote(question, said(*texts))
    remaining = answer.removeprefix("Quoted from the transcript: ")
    found = re.findall(r"“(.*?)” \[(\d+)\](?: |$)", remaining)
    assert found
    assert " ".join(f"“{quoted}” [{number}]" for quoted, number in found) == remaining
    assert all(quoted and quoted in texts[int(number) - 1] for quoted, number in found)


def test_excerpts_that_fit_equally_well_are_both_quoted_and_a_third_is_not() -> None:
    texts = [*(f"{filler} here." for filler in ("Nothing", "Little", "Something")), *["Pruning removes noise."] * 3]
    assert len(quotes(quote("What removes noise in pruning?", said(*texts)))) == 2


def test_of_two_excerpts_that_fit_equally_well_the_nearest_alone_is_quoted() -> None:
    answer = quote("What removes noise?", said("Pruning removes noise.", "Surely pruning removes noise."))
    assert quotes(answer) == [("Pruning removes noise.", 1)]


def test_of_two_excerpts_the_one_that_does_not_fit_is_left_out() -> None:
    answer = quote("What does pruning remove?", said("Pruning removes branches.", "Bread is baked in an oven."))
    assert quotes(answer) == [("Pruning removes branches.", 1)]


def test_where_no_word_fits_the_nearest_excerpt_is_quoted() -> None:
    assert quotes(quote("Wherefore?", said("The nearest.", "The second.")))[0] == ("The nearest.", 1)


def test_why_is_answered_with_a_reason() -> None:
    documents = said("A deep tree overfits quickly. It overfits because each leaf holds one example.")
    assert "because each leaf" in quote("Why does it overfit?", documents)
    assert "overfits quickly" in quote("When does it overfit?", documents)


def test_what_is_is_answered_with_a_definition() -> None:
    documents = said("Take a decision tree from the shelf. A decision tree is a list of questions.")
    assert "is a list of questions" in quote("What is a decision tree?", documents)
    assert "is a list of questions" in quote("what are decision trees", documents)
    assert "from the shelf" in quote("Take which decision tree?", documents)


@pytest.mark.parametrize(
    "asks",
    ["Why does a tree overfit? ", "Why? Why does a tree overfit? ", "树为什么过拟合？", "Overfit? "],
)
def test_a_question_is_never_quoted(asks: str) -> None:
    documents = said(f"{asks}It holds too many leaves.")
    assert quotes(quote("Why does a tree overfit?", documents)) == [("It holds too many leaves.", 1)]


def test_where_there_are_only_questions_that_is_said_and_nothing_is_cited() -> None:
    documents = said("Why does a tree overfit? 树为什么过拟合？")
    response = get_response("Why does a tree overfit?", documents, llm=ExtractiveChatModel())
    assert response.text == "The transcript only asks about this, and does not answer."
    assert response.citations == ()


def test_a_chinese_question_finds_the_chinese_sentence() -> None:
    documents = said("今天我们讲决策树。决策树会问问题。", "过拟合是指模型记住了噪声。剪枝可以减少过拟合的分支。")
    assert quotes(quote("剪枝有什么用？", documents)) == [("剪枝可以减少过拟合的分支。", 2)]
    assert quotes(quote("模型为什么会记住噪声？", documents))[0] == ("过拟合是指模型记住了噪声。", 2)


def test_chinese_reasons_are_preferred_too() -> None:
    documents = said("决策树常常过拟合。决策树过拟合是因为叶子太小。")
    assert quotes(quote("决策树为什么过拟合？", documents)) == [("决策树过拟合是因为叶子太小。", 1)]


def test_the_model_answers_the_prompts_of_the_pipeline_and_costs_no_tokens() -> None:
    response = get_response("What is pruning?", said("Pruning is removing."), llm=ExtractiveChatModel())
    assert response.text == "Quoted from the transcript: “Pruning is removing.” [1]"
    assert [citation.number for citation in response.citations] == [1]
    assert response.usage == Usage()


def test_any_other_prompt_is_refused() -> None:
    with pytest.raises(TypeError, match=r"pipeline\.prompts"):
        ExtractiveChatModel().invoke("Write me a poem.")
    text_alone = answer_messages("What?", said("x"))[-1].content
    with pytest.raises(TypeError, match=r"pipeline\.prompts"):
        ExtractiveChatModel().invoke([HumanMessage(text_alone)])


# Rewriting a follow-up.


@pytest.mark.parametrize(
    "follow_up",
    ["And why does it overfit?", "Why does it overfit?", "What about overfitting?", "Overfitting?", "Does that one?"],
)
def test_a_follow_up_gains_the_words_of_the_question_it_leans_on(follow_up: str) -> None:
    assert rewrite(follow_up, asked("What is a decision tree?")) == f"{follow_up} (decision tree)"


def test_a_chinese_follow_up_gains_what_it_leans_on() -> None:
    assert "决策树" in rewrite("它的叶子太多，为什么会过拟合？", asked("什么是决策树？"))


@pytest.mark.parametrize("question", ["When are decision trees pruned?", "剪枝有什么作用和缺点 请举例"])
def test_a_question_that_stands_alone_stays_as_it_is(question: str) -> None:
    assert rewrite(question, asked("What is gradient descent?")) == question


def test_words_that_the_follow_up_has_itself_are_not_repeated() -> None:
    assert (
        rewrite("Why does it prune trees?", asked("Is pruning a tree hard work?"))
        == "Why does it prune trees? (hard work)"
    )


def test_the_way_goes_back_over_earlier_follow_ups_to_the_question_that_stands_alone() -> None:
    history = asked("What is bread?", "What is a decision tree?", "And why does it overfit?")
    assert rewrite("How is that prevented?", history) == "How is that prevented? (overfit decision tree)"


def test_only_the_users_words_are_taken() -> None:
    assert "oosting" not in rewrite("Why is it so?", asked("What is a decision tree?"))


def test_at_most_eight_words_are_added_the_latest_questions_first() -> None:
    latest = "And then alpha bravo charlie delta?"
    rewritten = rewrite("Why does it fail?", asked("echo foxtrot golf hotel india juliett", latest))
    assert rewritten == "Why does it fail? (alpha bravo charlie delta echo foxtrot golf hotel)"


def test_a_follow_up_to_nothing_stays_as_it_is() -> None:
    assert rewrite("And why?", []) == "And why?"
    assert rewrite("And why?", asked("And why?")) == "And why?"


def test_contextualizing_uses_the_history_where_there_is_one() -> None:
    llm = ExtractiveChatModel()
    history = asked("What is a decision tree?")
    assert contextualize_query("And why does it overfit?", (), llm=llm).question == "And why does it overfit?"
    rewritten = contextualize_query("And why does it overfit?", history, llm=llm)
    assert rewritten.question == "And why does it overfit? (decision tree)"
    assert rewritten.usage == Usage()


def test_what_was_added_says_what_it_is_about_and_weighs_less_than_what_is_asked() -> None:
    documents = said("Trees stand there. Pruning comes last.", "Forests too.")
    assert quotes(quote("And pruning? (trees)", documents))[0] == ("Pruning comes last.", 1)
    assert quotes(quote("And trees? (pruning)", documents))[0] == ("Trees stand there.", 1)


# Words.


@pytest.mark.parametrize(
    "family",
    [
        ("overfit", "overfits", "overfitting"),
        ("tree", "trees"),
        ("learn", "learns", "learning", "learned", "learner", "learners"),
        ("prune", "prunes", "pruning", "pruned"),
        ("memorise", "memorises", "memorised"),
        ("run", "running"),
        ("split", "splitting", "splits"),
    ],
)
def test_forms_of_one_word_have_one_stem(family: tuple[str, ...]) -> None:
    stems = {form: stem(form) for form in family}
    assert len(set(stems.values())) == 1, stems


@pytest.mark.parametrize(("one", "other"), [("sing", "sign"), ("ring", "red"), ("bus", "bed"), ("tree", "try")])
def test_short_words_keep_what_tells_them_apart(one: str, other: str) -> None:
    assert stem(one) != stem(other)
    assert len(stem(one)) >= 3


def test_words_that_only_build_a_sentence_carry_no_meaning() -> None:
    assert words("What is THE Decision of a tree's leaf, and why 3?") == ["Decision", "tree's", "leaf", "3"]
    assert terms("Why is it that they do?") == []


def test_chinese_is_compared_by_pairs_of_characters() -> None:
    assert terms("决策树") == ["决策", "策树"]
    assert terms("树") == ["树"]


def test_sentences_end_where_they_do_in_english_and_in_chinese() -> None:
    text = 'It is 3.14, e.g. here. "Why?" she said. Yes! 你好。再见！'
    assert sentences(text) == ["It is 3.14, e.g. here.", '"Why?" she said.', "Yes!", "你好。", "再见！"]
    assert sentences("  ") == []
