"""The two steps that a language model does. Each can be called alone, from a notebook as well as from the chain.

A call that the model fails is made again, a few times; `ModelUnavailable` is what comes of the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from pipeline import citations
from pipeline.citations import CitationFilter
from pipeline.llm.sampling import sampling_arguments
from pipeline.prompts import NO_PICTURES, Pictures, answer_messages, contextualize_messages
from pipeline.reading import Ask, Reader
from pipeline.retrying import MODEL
from vidask.models import Citation, Message, Sampling, Usage

NOTHING_FOUND = "Nothing in the indexed videos matches this question."
NOTHING_READ = (
    "No text was found on the given pictures, and this language model does not see pictures; ask a vision model."
)


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


#: The most likely words, so that the same question has the same answer.
PRECISE = Sampling()
#: A question is short.
REWRITING = Sampling(max_tokens=256)


def contextualize_query(question: str, history: Sequence[Message], *, llm: BaseChatModel) -> Rewritten:
    """Rewrite a follow-up question so that it can be understood, and searched for, without the conversation.

    Args:
        question: the question as asked.
        history: the conversation before it, oldest first. Without one the question is returned as it is.
        llm: any LangChain chat model.
    """
    if not history:
        return Rewritten(question, Usage())
    prompt, arguments = contextualize_messages(question, history), sampling_arguments(llm, REWRITING)
    return _rewritten(question, MODEL.call(lambda: llm.invoke(prompt, **arguments)))


async def acontextualize_query(
    question: str,
    history: Sequence[Message],
    *,
    llm: BaseChatModel,
    config: RunnableConfig | None = None,
    with_pictures: bool = False,
) -> Rewritten:
    """`contextualize_query`, asynchronous; `config` is handed to the model, which is told of pictures that it does not see here."""
    if not history:
        return Rewritten(question, Usage())
    messages = contextualize_messages(question, history, with_pictures=with_pictures)
    ask = Ask(llm, messages, config, sampling_arguments(llm, REWRITING))
    return _rewritten(question, await ask.whole())


def get_response(
    question: str,
    documents: Sequence[Document],
    *,
    llm: BaseChatModel,
    sampling: Sampling = PRECISE,
    pictures: Pictures = NO_PICTURES,
) -> Response:
    """Answer a question from documents, citing them by number.

    Args:
        question: one that stands alone.
        documents: the excerpts, in the order in which they are numbered, with the metadata of `pipeline.documents`.
        llm: any LangChain chat model.
        sampling: how the answer is decoded.
        pictures: of the excerpts, and those that the question came with; to be seen by a model that reads pictures alone.
    """
    if nothing := _nothing_to_answer_from(documents, pictures):
        return nothing
    prompt, arguments = answer_messages(question, documents, pictures), sampling_arguments(llm, sampling)
    return _response(MODEL.call(lambda: llm.invoke(prompt, **arguments)), documents)


async def aget_response(
    question: str,
    documents: Sequence[Document],
    *,
    llm: BaseChatModel,
    sampling: Sampling = PRECISE,
    pictures: Pictures = NO_PICTURES,
    config: RunnableConfig | None = None,
    reader: Reader | None = None,
) -> Response:
    """`get_response`, asynchronous. A `reader` is given the text while it is decoded, from when it wants it."""
    if nothing := _nothing_to_answer_from(documents, pictures):
        return nothing
    ask = Ask(llm, answer_messages(question, documents, pictures), config, sampling_arguments(llm, sampling))
    reply = await (ask.whole() if reader is None else ask.read_by(reader, lambda: CitationFilter(documents)))
    return _response(reply, documents)


def _nothing_to_answer_from(documents: Sequence[Document], pictures: Pictures) -> Response | None:
    """What there is to say without a model: of pictures that nobody can read, what was found for their question tells nothing."""
    if pictures.given:
        unread = not any(given.jpeg or given.text.strip() for given in pictures.given)
        return Response(NOTHING_READ, (), Usage()) if unread else None
    return None if documents else Response(NOTHING_FOUND, (), Usage())


def _rewritten(question: str, reply: AIMessage) -> Rewritten:
    return Rewritten(reply.text.strip() or question, _usage(reply))


def _response(reply: AIMessage, documents: Sequence[Document]) -> Response:
    text, cited = citations.check(reply.text.strip(), documents)
    return Response(text, cited, _usage(reply))


def _usage(reply: AIMessage) -> Usage:
    counted = reply.usage_metadata
    if counted is None:
        return Usage()
    return Usage(prompt_tokens=counted["input_tokens"], completion_tokens=counted["output_tokens"])
