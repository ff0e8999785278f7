"""A Chroma server goes while jobs need it: it comes back, or it does not, or its disk is full."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import redis

from config import Settings
from pipeline.chroma import open_chroma
from pipeline.retriever import VideoRetriever
from tests.library import SHORT, AlwaysTheQuestion, Library, chunk
from tests.redis_users import as_admin, as_worker, redis_with_users
from tests.support import LECTURE, wait_for
from vidask import Client, JobCancelled, JobExpired, JobFailed, StoreUnavailable, keys
from worker.embedded import child_process, free_port, wait_until, worker_process

#: Starts a program whose files end at so many bytes. To SQLite that is a full disk.
_WITH_SMALL_FILES = (
    "import os, resource, sys; limit = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


class ChromaServer:
    """A Chroma server on one port and one folder, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._running = ExitStack()

    def start(self, *, largest_file: int = resource.RLIM_INFINITY) -> None:
        chroma = Path(sys.executable).parent / "chroma"
        arguments = ["run", "--path", self._folder / "data", "--host", "127.0.0.1", "--port", self.port]
        command = [sys.executable, "-c", _WITH_SMALL_FILES, largest_file, chroma, *arguments]
        log = self._folder / "chroma.log"
        self.process = self._running.enter_context(child_process([str(part) for part in command], log=log))
        wait_until(self.answers, self.process, StoreUnavailable(f"Chroma did not start; its log is {log}"))

    def stop(self) -> None:
        self._running.close()

    def answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/api/v2/heartbeat", timeout=1).is_success
        return False

    @contextmanager
    def frozen(self) -> Iterator[None]:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    server = ChromaServer(tmp_path_factory.mktemp("chroma"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker") / "worker.log"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Overrides the usual one, which another worker reads, too."""
    with redis_with_users(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def worker(redis_url: str, chroma: ChromaServer, log: Path) -> Iterator[str]:
    """Overrides the usual one, which embeds Chroma."""
    with worker_process(as_worker(redis_url), env={"VIDASK_CHROMA_URL": chroma.url}, log=log) as process:
        yield redis_url
        assert process.poll() is None, f"the worker died; its log: {log.read_text()[-3000:]}"


@pytest.fixture
def waiting(log: Path) -> Callable[[], int]:
    """How many jobs of this test have met a Chroma that is away."""
    before = log.read_text().count("trying again")
    return lambda: log.read_text().count("trying again") - before


def test_a_server_that_starts_again_costs_no_job(
    client: Client, worker: str, chroma: ChromaServer, waiting: Callable[[], int]
) -> None:
    for video in ("talk", "old"):
        client.index_transcript(video, text=LECTURE).result(60)
    client.ask("What is pruning?", video_ids=["talk"]).result(60)  # the worker keeps its collection open from here on

    chroma.stop()
    asking = [client.ask("Why does a deep tree overfit?", video_ids=["talk"]) for _ in range(5)]
    indexing, forgetting = client.index_transcript("new", text=LECTURE), client.forget("old")
    jobs = [*asking, indexing, forgetting]
    wait_for("all of them have met a Chroma that is away", lambda: waiting() == len(jobs))
    assert {job.status() for job in jobs} == {"running"}
    chroma.start()

    assert {job.result(60).citations[0].start_s for job in asking} == {70.0}
    assert (indexing.result(60).segments, forgetting.result(60).removed) == (5, 3)
    with redis.Redis.from_url(as_admin(worker), decode_responses=True) as connection:
        assert {connection.hget(keys.job_row(job.id), "attempt") for job in jobs} == {"1"}
    assert client.ask("What is pruning?", video_ids=["new"]).result(60).citations
    with pytest.raises(JobFailed, match="video 'old' is not indexed"):
        client.ask("What is pruning?", video_ids=["old"]).result(60)


def test_a_server_that_stays_away_fails_its_jobs_in_half_a_minute_and_the_worker_lives(
    client: Client, chroma: ChromaServer, waiting: Callable[[], int]
) -> None:
    client.index_transcript("talk", text=LECTURE).result(60)
    chroma.stop()
    begun = time.monotonic()
    jobs = [client.ask("What is pruning?"), client.index_transcript("new", text=LECTURE), client.forget("talk")]
    hurried = client.ask("What is pruning?", deadline_s=4)
    regretted = client.ask("What is pruning?")
    wait_for("all of them have met a Chroma that is away", lambda: waiting() >= 4)

    regretted.cancel()
    with pytest.raises(JobCancelled):
        regretted.result(20)
    with pytest.raises(JobExpired):
        hurried.result(20)
    assert time.monotonic() - begun < 25, "neither waits for Chroma"

    said = rf"^Chroma does not answer \(.*refused.*\); check the server at {chroma.url}; tried for [23]\d s$"
    for job in jobs:
        with pytest.raises(JobFailed, match=said) as failed:
            job.result(60)
        assert failed.value.error_type == "StoreUnavailable"
    assert time.monotonic() - begun < 55, "and not twice as long"

    chroma.start()
    assert client.ask("What is pruning?", video_ids=["talk"]).result(60).citations


# The same without a worker: these would wait for a minute there.


@pytest.fixture
def library(chroma: ChromaServer) -> Iterator[Library]:
    with open_chroma(Settings(chroma_url=chroma.url)) as client:
        yield Library(client)


@pytest.fixture
def hasty(chroma: ChromaServer) -> Iterator[Library]:
    """One with little patience, also for an answer: less than a busy machine needs for a large change."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.chroma._TIMEOUT", httpx.Timeout(1.0))
            client = stack.enter_context(open_chroma(Settings(chroma_url=chroma.url)))
        yield Library(client, SHORT)


def test_a_server_that_hangs_is_given_up_and_used_again(
    library: Library, hasty: Library, chroma: ChromaServer, tenant: str
) -> None:
    retriever = VideoRetriever(embeddings=AlwaysTheQuestion(size=2), store=hasty.store)
    library.put(chunk("a", 10), tenant=tenant)
    with chroma.frozen():
        with pytest.raises(
            StoreUnavailable, match=rf"^Chroma hangs \(timed out\), .* the server at {chroma.url}, .*; tried"
        ):
            hasty.put(chunk("b", 10), tenant=tenant)
        with pytest.raises(StoreUnavailable, match=r"^Chroma hangs: .* a search for 0.5 s; .*; tried"):
            asyncio.run(retriever.ainvoke("Why?", tenant=tenant))
    library.put(chunk("b", 10), tenant=tenant)
    assert library.find("talk", tenant=tenant) == ["b"]


def test_a_server_whose_disk_is_full_is_written_to_again_when_it_has_space_and_was_started_again(
    library: Library, hasty: Library, chroma: ChromaServer, tenant: str
) -> None:
    library.put(chunk("a", 10), tenant=tenant)
    chroma.stop()
    chroma.start(largest_file=3_000_000)
    documents = [chunk(f"{n} {'word ' * 200}", 10 + n / 10, video_id="long") for n in range(900)]
    said = (
        rf"^Chroma('s disk is full| hangs) .*; free space at the server at {chroma.url}, then start Chroma again; tried"
    )
    with pytest.raises(StoreUnavailable, match=said):
        hasty.put(*documents, video_id="long", tenant=tenant)

    chroma.stop()
    chroma.start()
    library.put(*documents, video_id="long", tenant=tenant)
    assert len(library.find("long", tenant=tenant)) == 50
    assert library.find("talk", tenant=tenant) == ["a"]
