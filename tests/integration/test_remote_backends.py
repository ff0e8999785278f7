from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from langchain_core.documents import Document
from pydantic import SecretStr

from config import Settings
from pipeline.llm.remote import load_ollama, load_openai
from pipeline.loop import EventLoopThread
from pipeline.steps import aget_response, contextualize_query, get_response
from vidask.errors import InvalidJob, InvalidSettings, ModelUnavailable
from vidask.models import Message, Sampling
from worker.embedded import free_port

HISTORY = (Message("user", "What is a decision tree?"), Message("assistant", "A list of questions."))
DOCUMENTS = [
    Document(
        page_content="Every leaf holds a single example.",
        metadata={"video_id": "talk", "start_s": 70.0, "end_s": 76.0, "cues": [[70.0, 76.0, 0]]},
    )
]
PIECES = ("It has", " too many", " leaves [1].")


class Ollama(BaseHTTPRequestHandler):
    """Ollama's protocol, as far as it is documented for chats: `/api/tags`, and `/api/chat` as lines of JSON."""

    asked: ClassVar[list[dict[str, Any]]]
    keys: ClassVar[list[str | None]]
    refusal: ClassVar[tuple[int, str] | None]
    breaks_off: ClassVar[bool]

    def do_GET(self) -> None:
        self.keys.append(self.headers["Authorization"])
        if self.path != "/api/tags":
            self._reply(404, {"error": "not found"})
            return
        self._reply(200, {"models": [{"name": "tiny:latest", "model": "tiny:latest", "size": 7}]})

    def do_POST(self) -> None:
        self.keys.append(self.headers["Authorization"])
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.refusal:
            self._reply(self.refusal[0], {"error": self.refusal[1]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for piece in PIECES:
            self._line({"message": {"role": "assistant", "content": piece}, "done": False})
        if self.breaks_off:
            self._line({"error": "the runner has ended"})
            return
        ended = {"done": True, "done_reason": "stop", "prompt_eval_count": 40, "eval_count": 7}
        self._line({"message": {"role": "assistant", "content": ""}, **ended})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nothing on stderr."""

    def _line(self, content: dict[str, Any]) -> None:
        self.wfile.write(
            json.dumps({"model": "tiny", "created_at": "2026-01-01T00:00:00Z", **content}).encode() + b"\n"
        )
        self.wfile.flush()

    def _reply(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class BreaksOff(Ollama):
    """Speaks OpenAI's protocol, and is gone after the first piece."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        delta = {"role": "assistant", "content": PIECES[0]}
        content = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
        line = f"data: {json.dumps(content | {'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.close_connection = True


class AnyWebsite(Ollama):
    """Answers everything, and speaks nobody's protocol."""

    def do_GET(self) -> None:
        self._reply(200, {"welcome": "to our homepage"})


class Closed(Ollama):
    """Wants a key that nobody has."""

    def do_GET(self) -> None:
        self._reply(401, {"error": "who are you?"})


@contextmanager
def serving(handler: type[Ollama]) -> Iterator[str]:
    handler.asked, handler.keys, handler.refusal, handler.breaks_off = [], [], None, False
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def ollama() -> Iterator[str]:
    with serving(Ollama) as url:
        yield url


def settings(url: str, model: str = "tiny", *, backend: str = "ollama", key: str | None = None) -> Settings:
    api_key = SecretStr(key) if key else None
    return Settings.model_validate(
        {"llm_backend": backend, "llm_model": model, "llm_url": url, "llm_api_key": api_key}, by_name=True
    )


# At Ollama.


def test_both_steps_run_on_ollama(ollama: str) -> None:
    llm = load_ollama(settings(ollama))
    rewritten = contextualize_query("And why does it overfit?", HISTORY, llm=llm)
    assert rewritten.question == "It has too many leaves [1]."
    response = get_response("Why does it overfit?", DOCUMENTS, llm=llm)
    assert response.text == "It has too many leaves [1]."
    assert [(citation.video_id, citation.start_s) for citation in response.citations] == [("talk", 70.0)]
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (40, 7)
    roles = [[message["role"] for message in request["messages"]] for request in Ollama.asked]
    assert roles == [["system", "user", "assistant", "user"], ["system", "user"]]
    assert "Every leaf holds a single example." in Ollama.asked[1]["messages"][1]["content"]


def test_what_the_caller_chose_reaches_ollama_in_its_own_words(ollama: str) -> None:
    sampling = Sampling(temperature=0.5, top_p=0.9, max_tokens=77, seed=3)
    get_response("Why?", DOCUMENTS, llm=load_ollama(settings(ollama)), sampling=sampling)
    assert Ollama.asked[0]["options"] == {"temperature": 0.5, "top_p": 0.9, "num_predict": 77, "seed": 3}


def test_ollama_answers_piece_by_piece_where_somebody_reads_along(ollama: str) -> None:
    llm = load_ollama(settings(ollama))
    assert [chunk.text for chunk in llm.stream("Why?") if chunk.text] == list(PIECES)


def test_a_model_may_be_named_with_or_without_its_tag(ollama: str) -> None:
    for name in ("tiny", "tiny:latest"):
        get_response("Why?", DOCUMENTS, llm=load_ollama(settings(ollama, name)))
    assert [request["model"] for request in Ollama.asked] == ["tiny", "tiny:latest"]


def test_the_key_of_a_proxy_before_ollama_is_sent_with_every_request(ollama: str) -> None:
    get_response("Why?", DOCUMENTS, llm=load_ollama(settings(ollama, key="swordfish")))
    assert Ollama.keys == ["Bearer swordfish"] * 2


@pytest.mark.parametrize(
    ("status", "error"), [(400, InvalidJob), (404, ModelUnavailable), (500, ModelUnavailable), (503, ModelUnavailable)]
)
def test_an_error_of_ollama_says_where_and_why_in_one_line(ollama: str, status: int, error: type[Exception]) -> None:
    llm = load_ollama(settings(ollama))
    Ollama.refusal = (status, "no room\nfor this")
    with pytest.raises(error, match=rf"^{re.escape(ollama)} .*: no room for this") as raised:
        get_response("Why?", DOCUMENTS, llm=llm)
    assert "\n" not in str(raised.value)


def test_an_answer_that_breaks_off_is_no_answer(ollama: str) -> None:
    llm = load_ollama(settings(ollama))
    Ollama.breaks_off = True
    with pytest.raises(ModelUnavailable, match="the runner has ended"):
        get_response("Why?", DOCUMENTS, llm=llm)
    with pytest.raises(ModelUnavailable, match="the runner has ended"):
        list(llm.stream("Why?"))


def test_when_ollama_has_gone_the_job_says_so() -> None:
    with serving(Ollama) as url:
        llm = load_ollama(settings(url))
    with pytest.raises(ModelUnavailable, match=f"^{re.escape(url)} does not answer"):
        get_response("Why?", DOCUMENTS, llm=llm)


def test_a_worker_asks_ollama_on_its_event_loop(ollama: str) -> None:
    llm, loop = load_ollama(settings(ollama)), EventLoopThread()
    try:
        assert loop.run(aget_response("Why?", DOCUMENTS, llm=llm)).text == "It has too many leaves [1]."
        Ollama.refusal = (500, "no room")
        with pytest.raises(ModelUnavailable, match="no room"):
            loop.run(aget_response("Why?", DOCUMENTS, llm=llm))
    finally:
        loop.close()


def test_an_openai_compatible_server_that_goes_in_the_middle_of_an_answer_is_told() -> None:
    with serving(BreaksOff) as url:
        chunks = load_openai(settings(url, backend="openai")).stream("Why?")
        assert next(chunks).text == PIECES[0]
        with pytest.raises(ModelUnavailable, match=f"^{re.escape(url)} does not answer: Connection error"):
            next(chunks)


# What is wrong at the start.


def test_a_model_that_is_not_there_is_named_beside_those_that_are(ollama: str) -> None:
    with pytest.raises(
        InvalidSettings, match=r"^llm_model 'large' is not at .*, which has tiny:latest; run: ollama pull"
    ):
        load_ollama(settings(ollama, "large"))


@pytest.mark.parametrize(("backend", "load"), [("ollama", load_ollama), ("openai", load_openai)])
def test_where_nobody_listens_the_worker_does_not_start(backend: str, load: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(InvalidSettings, match=rf"^{url}/.* does not answer \(ConnectError\); .*VIDASK_LLM_URL$"):
        load(settings(url, backend=backend))


@pytest.mark.parametrize(("backend", "load"), [("ollama", load_ollama), ("openai", load_openai)])
def test_a_server_of_another_kind_is_told_from_one_that_is_meant(backend: str, load: Any) -> None:
    with (
        serving(AnyWebsite) as url,
        pytest.raises(InvalidSettings, match=r"answers something else than a list of models: .*VIDASK_LLM_URL$"),
    ):
        load(settings(url, backend=backend))


def test_an_address_without_its_path_is_told(ollama: str) -> None:
    with pytest.raises(InvalidSettings, match=r"/models answers 404; correct VIDASK_LLM_URL$"):
        load_openai(settings(ollama, backend="openai"))


@pytest.mark.parametrize(("backend", "load"), [("ollama", load_ollama), ("openai", load_openai)])
def test_a_wrong_key_is_told(backend: str, load: Any) -> None:
    with (
        serving(Closed) as url,
        pytest.raises(InvalidSettings, match=r"answers 401; correct VIDASK_LLM_API_KEY$") as raised,
    ):
        load(settings(url, backend=backend, key="swordfish"))
    assert "swordfish" not in str(raised.value)


@pytest.mark.parametrize(
    ("backend", "load", "package"),
    [("ollama", load_ollama, "langchain_ollama"), ("openai", load_openai, "langchain_openai")],
)
def test_a_package_that_is_not_installed_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, backend: str, load: Any, package: str
) -> None:
    for name in [name for name in sys.modules if name == f"pipeline.llm.{backend}" or name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidSettings, match=f"run: pip install {package.replace('_', '-')}$"):
        load(settings("http://127.0.0.1:1", backend=backend))
