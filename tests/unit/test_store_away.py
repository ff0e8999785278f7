"""Chroma is away for a moment, or for good; it hangs; its disk is full."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from chromadb.api.models.Collection import Collection
from chromadb.errors import InternalError

from config import Settings
from pipeline.chroma import open_chroma
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from tests.library import SHORT, AlwaysTheQuestion, Library, chunk, names
from vidask.errors import StoreUnavailable


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("VIDASK_CHROMA_URL", raising=False)
    return Settings(chroma_path=tmp_path / "chroma")


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with open_chroma(settings) as client:
        yield Library(client)


@pytest.fixture
def hasty(library: Library) -> Library:
    """The same with little patience."""
    return Library(library.client, SHORT)


class Away:
    """Takes the place of a method of Chroma's; it does not answer the first times, and is itself again then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, times: int) -> None:
        self.asked, method = 0, getattr(owner, name)

        def call(this: Any, *args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            if self.asked <= times:
                raise httpx.ConnectError("Connection refused")  # noqa: EM101
            return method(this, *args, **kwargs)

        monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(("method", "times"), [("get", 1), ("upsert", 1), ("upsert", 3), ("delete", 2)])
def test_a_change_is_completed_when_chroma_answers_again_and_keeps_its_lock_meanwhile(
    library: Library, monkeypatch: pytest.MonkeyPatch, method: str, times: int
) -> None:
    library.put(chunk("a", 10), chunk("b", 20))
    kept: list[int] = []
    away = Away(monkeypatch, Collection, method, times)
    (document, vector) = chunk("c", 15)
    library.store.replace("acme", "talk", [document], [vector], on_progress=lambda: kept.append(away.asked))
    assert library.everywhere() == [["c"]] * 2
    assert set(range(times + 1)) <= set(kept), "the lock is kept before each attempt"


def test_a_video_is_forgotten_when_chroma_answers_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.put(chunk("a", 10))
    Away(monkeypatch, Collection, "delete", 2)
    assert library.store.forget("acme", "talk") == 1
    assert library.find() == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_question_waits_for_a_chroma_that_is_away(
    library: Library, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    library.put(chunk("a", 10))
    Away(monkeypatch, Collection, "query", 2)
    retriever = VideoRetriever(embeddings=AlwaysTheQuestion(size=2), store=library.store)
    found = (
        asyncio.run(retriever.ainvoke("Why?", tenant="acme"))
        if asynchronous
        else retriever.invoke("Why?", tenant="acme")
    )
    assert names(found) == ["a"]


def test_a_chroma_that_stays_away_is_said_with_its_place_and_how_long_it_was_tried(
    hasty: Library, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    Away(monkeypatch, type(hasty.client), "get_or_create_collection", 10_000)
    said = rf"^Chroma does not answer \(Connection refused\); check the folder {settings.chroma_path}; tried for \d s$"
    with pytest.raises(StoreUnavailable, match=said):
        hasty.put(chunk("a", 10))


def test_a_chroma_that_hangs_is_given_up_in_time(hasty: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(ChromaStore, "search", lambda *_, **__: over.wait(60))
    retriever = VideoRetriever(embeddings=AlwaysTheQuestion(size=2), store=hasty.store)

    async def ask() -> None:
        try:
            await retriever.ainvoke("Why?", tenant="acme")
        finally:
            over.set()  # the thread is waited for at the end of the loop

    with pytest.raises(
        StoreUnavailable, match=r"^Chroma hangs: it has not answered a search for 0.5 s; start it again; tried"
    ):
        asyncio.run(ask())


def test_vectors_that_do_not_fit_are_not_tried_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.put(chunk("x", 0))
    looks = Away(monkeypatch, type(library.client), "get_or_create_collection", 0)
    with pytest.raises(StoreUnavailable, match="was the embedding model changed") as refused:
        library.store.replace("acme", "talk", [chunk("y", 0)[0]], [[1.0, 0.0, 0.0]])
    with pytest.raises(StoreUnavailable, match="set VIDASK_EMBEDDING_MODEL back"):
        ChromaStore(library.client, embedding_model="model-b").replace("acme", "talk", [chunk("y", 0)[0]], [[1.0, 0.0]])
    assert "tried" not in str(refused.value)
    assert looks.asked == 3, "twice for the first, once for the second"


# A full disk.


def test_a_disk_that_is_nearly_full_is_not_written_to(
    hasty: Library, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    hasty.put(chunk("a", 10))
    usage = shutil.disk_usage(settings.chroma_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=63_000_000))
    said = (
        rf"^Chroma's disk is full: 63 MB are free, .* 64 MB .*; free space at the folder {settings.chroma_path}; tried"
    )
    with pytest.raises(StoreUnavailable, match=said):
        hasty.put(chunk("b", 10))
    with pytest.raises(StoreUnavailable, match=said):
        hasty.store.forget("acme", "talk")
    assert hasty.everywhere() == [["a"]] * 2, "questions are still answered"


def test_a_change_waits_for_space(library: Library, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    usage = shutil.disk_usage(settings.chroma_path)
    left = iter([0, 10_000_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(left, usage.free)))
    library.put(chunk("a", 10))
    assert library.everywhere() == [["a"]] * 2


FULL_DISK = """
import os, resource, sys
from pathlib import Path
from langchain_core.documents import Document
from config import Settings
from pipeline.chroma import open_chroma
from pipeline.retrying import Patience
from pipeline.store import ChromaStore
from vidask.errors import StoreUnavailable

def put(n):
    documents = [Document(id=f"{n}-{i}", page_content="word " * 500, metadata={}) for i in range(100)]
    store.replace("acme", f"talk-{n}", documents, [[1.0, float(i)] for i in range(100)])

with open_chroma(Settings(chroma_path=Path(sys.argv[1]))) as client:
    store = ChromaStore(client, embedding_model="m", patience=Patience(for_s=2, pause_s=0.1))
    put(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    said = []
    while len(said) < 5:
        try:
            put(len(said) + 1)
        except StoreUnavailable as error:
            said.append(str(error))
    print("\\n".join(said), flush=True)
    os._exit(0)  # Chroma's own end would wait for the transaction that met the full disk
"""


def test_a_disk_on_which_chroma_runs_full_brings_no_worker_to_a_halt(tmp_path: Path) -> None:
    """As real as it gets without a disk of its own: files end at 2 MB, and SQLite is told so in the middle of a change."""
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    met = f"Chroma in the folder {tmp_path} has met a full disk; free space there and start the worker again"
    assert run.stdout.splitlines() == [met] * 5
    assert "Chroma's disk is full" in run.stderr, "what Chroma said itself is in the log"


def test_a_full_disk_at_the_start_is_said(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    full = InternalError("error returned from database: (code: 13) database or disk is full")
    monkeypatch.setattr("chromadb.PersistentClient", Mock(side_effect=full))
    said = (
        rf"^Chroma's disk is full \(.*\); free space at the folder {settings.chroma_path}, then start the worker again$"
    )
    with pytest.raises(StoreUnavailable, match=said):
        open_chroma(settings).__enter__()


@pytest.mark.parametrize(
    ("chromas", "ours"),
    [
        (InternalError("Too many open files (os error 24)"), r"raise the limit of open files \(ulimit -n\)"),
        (InternalError("(code: 14) unable to open database file"), r"raise the limit of open files \(ulimit -n\)"),
        (InternalError("(code: 778) disk I/O error"), "disk is full"),
        (Exception("<html>502 Bad Gateway</html>"), r"does not answer \(<html>502 Bad Gateway</html>\)"),
        (httpx.ReadTimeout(""), r"hangs \(ReadTimeout\), as it does after a full disk"),
        (httpx.ConnectTimeout(""), r"does not answer \(ConnectTimeout\)"),
    ],
)
def test_what_chroma_says_becomes_a_line_with_what_to_do(
    library: Library, monkeypatch: pytest.MonkeyPatch, chromas: Exception, ours: str
) -> None:
    library.put(chunk("a", 10))
    monkeypatch.setattr(Collection, "query", Mock(side_effect=chromas))
    with pytest.raises(StoreUnavailable, match=ours):
        library.find()
