"""Search-and-quote through the queue, over the same pipeline called in a loop: real MiniLM, real Chroma."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from langchain_core.runnables import Runnable

from benchmarks.figures import Figure, ratio
from config import Settings
from pipeline.chain import AnswerChain
from pipeline.chroma import open_chroma
from pipeline.embeddings import load_embeddings
from pipeline.indexing import PreparedTranscript
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.llm.words import sentences
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from pipeline.transcripts import parse_transcript
from vidask import Answer, Client, Job, Message, read_subtitles
from vidask.models import AskJob, IndexTranscriptJob
from worker.embedded import redis_server, worker_process

LECTURES = Path(__file__).parents[1] / "examples" / "lectures"
_IN_FLIGHT = 64
_ROUNDS = 5
_QUESTIONS = 192
_HISTORY = (Message("user", "What is a decision tree?"), Message("assistant", "A model that asks questions."))


def figures() -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidask-bench-")))
        chain = _loop(stack, folder)
        client = queue_with_the_lectures(stack, folder)
        jobs = jobs_of_the_lectures()
        _ask_all(client, jobs)  # warm
        ratios = []
        for _ in range(_ROUNDS):
            loop_s = _timed_loop(chain, jobs)
            queue_s = _timed_queue(client, jobs)
            ratios.append(loop_s / queue_s)
    yield ratio("search_and_quote_queue_over_loop", ratios, ">=", 1.0)


def _loop(stack: ExitStack, folder: Path) -> Runnable[AskJob, Answer]:
    settings = Settings(chroma_path=folder / "loop")
    store = ChromaStore(stack.enter_context(open_chroma(settings)), embedding_model=settings.embedding_model)
    embeddings = load_embeddings(settings.embedding_model)
    for path in sorted(LECTURES.iterdir()):
        job = IndexTranscriptJob(video_id=path.stem, text=read_subtitles(path))
        PreparedTranscript(job, embeddings).store(store)
    return AnswerChain(ExtractiveChatModel(), VideoRetriever(embeddings=embeddings, store=store))


def queue_with_the_lectures(stack: ExitStack, folder: Path) -> Client:
    """A producer whose worker has indexed what the lectures say."""
    url = stack.enter_context(redis_server(folder / "redis"))
    env = {"VIDASK_CHROMA_PATH": str(folder / "queue")}
    stack.enter_context(worker_process(url, env=env, log=folder / "worker.log"))
    client = stack.enter_context(Client(url))
    for path in sorted(LECTURES.iterdir()):
        client.index_transcript(path.stem, text=read_subtitles(path)).result(timeout_s=120)
    return client


def jobs_of_the_lectures() -> list[AskJob]:
    """Questions made of what the lectures say, no two alike; six of ten with a history, half about one video."""
    said = [
        (path.stem, sentence)
        for path in sorted(LECTURES.iterdir())
        for sentence in sentences(" ".join(cue.text for cue in parse_transcript(read_subtitles(path)).segments))
    ]
    return [
        AskJob(
            question=f"Why is it said that {sentence[:100]}?",
            video_ids=(video,) if number % 2 else (),
            history=_HISTORY if number % 10 < 6 else (),
        )
        for number, (video, sentence) in enumerate(said[:_QUESTIONS])
    ]


def _timed_loop(chain: Runnable[AskJob, Answer], jobs: list[AskJob]) -> float:
    begun = time.perf_counter()
    for job in jobs:
        chain.invoke(job)
    return time.perf_counter() - begun


def _timed_queue(client: Client, jobs: list[AskJob]) -> float:
    begun = time.perf_counter()
    _ask_all(client, jobs)
    return time.perf_counter() - begun


def _ask_all(client: Client, jobs: list[AskJob]) -> None:
    waiting: deque[Job[Answer]] = deque()
    for job in jobs:
        waiting.append(client.ask(job.question, video_ids=job.video_ids, history=job.history))
        if len(waiting) == _IN_FLIGHT:
            waiting.popleft().result(timeout_s=120)
    for job in waiting:
        job.result(timeout_s=120)
