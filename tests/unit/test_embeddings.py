from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from sentence_transformers import SentenceTransformer

from pipeline.embeddings import GatheredEmbeddings, load_embeddings, minilm_folder
from pipeline.minilm import MiniLM
from tests.support import wait_for
from vidask.errors import InvalidSettings

T = TypeVar("T")


class SlowModel(Embeddings):
    """Is busy until it is let go; remembers its batches, and the threads it was called from."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[list[str]] = []
        self.threads: set[str] = set()

    def embed_query(self, text: str) -> list[float]:
        raise AssertionError(text)  # what is gathered goes through embed_documents

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.batches.append(texts)
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(20)
        if any("bad" in text for text in texts):
            raise ZeroDivisionError
        return [vector(text) for text in texts]


def vector(text: str) -> list[float]:
    return [float(ord(letter)) for letter in text]


class Crowd:
    """Threads that queue up before a model that is busy with a first question until `let_go`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.model = SlowModel()
        self.gathered = GatheredEmbeddings(self.model, max_batch=4)
        self._pool = pool
        self._queued = 0
        self._first = pool.submit(self.gathered.embed_query, "first")
        wait_for("the model is busy with the first question", lambda: self.model.batches)

    def ask(self, text: str) -> Future[list[float]]:
        return self._queue(1, lambda: self.gathered.embed_query(text))

    def index(self, *texts: str) -> Future[list[list[float]]]:
        return self._queue(len(texts), lambda: self.gathered.embed_documents(list(texts)))

    def let_go(self) -> list[list[str]]:
        """Let the model work until nothing waits; returns its batches after the first."""
        self.model.go.set()
        self.gathered.close()
        assert self._first.result(20) == vector("first")
        return self.model.batches[1:]

    def _queue(self, texts: int, call: Callable[[], T]) -> Future[T]:
        self._queued += texts
        future = self._pool.submit(call)
        wait_for(f"{self._queued} texts wait", lambda: self._waiting() == self._queued)
        return future

    def _waiting(self) -> int:
        return len(self.gathered._queries) + len(self.gathered._documents)  # noqa: SLF001  seen from nowhere else


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ThreadPoolExecutor(16) as pool:
        crowd = Crowd(pool)
        yield crowd
        crowd.let_go()


def test_questions_that_many_threads_ask_meanwhile_are_embedded_together(crowd: Crowd) -> None:
    answers = {text: crowd.ask(text) for text in ("one", "two", "three")}
    assert crowd.let_go() == [["one", "two", "three"]]
    assert {text: answer.result(20) for text, answer in answers.items()} == {text: vector(text) for text in answers}


def test_a_batch_holds_no_more_than_allowed(crowd: Crowd) -> None:
    for n in range(9):
        crowd.ask(f"{n}")
    assert crowd.let_go() == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8"]]


def test_questions_overtake_documents_and_are_never_mixed_with_them(crowd: Crowd) -> None:
    crowd.index("d1", "d2", "d3", "d4", "d5")
    crowd.ask("q1")
    crowd.ask("q2")
    assert crowd.let_go() == [["q1", "q2"], ["d1", "d2", "d3", "d4"], ["d5"]]


def test_documents_of_several_threads_are_embedded_together(crowd: Crowd) -> None:
    one, other = crowd.index("a1", "a2", "a3"), crowd.index("b1", "b2", "b3")
    assert crowd.let_go() == [["a1", "a2", "a3", "b1"], ["b2", "b3"]]
    assert one.result(20) == [vector(text) for text in ("a1", "a2", "a3")]
    assert other.result(20) == [vector(text) for text in ("b1", "b2", "b3")]


def test_vectors_come_in_the_order_of_their_texts(crowd: Crowd) -> None:
    texts = [f"{n % 7} {n}" for n in range(50)]
    vectors = crowd.index(*texts)
    crowd.let_go()
    assert vectors.result(20) == [vector(text) for text in texts]


def test_no_texts_have_no_vectors(crowd: Crowd) -> None:
    assert crowd.gathered.embed_documents([]) == []


def test_nobody_waits_for_a_batch_to_fill(crowd: Crowd) -> None:
    crowd.model.go.set()
    for text in ("one", "two"):
        assert crowd.gathered.embed_query(text) == vector(text)
    assert crowd.model.batches == [["first"], ["one"], ["two"]]


def test_the_model_is_called_from_one_thread_only(crowd: Crowd) -> None:
    crowd.index("d1")
    crowd.ask("q1")
    crowd.let_go()
    assert crowd.model.threads == {"embeddings"}


def test_an_error_reaches_those_whose_batch_it_ended_and_nobody_else(crowd: Crowd) -> None:
    together = [crowd.ask(text) for text in ("a", "bad", "c", "d")]
    later = crowd.ask("e")
    documents = crowd.index("f")
    crowd.let_go()
    assert [type(future.exception(20)) for future in together] == [ZeroDivisionError] * 4
    assert later.result(20) == vector("e")
    assert documents.result(20) == [vector("f")]


def test_what_waits_is_still_embedded_when_it_closes_and_then_the_thread_ends(crowd: Crowd) -> None:
    waiting = crowd.ask("one")
    closing = threading.Thread(target=crowd.gathered.close)
    closing.start()
    assert closing.is_alive()
    crowd.model.go.set()
    closing.join(20)
    assert not closing.is_alive()
    assert waiting.result(20) == vector("one")
    assert not crowd.gathered._thread.is_alive()  # noqa: SLF001  seen from nowhere else


# The real model.


@pytest.fixture(scope="module")
def minilm() -> Embeddings:
    return load_embeddings()


def similarity(one: list[float], other: list[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))


def test_minilms_vectors_have_length_one_and_384_dimensions(minilm: Embeddings) -> None:
    question = minilm.embed_query("Why does a tree overfit?")
    (document,) = minilm.embed_documents(["Why does a tree overfit?"])
    assert len(question) == 384
    assert math.hypot(*question) == pytest.approx(1.0, abs=1e-5)
    assert document == pytest.approx(question, abs=1e-5)


def test_a_paraphrase_is_nearer_than_something_else(minilm: Embeddings) -> None:
    question = minilm.embed_query("Why do deep decision trees learn the training data by heart?")
    paraphrase, other = minilm.embed_documents(
        ["A tree with very many levels memorises its examples.", "Bread dough rises in a warm kitchen."]
    )
    assert similarity(question, paraphrase) > similarity(question, other) + 0.2


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Longer than the model takes, empty, in another script, with signs that are no letters, and of many lengths."""
    talk = " ".join(f"Tree {number} splits its examples at the feature that tells most." for number in range(40))
    return [talk, "", "梯度下降", "naïve Bayes – \u200bP(a|b) ≥ 0.5", *(talk[: 40 * number] for number in range(1, 30))]


def test_minilm_computes_what_sentence_transformers_computes(texts: list[str]) -> None:
    exact = SentenceTransformer(str(minilm_folder()), device="cpu").encode(texts, normalize_embeddings=True)
    ours = MiniLM(minilm_folder(), threads=1, max_batch=16, precision="f32").embed_documents(texts)
    np.testing.assert_allclose(ours, exact, atol=2e-6)


def test_what_this_cpu_computes_faster_is_the_same_vector_within_a_degree(minilm: Embeddings, texts: list[str]) -> None:
    exact = MiniLM(minilm_folder(), threads=1, max_batch=16, precision="f32").embed_documents(texts)
    a_degree = math.cos(math.radians(1))
    assert all(similarity(*pair) > a_degree for pair in zip(minilm.embed_documents(texts), exact, strict=True))


def test_minilm_is_ready_without_torch() -> None:
    code = "import sys; from pipeline.embeddings import *; load_embeddings().embed_query('Hello'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "openvino" in modules
    assert not {"torch", "transformers", "sentence_transformers"} & set(modules)


def test_another_model_is_one_of_sentence_transformers() -> None:
    model = load_embeddings(str(minilm_folder()))
    question, document = model.embed_query("Why?"), load_embeddings().embed_query("Why?")
    assert similarity(question, document) > math.cos(math.radians(1))


def test_a_model_that_is_not_there_is_named_in_one_line() -> None:
    with pytest.raises(InvalidSettings) as error:
        load_embeddings("/no/such/folder")
    message = str(error.value)
    assert message.startswith("embedding_model: '/no/such/folder' cannot be loaded on 'cpu'")
    assert "'minilm'" in message
    assert "\n" not in message


def test_a_device_that_is_not_there_is_named_in_one_line() -> None:
    with pytest.raises(InvalidSettings) as error:
        load_embeddings(device="abacus")
    assert "'minilm' cannot be loaded on 'abacus'" in str(error.value)
    assert "\n" not in str(error.value)
