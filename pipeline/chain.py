"""The way of one question, composed of its steps: contextualize, retrieve, respond. No step knows the one after it."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig

from pipeline.steps import (
    Response,
    Rewritten,
    acontextualize_query,
    aget_response,
    contextualize_query,
    get_response,
)
from vidask.models import Answer, AskJob, Usage


class Timings:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Time what is done meanwhile."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 6)


class AnswerChain(Runnable[AskJob, Answer]):
    """From a question to its answer.

    Made for `ainvoke`, one coroutine a question on one event loop; `invoke` is for scripts and notebooks, and streams to nobody.
    The config is handed on to the model: its `metadata` tell an engine whose request it is and how urgent
    (`pipeline.llm.vllm`), and `{"configurable": {"reader": …}}` is a `pipeline.reading.Reader` of the answer.

    Args:
        llm: any LangChain chat model; it does both steps.
        retriever: takes the question, and `tenant`, `video_ids`, `start_s`, `end_s` and `top_k` beside it.
    """

    def __init__(self, llm: BaseChatModel, retriever: BaseRetriever) -> None:
        self._llm = llm
        self._retriever = retriever

    def invoke(self, input: AskJob, config: RunnableConfig | None = None, **_: Any) -> Answer:  # noqa: A002, ARG002
        """Answer one question."""
        job, took = input, Timings()
        with took.step("contextualize"):
            rewritten = contextualize_query(job.question, job.history, llm=self._llm)
        with took.step("retrieve"):
            documents = self._retriever.invoke(rewritten.question, **_limits(job))
        with took.step("respond"):
            response = get_response(rewritten.question, documents, llm=self._llm, sampling=job.sampling)
        return self._answer(rewritten, response, took)

    async def ainvoke(self, input: AskJob, config: RunnableConfig | None = None, **_: Any) -> Answer:  # noqa: A002
        """Answer one question; cancelling this stops the model."""
        job, took = input, Timings()
        reader = (config or {}).get("configurable", {}).get("reader")
        with took.step("contextualize"):
            rewritten = await acontextualize_query(job.question, job.history, llm=self._llm, config=_sooner(config))
        with took.step("retrieve"):
            documents = await self._retriever.ainvoke(rewritten.question, **_limits(job))
        with took.step("respond"):
            response = await aget_response(
                rewritten.question, documents, llm=self._llm, sampling=job.sampling, config=config, reader=reader
            )
        return self._answer(rewritten, response, took)

    def _answer(self, rewritten: Rewritten, response: Response, took: Timings) -> Answer:
        return Answer(
            text=response.text,
            standalone_question=rewritten.question,
            citations=response.citations,
            usage=Usage(
                prompt_tokens=rewritten.usage.prompt_tokens + response.usage.prompt_tokens,
                completion_tokens=rewritten.usage.completion_tokens + response.usage.completion_tokens,
            ),
            timings_s=took.seconds,
            model=_name(self._llm),
        )


def _sooner(config: RunnableConfig | None) -> RunnableConfig | None:
    """A question is rewritten before others are answered: it is short, and its job still has its own answer to wait for."""
    metadata = (config or {}).get("metadata", {})
    if config is None or "priority" not in metadata:
        return config
    return {**config, "metadata": {**metadata, "priority": metadata["priority"] - 1}}


def _limits(job: AskJob) -> dict[str, Any]:
    return job.model_dump(include={"tenant", "video_ids", "start_s", "end_s", "top_k"})


def _name(llm: BaseChatModel) -> str:
    return str(getattr(llm, "model_name", None) or llm._llm_type)  # noqa: SLF001  LangChain's name for its kind of model
