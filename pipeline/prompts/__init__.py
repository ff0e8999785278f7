"""The prompts: text files beside this one, and the messages made of them.

Beside the text that a language model reads, the last message of each prompt carries what it was made of in `additional_kwargs`
(`TASK`), so that a "model" that is none (`pipeline.llm.extractive`) need not read prose.

The excerpts stand before the question: many questions on one video then share the beginning of their prompts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from vidask.clock import clock
from vidask.models import Message

TASK = "vidask"


@dataclass(frozen=True)
class ContextualizeTask:
    """Rewrite `question` so that it stands without `history`."""

    question: str
    history: Sequence[Message]


@dataclass(frozen=True)
class AnswerTask:
    """Answer `question` from `documents`, which are cited by their position, from 1."""

    question: str
    documents: Sequence[Document]


def contextualize_messages(question: str, history: Sequence[Message]) -> list[BaseMessage]:
    """The prompt that asks for a question that stands alone: instructions, the conversation, the question."""
    said = [HumanMessage(turn.content) if turn.role == "user" else AIMessage(turn.content) for turn in history]
    asked = _template("contextualize.human").format(question=_plain(question))
    task = ContextualizeTask(question, history)
    return [
        SystemMessage(_template("contextualize.system")),
        *said,
        HumanMessage(asked, additional_kwargs={TASK: task}),
    ]


def answer_messages(question: str, documents: Sequence[Document]) -> list[BaseMessage]:
    """The prompt that asks for an answer from numbered excerpts."""
    excerpts = "\n".join(_excerpt(number, document) for number, document in enumerate(documents, start=1))
    asked = _template("answer.human").format(excerpts=excerpts, question=_plain(question))
    task = AnswerTask(question, documents)
    return [SystemMessage(_template("answer.system")), HumanMessage(asked, additional_kwargs={TASK: task})]


def _excerpt(number: int, document: Document) -> str:
    meta = document.metadata
    span = f"{clock(meta['start_s'])}-{clock(meta['end_s'])}"
    return f'<excerpt number="{number}" time="{span}">{_plain(document.page_content)}</excerpt>'


def _plain(text: str) -> str:
    """Without invisible characters, and without the tags that mark where untrusted text ends."""
    return text.translate(_PLAIN)


class _Plain(dict[int, str | None]):
    """What `str.translate` makes of each character, worked out when it first comes: a prompt has thousands."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        invisible = unicodedata.category(char) in ("Cc", "Cf") and char not in "\n\t"
        self[code] = plain = None if invisible else char
        return plain


_PLAIN = _Plain({ord("<"): "‹", ord(">"): "›"})


@cache
def _template(name: str) -> str:
    return files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").strip()
