"""A worker whose model and retriever answer at once, so that only the queue is left to measure.

celery -A benchmarks.instant_app worker
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForLLMRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever

from config import Settings
from pipeline.chain import AnswerChain
from pipeline.loop import EventLoopThread
from worker.factory import create_app
from worker.parts import Parts
from worker.services import Services, open_ledger, services_around

DOCUMENT = Document(
    id="1",
    page_content="A deep tree overfits because every leaf holds a single example.",
    metadata={"video_id": "talk", "kind": "transcript", "start_s": 1.0, "end_s": 5.0, "cues": [[1.0, 5.0, 0]]},
)


class _InstantRetriever(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **limits: Any
    ) -> list[Document]:
        return [DOCUMENT]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **limits: Any
    ) -> list[Document]:
        return [DOCUMENT]


class _InstantChatModel(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("“every leaf holds a single example” [1]"))])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)


@contextmanager
def open_instant_services(settings: Settings) -> Iterator[Services]:
    ledger = open_ledger(settings)
    with closing(EventLoopThread("answers")) as loop:
        llm = _InstantChatModel()
        chain = AnswerChain(llm, _InstantRetriever())
        embeddings, nothing = DeterministicFakeEmbedding(size=4), cast("Any", None)  # questions never reach them here
        parts = Parts(embeddings, nothing, (llm,), nothing, nothing)
        with services_around(chain, loop, ledger, settings, parts) as services:
            yield services


app = create_app(Settings.from_environment(), open_instant_services)
