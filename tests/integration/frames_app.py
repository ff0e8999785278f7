"""A worker that reads pictures when a test lets it: texts stand for pictures. The store is real; there are no models.

celery -A tests.integration.frames_app worker
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import redis
from langchain_core.embeddings import DeterministicFakeEmbedding

from config import Settings
from pipeline.chain import AnswerChain
from pipeline.chroma import open_chroma
from pipeline.kept_pictures import KeptPictures
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.loop import EventLoopThread
from pipeline.pictures import ReadPicture
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from vidask.errors import InvalidFrame
from worker.factory import create_app
from worker.services import Services, open_ledger, services_around

#: How many pictures this worker has begun to read, and how many it may; as many as it likes where nothing is said.
BEGUN = "frames:begun"
MAY = "frames:may"
#: A picture that cannot be used.
BROKEN = b"broken"


class PatientReaders:
    """Reads pictures that are texts, each in its turn."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    async def read(self, data: bytes, *, asked: bool = False) -> ReadPicture:  # noqa: ARG002  all wait alike
        number = int(str(self._redis.incr(BEGUN)))
        while (may := self._redis.get(MAY)) is not None and number > int(str(may)):  # noqa: ASYNC110  another process says so
            await asyncio.sleep(0.05)
        if data == BROKEN:
            raise InvalidFrame("it is broken; draw another")  # noqa: EM101
        return ReadPicture(text=data.decode(), jpeg=b"", small=data, width=1, height=1)


@contextmanager
def _open_services(settings: Settings) -> Iterator[Services]:
    ledger = open_ledger(settings)
    with ExitStack() as stack:
        store = ChromaStore(stack.enter_context(open_chroma(settings)), embedding_model="fake")
        loop = stack.enter_context(closing(EventLoopThread("answers")))
        embeddings, llm = DeterministicFakeEmbedding(size=8), ExtractiveChatModel()
        readers, pictures = PatientReaders(ledger.redis), KeptPictures(settings.pictures_path)
        chain = AnswerChain(llm, VideoRetriever(embeddings=embeddings, store=store), readers=readers, pictures=pictures)
        yield stack.enter_context(
            services_around(
                chain,
                loop,
                ledger,
                settings,
                embeddings=embeddings,
                store=store,
                llm=llm,
                readers=readers,
                pictures=pictures,
            )
        )


app = create_app(Settings.from_environment(), _open_services)
