"""A chat model that is none: it answers by quoting the sentences that fit the question best.

It takes the prompts of `pipeline.prompts` and reads what they were made of instead of their text. So the whole pipeline runs,
and is useful, on a laptop without a model; what it writes stands word for word in the transcripts, and it says so.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from pipeline.llm.words import sentences, terms, words
from pipeline.prompts import TASK, AnswerTask, ContextualizeTask
from vidask.models import Message

#: Quoted beside the best sentence: the best of another excerpt that scores at least this share of it.
_ALSO_QUOTED = 0.9
_MAX_QUOTES = 2
#: How much a sentence gains by standing in the nearest excerpt; the gain halves with each rank.
_RANK_GAIN = 0.5
#: How much a sentence that gives a reason gains where one is asked for.
_REASON_GAIN = 0.3
#: How much one gains that says what a thing is, where that is asked for.
_DEFINITION_GAIN = 0.3
_TOPIC_SHARE = 0.5
_MAX_TOPIC_WORDS = 8

_WHY = re.compile(r"\bwhy\b|为什么|为何", re.IGNORECASE)
_CLOSING_MARKS = "\"'”’)」』"
_WHAT_IS = re.compile(r"^what(?:'s| is| are) (?:an? |the )?(.+?)s?\??$", re.IGNORECASE)
_BECAUSE = re.compile(r"\b(because|since|reason)\b|因为", re.IGNORECASE)

_LEANS_ON_HISTORY = re.compile(
    r"^\s*(and|but|so|then|or|why|how so|what about|how about|那|那么|为什么|所以)\b"
    r"|\b(it|its|they|them|their|this|that|these|those|he|she|him|her|one|ones|there|such|former|latter)\b"
    r"|(?<!其)他|[它她这那]",
    re.IGNORECASE,
)


class ExtractiveChatModel(BaseChatModel):
    """Quotes instead of writing. Costs no tokens, takes a millisecond, knows only what was said."""

    @property
    def _llm_type(self) -> str:
        return "extractive"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002  LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        match messages[-1].additional_kwargs.get(TASK):
            case ContextualizeTask(question, history):
                text = rewrite(question, history)
            case AnswerTask(question, documents):
                text = quote(question, documents)
            case _:
                msg = "the extractive model takes the prompts of pipeline.prompts and no others"
                raise TypeError(msg)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        """At once: a thread of its own would cost more than the millisecond this takes."""
        return self._generate(messages, stop, None, **kwargs)


def rewrite(question: str, history: Sequence[Message]) -> str:
    """A follow-up with the words of the questions it leans on added behind it; any other question as it is."""
    if not _leans(question):
        return question
    known, topic = set(terms(question)), list[str]()
    for earlier in reversed([turn.content for turn in history if turn.role == "user"]):
        for word in words(earlier):
            if not known.issuperset(terms(word)):
                known.update(terms(word))
                topic.append(word)
        if not _leans(earlier):
            break
    return f"{question} ({' '.join(topic[:_MAX_TOPIC_WORDS])})" if topic else question


def _leans(question: str) -> bool:
    return bool(_LEANS_ON_HISTORY.search(question)) or len(terms(question)) < 2


class _Sentence(NamedTuple):
    score: float
    number: int
    text: str


def quote(question: str, documents: Sequence[Document]) -> str:
    """The best sentences of the documents, quoted, each with its document's number."""
    best_of: dict[int, _Sentence] = {}
    for sentence in sorted(_scored(question, documents), key=lambda sentence: -sentence.score):
        best_of.setdefault(sentence.number, sentence)
    if not best_of:
        return "The transcript only asks about this, and does not answer."
    first, *others = best_of.values()
    best = [first, *(other for other in others[: _MAX_QUOTES - 1] if other.score >= _ALSO_QUOTED * first.score)]
    quoted = " ".join(f"“{sentence.text}” [{sentence.number}]" for sentence in best)
    return f"Quoted from the transcript: {quoted}"


def _scored(question: str, documents: Sequence[Document]) -> Iterator[_Sentence]:
    """Every sentence with the weight of the question's words in it, rare words weighing more, nearer documents as well."""
    placed = [
        (number, document.metadata.get("rank", number - 1), text, set(terms(text)))
        for number, document in enumerate(documents, start=1)
        for text in sentences(document.page_content)
        if _is_statement(text)
    ]
    counted = Counter(term for *_, said in placed for term in said)
    asked = {
        term: share * math.log(1 + len(placed) / counted[term]) for term, share in _asked(question) if term in counted
    }
    most = sum(asked.values()) or 1.0
    for number, rank, text, said in placed:
        overlap = sum(weight for term, weight in asked.items() if term in said) / most
        gain = _fits_the_kind_of_question(question, text) + _RANK_GAIN / 2**rank
        yield _Sentence(overlap + gain, number, text)


def _is_statement(text: str) -> bool:
    """Whether it says something: a question, in quotation marks or not, does not, nor does a mark that stands alone."""
    return any(char.isalnum() for char in text) and not text.rstrip(_CLOSING_MARKS).endswith(("?", "？"))


def _fits_the_kind_of_question(question: str, text: str) -> float:
    if _WHY.search(question):
        return _REASON_GAIN if _BECAUSE.search(text) else 0.0
    if what := _WHAT_IS.search(question):
        return (
            _DEFINITION_GAIN if re.search(rf"\b{re.escape(what[1])}s? (?:is|are|means)\b", text, re.IGNORECASE) else 0.0
        )
    return 0.0


def _asked(question: str) -> Iterator[tuple[str, float]]:
    """The question's words with their share: what `rewrite` added behind it says what it is about, not what is asked."""
    asked, _, topic = question.rpartition(" (") if question.endswith(")") else (question, "", "")
    shares = dict.fromkeys(terms(topic), _TOPIC_SHARE) | dict.fromkeys(terms(asked), 1.0)
    yield from shares.items()
