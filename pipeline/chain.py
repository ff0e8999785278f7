"""The way of one question, composed of its steps: contextualize, retrieve, respond. No step knows the one after it."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig

from pipeline.kept_pictures import KeptPictures
from pipeline.llm.vision import most_images, takes_images
from pipeline.prompts import GivenPicture, Pictures
from pipeline.sights import MAX_SHOWN, PictureReader, load_shown, read_given, searched_for
from pipeline.steps import (
    Response,
    Rewritten,
    acontextualize_query,
    aget_response,
    contextualize_query,
    get_response,
)
from vidask.errors import UnknownVideo
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

    Made for `ainvoke`, one coroutine a question on one event loop; `invoke` is for scripts and notebooks: it streams to nobody, and
    looks at no pictures. The config is handed on to the model: its `metadata` tell an engine whose request it is and how urgent
    (`pipeline.llm.vllm`). Of `{"configurable": …}`, `reader` is a `pipeline.reading.Reader` of the answer, and `pictures` the files
    (JPEG, PNG, WebP) that the question is about.

    Args:
        llm: any LangChain chat model; it does both steps. One that reads pictures is shown those of the nearest frames.
        retriever: takes the question, and `tenant`, `video_ids`, `start_s`, `end_s` and `top_k` beside it.
        pictures: of the indexed frames; without them frames are answered from by their captions and texts.
        readers: of the pictures that questions come with; without one, no question may have any.
    """

    def __init__(
        self,
        llm: BaseChatModel,
        retriever: BaseRetriever,
        pictures: KeptPictures | None = None,
        readers: PictureReader | None = None,
    ) -> None:
        self._llm = llm
        self._retriever = retriever
        self._sees = takes_images(llm)
        self._most_images = most_images(llm)
        self._pictures = pictures
        self._readers = readers

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
        wanted = (config or {}).get("configurable", {})
        given = await self._read(wanted.get("pictures", ()), took)
        with took.step("contextualize"):
            rewritten = await acontextualize_query(
                job.question, job.history, llm=self._llm, config=_sooner(config), with_pictures=bool(given)
            )
        with took.step("retrieve"):
            documents = await self._retrieve(searched_for(rewritten.question, given), job, given)
            pictures = Pictures(await self._load_shown(job.tenant, documents, len(given)), given)
        with took.step("respond"):
            response = await aget_response(
                rewritten.question,
                documents,
                llm=self._llm,
                sampling=job.sampling,
                pictures=pictures,
                config=config,
                reader=wanted.get("reader"),
            )
        return self._answer(rewritten, response, took)

    async def _read(self, pictures: Sequence[bytes], took: Timings) -> list[GivenPicture]:
        if not pictures:
            return []
        if self._readers is None:
            msg = f"{len(pictures)} pictures came with the question, and this chain has no readers; hand it some"
            raise TypeError(msg)
        with took.step("read"):
            return await read_given(pictures, self._readers, to_be_seen=self._sees)

    async def _retrieve(self, query: str, job: AskJob, given: Sequence[GivenPicture]) -> list[Document]:
        """Pictures can be asked about before anything is indexed; but a video that is named has to be there."""
        try:
            return await self._retriever.ainvoke(query, **_limits(job))
        except UnknownVideo:
            if job.video_ids or not given:
                raise
            return []

    async def _load_shown(self, tenant: str, documents: Sequence[Document], given: int) -> dict[int, bytes]:
        """As many of those that were found as the model takes beside the given ones."""
        if self._pictures is None or not self._sees:
            return {}
        room = MAX_SHOWN if self._most_images is None else min(MAX_SHOWN, self._most_images - given)
        return await load_shown(self._pictures, tenant, documents, at_most=room)

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
            model=name_of(self._llm),
        )


def _sooner(config: RunnableConfig | None) -> RunnableConfig | None:
    """A question is rewritten before others are answered: it is short, and its job still has its own answer to wait for."""
    metadata = (config or {}).get("metadata", {})
    if config is None or "priority" not in metadata:
        return config
    return {**config, "metadata": {**metadata, "priority": metadata["priority"] - 1}}


def _limits(job: AskJob) -> dict[str, Any]:
    return job.model_dump(include={"tenant", "video_ids", "start_s", "end_s", "top_k"})


def name_of(llm: BaseChatModel) -> str:
    """What an answer says in `model`."""
    return str(getattr(llm, "model_name", None) or llm._llm_type)  # noqa: SLF001  LangChain's name for its kind of model
