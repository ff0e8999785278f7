"""The way of one question, composed of its steps as LangChain runnables: contextualize, retrieve, respond.

No step knows the one after it. What travels between them is a `Progress` that each step adds to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig

from pipeline.steps import Response, Rewritten, contextualize_query, get_response
from vidask.models import Answer, AskJob, Usage

In = TypeVar("In")
Out = TypeVar("Out")

_NOT_REWRITTEN = Rewritten("", Usage())
_NO_RESPONSE = Response("", (), Usage())


@dataclass(frozen=True)
class Progress:
    """What is known of a question so far; each step adds its part."""

    job: AskJob
    rewritten: Rewritten = _NOT_REWRITTEN
    documents: Sequence[Document] = ()
    response: Response = _NO_RESPONSE
    timings_s: Mapping[str, float] = field(default_factory=dict)


def answer_chain(llm: BaseChatModel, retriever: BaseRetriever) -> Runnable[AskJob, Answer]:
    """The chain from a question to its answer.

    Args:
        llm: any LangChain chat model; it does both steps.
        retriever: takes the question, and `tenant`, `video_ids`, `start_s`, `end_s` and `top_k` beside it.
    """

    def contextualize(progress: Progress) -> Progress:
        job = progress.job
        return replace(progress, rewritten=contextualize_query(job.question, job.history, llm=llm))

    def retrieve(progress: Progress) -> Progress:
        found = retriever.invoke(progress.rewritten.question, **_limits(progress.job))
        return replace(progress, documents=found)

    def respond(progress: Progress) -> Progress:
        return replace(progress, response=get_response(progress.rewritten.question, progress.documents, llm=llm))

    def answer(progress: Progress) -> Answer:
        return _answer(progress, model=_name(llm))

    steps = [_Call(_timed(step)) for step in (contextualize, retrieve, respond)]
    return _Call(Progress) | steps[0] | steps[1] | steps[2] | _Call(answer)


class _Call(Runnable[In, Out]):
    """A function as a runnable. LangChain's own `RunnableLambda` costs 77 µs a call (`docs/benchmarks.md`)."""

    def __init__(self, function: Callable[[In], Out]) -> None:
        self._function = function

    def invoke(self, input: In, config: RunnableConfig | None = None, **kwargs: Any) -> Out:  # noqa: A002, ARG002
        return self._function(input)


def _timed(step: Callable[[Progress], Progress]) -> Callable[[Progress], Progress]:
    def run(progress: Progress) -> Progress:
        begun = time.perf_counter()
        made = step(progress)
        return replace(made, timings_s={**made.timings_s, step.__name__: time.perf_counter() - begun})

    return run


def _limits(job: AskJob) -> dict[str, Any]:
    return job.model_dump(include={"tenant", "video_ids", "start_s", "end_s", "top_k"})


def _answer(progress: Progress, *, model: str) -> Answer:
    response, rewriting = progress.response, progress.rewritten.usage
    return Answer(
        text=response.text,
        standalone_question=progress.rewritten.question,
        citations=response.citations,
        usage=Usage(
            prompt_tokens=rewriting.prompt_tokens + response.usage.prompt_tokens,
            completion_tokens=rewriting.completion_tokens + response.usage.completion_tokens,
        ),
        timings_s={name: round(seconds, 6) for name, seconds in progress.timings_s.items()},
        model=model,
    )


def _name(llm: BaseChatModel) -> str:
    return str(getattr(llm, "model_name", None) or llm._llm_type)  # noqa: SLF001  LangChain's name for its kind of model
