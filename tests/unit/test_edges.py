"""Edges that once broke: each was found by trying to break the code that passed all other tests."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from chromadb.api.models.Collection import Collection
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from config import Settings
from pipeline.chroma import open_chroma
from pipeline.chunks import cut
from pipeline.citations import check
from pipeline.documents import transcript_documents
from pipeline.embeddings import GatheredEmbeddings
from pipeline.llm.extractive import quote, rewrite
from pipeline.llm.words import stem
from pipeline.store import ChromaStore
from vidask.addresses import redacted
from vidask.clock import parse_clock
from vidask.errors import InvalidJob, InvalidSettings, StoreUnavailable
from vidask.models import AskJob, Message, Segment
from vidask.validation import build

VECTOR = [1.0, 0.0]


def _document(name: str) -> Document:
    return Document(id=name, page_content=name, metadata={"video_id": "v", "start_s": 0.0, "end_s": 1.0, "cues": []})


def _excerpt(*texts: str) -> Document:
    return transcript_documents("v", cut([Segment(n, n + 1, text) for n, text in enumerate(texts)]))[0]


def _crash_in_second_upsert(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    upsert, calls = Collection.upsert, list[int]()

    def crash(self: Collection, **arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError
        upsert(self, **arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "upsert", crash)
        with pytest.raises(OSError):  # noqa: PT011  ours has no text
            act()


@pytest.mark.parametrize("then", ["a newer version", "forget"])
def test_a_change_that_crashed_and_was_superseded_leaves_nothing(
    then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_chroma(Settings(chroma_path=tmp_path)) as client:
        store = ChromaStore(client, embedding_model="m")
        store.replace("t", "v", [_document("old")], [VECTOR])
        _crash_in_second_upsert(monkeypatch, lambda: store.replace("t", "v", [_document("crashed")], [VECTOR]))
        if then == "forget":
            store.forget("t", "v")
            left = []
        else:
            store.replace("t", "v", [_document("new")], [VECTOR])
            left = ["new"]
        assert [document.id for document in store.search("t", VECTOR)] == left


def test_a_chroma_server_that_goes_down_later_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_chroma(Settings(chroma_path=tmp_path)) as client:
        store = ChromaStore(client, embedding_model="m")
        store.replace("t", "v", [_document("old")], [VECTOR])
        monkeypatch.setattr(Collection, "query", Mock(side_effect=httpx.ConnectError("refused")))
        with pytest.raises(StoreUnavailable, match="Chroma does not answer"):
            store.search("t", VECTOR)


@pytest.mark.parametrize("text", ["[9[9]]", "[0[9]]", "x [12345]", "x [0]"])
def test_no_way_of_writing_it_lets_an_unknown_number_through(text: str) -> None:
    checked, cited = check(text, [_excerpt("said")])
    assert cited == ()
    assert not any(number in checked for number in ("[9]", "[0]", "[12345]"))


def test_a_quotation_with_quotation_marks_inside_has_the_times_of_all_of_it() -> None:
    document = _excerpt('He said "prune"', "and the tree", "stopped overfitting.")
    _, (citation,) = check(quote("overfitting tree", [document]), [document])
    assert (citation.start_s, citation.text) == (0.0, document.page_content)


@pytest.mark.parametrize("said", ["“Why does it overfit?”", "他说：“为什么？”"])
def test_a_question_in_quotation_marks_is_no_answer(said: str) -> None:
    assert quote("why overfit 为什么", [_excerpt(said)]) == "The transcript only asks about this, and does not answer."


@pytest.mark.parametrize(
    ("one", "more"), [("class", "classes"), ("loss", "losses"), ("study", "studies"), ("boundary", "boundaries")]
)
def test_one_and_more_of_it_have_the_same_stem(one: str, more: str) -> None:
    assert stem(one) == stem(more)


def test_a_chinese_question_that_stands_alone_stays_as_it_is() -> None:
    question = "梯度下降的学习率怎么选？"
    assert rewrite(question, [Message("user", "什么是决策树？")]) == question


def test_a_password_is_hidden_however_it_is_printed() -> None:
    settings = Settings(redis_url="redis://:swordfish@h/0", chroma_url="http://u:swordfish@h")
    for shown in (str(settings), repr(settings), f"{settings}"):
        assert "swordfish" not in shown
    for url in ("redis://h?password=swordfish", "redis://:sword/fish@h", "redis://u:sword@fish@h"):
        assert "fish" not in redacted(url)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999", "http://h:x"])
def test_half_an_address_of_chroma_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="is not an address"), open_chroma(Settings(chroma_url=url)):
        pass


def test_a_generator_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidJob, match="history: "):
        build(AskJob, {"question": "x", "history": (Message("user", "a") for _ in range(101))})


@pytest.mark.parametrize("text", ["9" * 5000 + ":00:00", "9" * 500])
def test_a_time_beyond_all_videos_is_no_time(text: str) -> None:
    with pytest.raises(InvalidJob, match="is not a time"):
        parse_clock(text)


class _OneVectorShort(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0]] * (len(texts) - 1)

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError


def _ends(act: Callable[[], object], error: type[Exception]) -> bool:
    """Whether a call raises that error, rather than hang."""
    raised = threading.Event()

    def run() -> None:
        with pytest.raises(error):
            act()
        raised.set()

    threading.Thread(target=run, daemon=True).start()
    return raised.wait(20)


def test_a_model_that_returns_too_few_vectors_fails_who_waits_and_the_next_one_too() -> None:
    gathered = GatheredEmbeddings(_OneVectorShort())
    assert _ends(lambda: gathered.embed_query("x"), ValueError)
    assert _ends(lambda: gathered.embed_query("y"), ValueError)


def test_a_question_after_the_end_is_refused() -> None:
    gathered = GatheredEmbeddings(_OneVectorShort())
    gathered.close()
    assert _ends(lambda: gathered.embed_query("x"), RuntimeError)
