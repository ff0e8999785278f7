"""Several language models in their order: who answers, what is told, and what is refused before anything starts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from pydantic import Field

from config import Settings
from pipeline.chain import AnswerChain
from pipeline.failover import FailoverChain
from pipeline.frames import prepare_frames
from pipeline.llm import open_llms
from pipeline.llm.absent import AbsentChatModel
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.llm.packages import needs
from pipeline.llm.vision import first_that_sees
from pipeline.loop import EventLoopThread
from tests.frames import Readers, Slides, Viewer, Words, on_slide, pictures_in
from vidask.errors import InvalidJob, InvalidSettings, ModelDied, ModelUnavailable
from vidask.models import AskJob, Message
from worker.embedded import reserved_port

HISTORY = (Message("user", "What is a decision tree?"), Message("assistant", "A list of questions."))
FOUND = [
    Document(
        page_content="A deep tree overfits because every leaf holds a single example.",
        metadata={"video_id": "talk", "start_s": 70.0, "end_s": 76.0, "cues": [[70.0, 76.0, 0]]},
    )
]
QUOTED = "Quoted from the transcript: “A deep tree overfits because every leaf holds a single example.” [1]"


class Model(BaseChatModel):
    """Says what it is called, or fails; may go away after the first piece of its answer."""

    model_name: str
    error: Exception | None = None
    pieces: int = 0
    prompts: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.prompts.append(messages)
        if self.error:
            raise self.error
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"said by {self.model_name}"))])

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for _piece in range(self.pieces):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"begun by {self.model_name} "))
        yield ChatGenerationChunk(message=AIMessageChunk(content=self._generate(messages).generations[0].text))


class Finder(BaseRetriever):
    """Finds what it was given."""

    found: list[Document]

    def _get_relevant_documents(
        self,
        query: str,  # noqa: ARG002  whatever is searched for
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
        **_: Any,
    ) -> list[Document]:
        return self.found

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **limits: Any
    ) -> list[Document]:
        return self._get_relevant_documents(query, run_manager=run_manager.get_sync(), **limits)


class Reader:
    """Reads along from the beginning, and remembers what it was told to forget."""

    wanted = True

    def __init__(self) -> None:
        self.text = ""
        self.forgotten = ""

    def when_wanted(self, tell: Callable[[], object] | None) -> None:
        """Nobody comes later."""

    def write(self, text: str) -> None:
        self.text += text

    def start_over(self) -> None:
        self.text, self.forgotten = "", self.text


def away(*, passes: bool = False) -> ModelUnavailable:
    return ModelUnavailable("http://host does not answer: refused", passes=passes)


def failover(*llms: BaseChatModel, found: list[Document] = FOUND) -> FailoverChain:
    finder = Finder(found=found)
    return FailoverChain({f"model {n}": AnswerChain(llm, finder, None, Readers()) for n, llm in enumerate(llms, 1)})


def ask(chain: FailoverChain, *, config: RunnableConfig | None = None, **fields: Any) -> tuple[str, str]:
    """The answer, and whose it is."""
    job = AskJob(question="Why does a deep tree overfit?", **fields)
    answer = asyncio.run(chain.ainvoke(job, config))
    return answer.text, answer.model


# A question.


def test_the_first_model_answers_and_the_others_are_not_asked() -> None:
    first, second = Model(model_name="first"), Model(model_name="second")
    assert ask(failover(first, second), history=HISTORY) == ("said by first", "first")
    assert second.prompts == []


def test_where_the_first_is_away_the_second_answers_and_is_named() -> None:
    chain = failover(Model(model_name="first", error=away()), Model(model_name="second"))
    assert ask(chain, history=HISTORY) == ("said by second", "second")
    assert chain.invoke(AskJob(question="Why?")).model == "second"


def test_the_last_one_may_be_no_model() -> None:
    chain = failover(Model(model_name="first", error=away()), ExtractiveChatModel())
    assert ask(chain) == (QUOTED, "extractive")


def test_where_nobody_is_left_the_question_fails_as_the_last_one_says() -> None:
    last = ModelUnavailable("http://other answered 404: no such model", passes=False)
    chain = failover(Model(model_name="first", error=away()), Model(model_name="second", error=last))
    for asked in (lambda: ask(chain), lambda: chain.invoke(AskJob(question="Why?"))):
        with pytest.raises(ModelUnavailable, match=r"^http://other answered 404"):
            asked()


@pytest.mark.parametrize("error", [InvalidJob("the prompt has 9,000 tokens"), ModelDied("the embedding model is gone")])
def test_what_is_not_the_models_absence_is_nobody_elses_question(error: Exception) -> None:
    """A prompt that is too long is too long; an embedding model that has died ends the worker, whoever answers."""
    second = Model(model_name="second")
    with pytest.raises(type(error)):
        ask(failover(Model(model_name="first", error=error), second))
    assert second.prompts == []


def test_the_log_says_once_that_a_model_is_away_and_once_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    first = Model(model_name="first", error=away())
    chain = failover(first, Model(model_name="second"))
    for _ in range(3):
        ask(chain)
    first.error = None
    for _ in range(3):
        assert ask(chain) == ("said by first", "first")
    assert caplog.messages == [
        "model 1 does not answer, model 2 is asked instead: http://host does not answer: refused",
        "model 1 answers again",
    ]


def test_what_was_read_of_an_answer_that_broke_off_is_void() -> None:
    reader = Reader()
    chain = failover(Model(model_name="first", pieces=1, error=away(passes=True)), Model(model_name="second", pieces=1))
    said = "begun by second said by second"
    assert ask(chain, config={"configurable": {"reader": reader}}) == (said, "second")
    assert (reader.forgotten, reader.text) == ("begun by first", said)


# Pictures.


def test_a_blind_model_in_the_place_of_one_that_sees_reads_what_was_found_as_text() -> None:
    async def fails(_: list[BaseMessage]) -> str:
        raise away()

    seeing, blind = Viewer(answers=fails), Model(model_name="blind")
    chain = failover(seeing, blind, found=[on_slide("Overfitting\nDeep trees")])
    config: RunnableConfig = {"configurable": {"pictures": [b"A tree with many leaves"]}}
    assert ask(chain, config=config) == ("said by blind", "blind")
    assert pictures_in(seeing.prompts[-1]) != []
    assert pictures_in(blind.prompts[-1]) == []
    assert "A tree with many leaves" in blind.prompts[-1][-1].text


def test_frames_wait_for_a_model_that_sees_rather_than_stay_without_captions() -> None:
    blind, absent = (
        ExtractiveChatModel(),
        AbsentChatModel(model_name="vllm", reason="the engine did not start", takes_images=True),
    )
    assert first_that_sees([blind, absent]) is absent
    assert first_that_sees([blind, ExtractiveChatModel()]) is blind
    slides = Slides((0.0, "Pruning"))
    with pytest.raises(ModelUnavailable, match=r"^the engine did not start$"):
        asyncio.run(prepare_frames(slides.job(), fetch=slides.fetch, readers=Readers(), llm=absent, embeddings=Words()))


# Starting.


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    with closing(EventLoopThread("answers")) as loop:
        yield loop


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with reserved_port() as port:
        yield f"http://127.0.0.1:{port}"


def test_a_server_that_is_not_there_yet_is_a_line_in_the_log_and_asked_each_time(
    loop: EventLoopThread, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(llm_backend="ollama,extractive", llm_model="tiny", llm_url=nobody)
    with open_llms(settings, loop) as llms:
        assert list(llms) == ["ollama", "extractive"]
        with pytest.raises(ModelUnavailable, match="does not answer"):
            llms["ollama"].invoke("Is anybody there?")
    [line] = caplog.messages
    assert line.startswith("llm_backend: 'ollama' does not start, 'extractive' answers instead: http://127.0.0.1:")


@pytest.fixture
def without_vllm(nobody: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What names vLLM first, on a machine where it is not installed."""
    monkeypatch.setitem(sys.modules, "pipeline.llm.vllm_backend", None)
    return Settings(llm_backend="vllm,ollama", model_path="/models/qwen", llm_model="tiny", llm_url=nobody)


def test_where_none_of_them_starts_the_worker_does_not(loop: EventLoopThread, without_vllm: Settings) -> None:
    said = r"^llm_backend: none of 'vllm', 'ollama' starts; 'vllm': vllm is not installed .*; 'ollama': http://.* does not answer"
    with pytest.raises(InvalidSettings, match=said), open_llms(without_vllm, loop):
        pytest.fail("it started")


def test_what_is_installed_and_does_not_load_is_told_in_one_line() -> None:
    with (
        pytest.raises(
            InvalidSettings, match=r"^vllm does not load \(libcudart.so: no such file\); install the build that fits"
        ),
        needs("vllm"),
    ):
        raise ImportError("libcudart.so:\n no such file")  # noqa: EM101  in the loader's words


def test_one_backend_alone_has_to_start(loop: EventLoopThread, nobody: str) -> None:
    settings = Settings(llm_backend="ollama", llm_model="tiny", llm_url=nobody)
    with pytest.raises(InvalidSettings, match=r"^http://.* does not answer"), open_llms(settings, loop):
        pytest.fail("it started")


# The setting.


@pytest.mark.parametrize(
    ("text", "backends"),
    [
        ("vllm,extractive", ("vllm", "extractive")),
        (" vllm , ollama,extractive ", ("vllm", "ollama", "extractive")),
        ("langchain-vllm", ("langchain-vllm",)),
    ],
)
def test_backends_are_named_in_their_order(
    monkeypatch: pytest.MonkeyPatch, text: str, backends: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VIDASK_LLM_BACKEND", text)
    monkeypatch.setenv("VIDASK_LLM_MODEL", "tiny")
    monkeypatch.setenv("VLLM_MODEL_PATH", "/models/qwen")
    assert Settings.from_environment().llm_backends == backends


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ollama,oracle", "llm_backend: 'oracle' is not one of 'extractive', 'vllm'"),
        ("vllm,,extractive", "llm_backend: '' is not one of"),
        ("ollama,ollama", "llm_backend: 'ollama,ollama' names 'ollama' 2 times; name each once"),
        ("extractive,ollama", "llm_backend: 'extractive,ollama': 'extractive' always answers, so what stands behind"),
        ("ollama,openai", "llm_backend: 'ollama,openai': 'ollama' and 'openai' would share VIDASK_LLM_URL"),
        ("ollama,extractive", "llm_model: is missing; llm_backend 'ollama' needs the model's name"),
        ("langchain-vllm,extractive", "llm_backend: 'langchain-vllm' needs a model; set VLLM_MODEL_PATH"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    for name in ("VIDASK_LLM_MODEL", "VLLM_MODEL_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIDASK_LLM_BACKEND", text)
    with pytest.raises(InvalidSettings) as error:
        Settings.from_environment()
    assert str(error.value).startswith(f"settings: {said}")
    assert "\n" not in str(error.value)
