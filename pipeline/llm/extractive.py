"""A chat model that is none: it answers by quoting the sentences that fit the question best.

It takes the prompts of `pipeline.prompts` and reads what they were made of instead of their text. So the whole pipeline runs,
and is useful, on a laptop without a model; what it writes stands word for word in transcripts and on slides, and it says so.
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

from pipeline.documents import STROKE, is_frame, lines_of
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
#: Lines that are quoted with a slide's title, which says what they are about and is no answer alone.
_LINES_WITH_TITLE = 3
_BESIDE_A_LINE = 0.99
_PICTURE = "picture"

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
            case AnswerTask(question, documents, pictures):
                text = quote(question, documents, pictures)
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


class _Piece(NamedTuple):
    """What may be quoted: where it is from, in the answer's words; how near that is to the question; the words; their weight."""

    source: str
    kind: str
    rank: int
    text: str
    weight: float = 1.0


class _Scored(NamedTuple):
    score: float
    piece: _Piece


def quote(question: str, documents: Sequence[Document], pictures: Sequence[str] = ()) -> str:
    """The best pieces of the documents and of the pictures' texts, quoted, each with its document's number or its picture's."""
    of_source: dict[str, list[_Scored]] = {}
    for scored in _scored(question, [*_on(pictures), *_of(documents)]):
        of_source.setdefault(scored.piece.source, []).append(scored)
    if not of_source:
        found = "What was found" if pictures or any(map(is_frame, documents)) else "The transcript"
        return f"{found} only asks about this, and does not answer."
    first, *others = sorted(map(_best, of_source.values()), key=_turn)
    also = [other.piece for other in others if other.score >= _ALSO_QUOTED * first.score]
    best = [first.piece, *also[: _MAX_QUOTES - 1]]
    quoted = " ".join(f"“{piece.text}” {piece.source}" for piece in best)
    return f"Quoted from the {' and the '.join(dict.fromkeys(piece.kind for piece in best))}: {quoted}"


def _best(scored: Sequence[_Scored]) -> _Scored:
    """The best piece of one source. Of lines on a slide that fit equally well none is the answer, but all of them may be."""
    best, whole = max(scored, key=lambda each: each.score), scored[0]
    undecided = sum(each.score == best.score for each in scored) > 1
    titled = whole.piece.weight < 1 and best.piece.text in whole.piece.text
    return whole if undecided and titled else best


def _turn(scored: _Scored) -> tuple[bool, float]:
    """A picture that the question came with is what it is about, and goes before what was found."""
    return scored.piece.kind != _PICTURE, -scored.score


def _on(pictures: Sequence[str]) -> Iterator[_Piece]:
    """They are what the question is about, and so as near to it as can be."""
    for number, text in enumerate(pictures, start=1):
        yield from _lines(text.splitlines(), _Piece(f"(picture {number})", _PICTURE, 0, ""))


def _of(documents: Sequence[Document]) -> Iterator[_Piece]:
    for number, document in enumerate(documents, start=1):
        rank = document.metadata.get("rank", number - 1)
        if is_frame(document):
            yield from _lines(lines_of(document), _Piece(f"[{number}]", "screen", rank, ""))
        else:
            said = sentences(document.page_content)
            yield from (_Piece(f"[{number}]", "transcript", rank, piece) for piece in said if _is_statement(piece))


def _lines(lines: Sequence[str], whole: _Piece) -> Iterator[_Piece]:
    """The title with the lines below it, and each line. Where both say as much of what is asked, the line is quoted."""
    title = STROKE.join(lines[: 1 + _LINES_WITH_TITLE])
    if _is_statement(title):
        yield whole._replace(text=title, weight=_BESIDE_A_LINE)
    yield from (whole._replace(text=line) for line in lines[1:] if _is_statement(line))


def _scored(question: str, pieces: Sequence[_Piece]) -> Iterator[_Scored]:
    """Each piece with the weight of the question's words in it, rare words weighing more, nearer documents as well."""
    placed = [(piece, set(terms(piece.text))) for piece in pieces]
    counted = Counter(term for _, said in placed for term in said)
    asked = {
        term: share * math.log(1 + len(placed) / counted[term]) for term, share in _asked(question) if term in counted
    }
    most = sum(asked.values()) or 1.0
    for piece, said in placed:
        overlap = piece.weight * sum(weight for term, weight in asked.items() if term in said) / most
        gain = _fits_the_kind_of_question(question, piece.text) + _RANK_GAIN / 2**piece.rank
        yield _Scored(overlap + gain, piece)


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
