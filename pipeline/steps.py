"""The two steps that a language model does. Each can be called alone, from a notebook as well as from the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from pipeline import citations
from pipeline.prompts import answer_messages, contextualize_messages
from vidask.models import Citation, Message, Usage

NOTHING_FOUND = "Nothing in the indexed videos matches this question."


@dataclass(frozen=True)
class Rewritten:
    """A question that stands alone, and the tokens it took."""

    question: str
    usage: Usage


@dataclass(frozen=True)
class Response:
    """An answer with the sources it names as `[n]`, and the tokens it took."""

    text: str
    citations: tuple[Citation, ...]
    usage: Usage


def contextualize_query(question: str, history: Sequence[Message], *, llm: BaseChatModel) -> Rewritten:
    """Rewrite a follow-up question so that it can be understood, and searched for, without the conversation.

    Args:
        question: the question as asked.
        history: the conversation before it, oldest first. Without one the question is returned as it is.
        llm: any LangChain chat model.
    """
    if not history:
        return Rewritten(question, Usage())
    reply = llm.invoke(contextualize_messages(question, history))
    return Rewritten(reply.text.strip() or question, _usage(reply))


def get_response(question: str, documents: Sequence[Document], *, llm: BaseChatModel) -> Response:
    """Answer a question from documents, citing them by number.

    Args:
        question: one that stands alone.
        documents: the excerpts, best first, with the metadata of `pipeline.documents`.
        llm: any LangChain chat model.
    """
    if not documents:
        return Response(NOTHING_FOUND, (), Usage())
    reply = llm.invoke(answer_messages(question, documents))
    text, cited = citations.check(reply.text.strip(), documents)
    return Response(text, cited, _usage(reply))


def _usage(reply: AIMessage) -> Usage:
    counted = reply.usage_metadata
    if counted is None:
        return Usage()
    return Usage(prompt_tokens=counted["input_tokens"], completion_tokens=counted["output_tokens"])
