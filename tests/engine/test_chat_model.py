"""The chat model over a real engine, in this process: what it says is what vLLM itself says, however it is called."""

import asyncio
import base64
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from PIL import Image, ImageDraw

from config import Settings
from pipeline.llm import open_llm
from pipeline.llm.engine import Engine
from pipeline.llm.engine_arguments import build_engine_args
from pipeline.llm.vllm import VLLMChatModel
from pipeline.loop import EventLoopThread
from tests.engine.conftest import VLLM_CONFIG
from tests.support import wait_for
from vidask.errors import InvalidJob, ModelUnavailable

MAX_TOKENS = 24

QUESTIONS = [f"Why does the tree number {number} overfit?" for number in range(64)]


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[VLLMChatModel]:
    settings = Settings(model_path=str(tiny_model), engine_config={**VLLM_CONFIG, "max_num_seqs": 64})
    with closing(EventLoopThread("answers")) as loop, open_llm(settings, loop) as llm:
        assert isinstance(llm, VLLMChatModel)
        yield llm


@pytest.fixture(scope="module")
def said_by_vllm(tiny_model: Path) -> list[dict[str, Any]]:
    """What `vllm.LLM.chat` answers to the questions one after the other: `text` and `token_ids`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.said_by_vllm", str(tiny_model), str(MAX_TOKENS)],
        input=json.dumps(QUESTIONS),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [answers] = [line for line in done.stdout.splitlines() if line.startswith("[{")]  # vLLM's log is there, too
    return json.loads(answers)


def chat(question: str) -> list[BaseMessage]:
    return [SystemMessage("Answer briefly."), HumanMessage(question)]


def picture(colour: str = "blue") -> dict[str, Any]:
    """A drawn slide, as LangChain hands pictures over."""
    slide = Image.new("RGB", (112, 112), "white")
    ImageDraw.Draw(slide).rectangle((20, 20, 80, 60), fill=colour)
    file = io.BytesIO()
    slide.save(file, "PNG")
    return {"type": "image", "base64": base64.b64encode(file.getvalue()).decode(), "mime_type": "image/png"}


async def token_ids(llm: VLLMChatModel, question: str) -> list[int]:
    messages = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": question}]
    sampling = {"temperature": 0.0, "max_tokens": MAX_TOKENS}
    async for output in llm.engine.generate(messages, sampling, request_id="test"):
        return list(output.outputs[0].token_ids)
    pytest.fail("the engine gave no output")


def test_alone_each_answer_is_token_for_token_what_vllm_says(
    llm: VLLMChatModel, said_by_vllm: list[dict[str, Any]]
) -> None:
    for question, said in zip(QUESTIONS[:4], said_by_vllm, strict=False):
        assert llm.engine.loop.run(token_ids(llm, question)) == said["token_ids"]
        assert llm.invoke(chat(question), max_tokens=MAX_TOKENS).text == said["text"]


def test_among_sixty_four_at_once_each_answer_is_the_same_and_they_share_the_engines_steps(
    llm: VLLMChatModel, said_by_vllm: list[dict[str, Any]]
) -> None:
    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(token_ids(llm, question) for question in QUESTIONS))

    assert llm.engine.loop.run(all_at_once()) == [said["token_ids"] for said in said_by_vllm]
    assert llm.engine.stats.peak_running > 32, "more than one job's requests in one step"


def test_a_batch_is_sent_whole(llm: VLLMChatModel) -> None:
    llm.engine.stats.peak_running = 0
    replies = llm.batch([chat(question) for question in QUESTIONS[:32]], max_tokens=MAX_TOKENS)
    assert len(replies) == 32
    assert llm.engine.stats.peak_running > 16


def test_every_way_to_call_it_says_the_same(llm: VLLMChatModel) -> None:
    async def elsewhere() -> tuple[str, str, list[str]]:
        """On another loop than the engine's."""
        streamed = [chunk.text async for chunk in llm.astream(chat(QUESTIONS[0]))]
        batch = await llm.abatch([chat(QUESTIONS[0])] * 2)
        return (await llm.ainvoke(chat(QUESTIONS[0]))).text, "".join(streamed), [reply.text for reply in batch]

    text = llm.invoke(chat(QUESTIONS[0])).text
    assert text
    assert "".join(chunk.text for chunk in llm.stream(chat(QUESTIONS[0]))) == text
    assert asyncio.run(elsewhere()) == (text, text, [text, text])


def test_tokens_are_counted_the_same_streamed_or_not(llm: VLLMChatModel) -> None:
    whole = llm.invoke(chat(QUESTIONS[0]), max_tokens=MAX_TOKENS)
    first, *others = llm.stream(chat(QUESTIONS[0]), max_tokens=MAX_TOKENS)
    streamed = sum(others, first)
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == MAX_TOKENS
    assert streamed.usage_metadata == whole.usage_metadata
    assert streamed.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"] == "length"


def test_leaving_a_stream_early_stops_the_engine(llm: VLLMChatModel) -> None:
    stream = llm.stream(chat("Go on and on."), max_tokens=4_000)
    next(stream)
    wait_for("the engine decodes", lambda: llm.engine.stats.running == 1)
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]  LangChain's iterator is a generator
    wait_for("the engine is idle", lambda: llm.engine.stats.running == 0, limit_s=10)


def test_a_picture_reaches_the_model(llm: VLLMChatModel) -> None:
    def prompt_tokens(*parts: dict[str, Any]) -> int:
        question: list[Any] = [{"type": "text", "text": "What does this slide show?"}, *parts]
        reply = llm.invoke([HumanMessage(question)], max_tokens=1)
        assert reply.usage_metadata is not None
        return reply.usage_metadata["input_tokens"]

    alone, with_one, with_two = prompt_tokens(), prompt_tokens(picture()), prompt_tokens(picture(), picture())
    patches = (112 // 28) ** 2  # the model reads 28 by 28 pixels as one token
    assert with_one >= alone + patches
    assert with_two - with_one >= patches


def test_texts_and_pictures_are_answered_for_as_long_as_the_tests_of_a_worker_need(llm: VLLMChatModel) -> None:
    """The model is what other tests take it for: it ends no answer by itself, says plain text, and looks at pictures."""
    asked: list[Any] = [{"type": "text", "text": "What is this?"}]
    contents = ["What is this?", [*asked, picture("red")], [*asked, picture("blue")], "What is this?"]
    replies = [llm.invoke([HumanMessage(content)], max_tokens=300) for content in contents]
    assert [reply.usage_metadata and reply.usage_metadata["output_tokens"] for reply in replies] == [300] * 4
    assert {reply.response_metadata["finish_reason"] for reply in replies} == {"length"}
    assert all(reply.text.isascii() and reply.text.isprintable() for reply in replies)
    assert replies[0].text == replies[3].text
    assert len({reply.text for reply in replies}) == 3, "it does not see the pictures"


def test_no_address_is_fetched_for_a_caller(llm: VLLMChatModel) -> None:
    for address in ("http://127.0.0.1:1/slide.png", "file:///etc/hostname"):
        part = {"type": "image_url", "image_url": {"url": address}}
        with pytest.raises(InvalidJob, match="nothing is fetched, so send the bytes"):
            llm.invoke([HumanMessage([part])])


def test_a_prompt_that_is_too_long_is_refused_with_its_length_and_others_go_on(llm: VLLMChatModel) -> None:
    replies = llm.batch([chat("漢" * 7_000), chat(QUESTIONS[0])], return_exceptions=True, max_tokens=MAX_TOKENS)
    refused, answered = replies
    assert isinstance(refused, InvalidJob)
    assert "tokens, the model takes 8,192; shorten the question" in str(refused)
    assert not isinstance(answered, Exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"temperature": -1.0}, "temperature"), ({"top_p": 7.0}, "top_p"), ({"best_of": 3}, "'best_of' is not one of")],
)
def test_sampling_values_out_of_range_are_named(llm: VLLMChatModel, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        llm.invoke(chat(QUESTIONS[0]), **arguments)


def test_questions_on_the_same_excerpts_share_the_prefix_cache(llm: VLLMChatModel) -> None:
    excerpts = "\n".join(f"[{number}] A tree asks one question after another." for number in range(60))
    llm.invoke(chat(f"{excerpts}\nQuestion: first?"), max_tokens=1)
    before = llm.engine.stats.cached_tokens
    llm.invoke(chat(f"{excerpts}\nQuestion: second?"), max_tokens=1)
    assert llm.engine.stats.cached_tokens - before > 500
    assert 0 < llm.engine.stats.prefix_cache_hit_rate < 1
    assert "from the prefix cache" in str(llm.engine.stats)


def test_the_more_urgent_goes_first(llm: VLLMChatModel) -> None:
    """With every place taken, a question that comes after a crowd of indexing requests is answered before most of them."""
    order: list[str] = []

    async def ask(name: str, priority: int) -> None:
        await llm.ainvoke(chat(f"{name}?"), {"metadata": {"priority": priority}}, max_tokens=48)
        order.append(name)

    crowd = [llm.engine.loop.submit(ask(f"indexing {number}", 9)) for number in range(400)]
    wait_for("every place is taken", lambda: llm.engine.stats.running >= 60)
    question = llm.engine.loop.submit(ask("question", 0))
    for asked in [*crowd, question]:
        asked.result(timeout=300)
    assert order.index("question") < 300


def test_who_asks_beside_an_import_finds_room_and_the_import_says_what_it_would_have_said(llm: VLLMChatModel) -> None:
    """The question sends most of the import away, in the middle of its answers; each is begun anew, and none is lost."""
    urgent: RunnableConfig = {"metadata": {"priority": 0}}
    indexing: RunnableConfig = {"metadata": {"priority": 9}}
    texts = [f"caption {number}" for number in range(40)]

    async def caption(text: str) -> str:
        return (await llm.ainvoke(chat(text), indexing, max_tokens=200)).text

    alone = llm.engine.loop.run(caption(texts[39]))
    captions = [llm.engine.loop.submit(caption(text)) for text in texts]
    wait_for("all of them are being written", lambda: llm.engine.stats.running == len(texts))
    question = llm.engine.loop.submit(llm.ainvoke(chat("question?"), urgent, max_tokens=200))
    wait_for("most of them have made room", lambda: 0 < llm.engine.stats.running <= 64 // 8 + 1)
    assert question.result(timeout=300).text
    said = [caption.result(timeout=300) for caption in captions]
    assert len(said) == len(texts)
    assert said[39] == alone


def test_a_question_does_not_wait_until_an_imports_pictures_are_prepared(
    llm: VLLMChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VLLM prepares one prompt after the other; a question would be behind all pictures of an import."""
    renderer: Any = llm.engine._llm.renderer  # noqa: SLF001  what cannot be seen from outside: who waits there
    render, being_prepared, prepared = renderer.render_chat_async, list[str](), list[str]()
    crowded = asyncio.Event()

    async def noted(chats: Any, *args: Any) -> Any:
        said = chats[0][0]["content"][-1]["text"]
        being_prepared.append(said)
        if len(being_prepared) == 40:
            crowded.set()
        rendered = await render(chats, *args)
        prepared.append(said)
        return rendered

    monkeypatch.setattr(renderer, "render_chat_async", noted)

    async def ask(text: str, priority: int) -> None:
        await llm.ainvoke(
            [HumanMessage([picture(text), {"type": "text", "text": text}])],
            {"metadata": {"priority": priority}},
            max_tokens=4,
        )

    async def all_at_once() -> None:
        crowd = [asyncio.create_task(ask(f"#{number:06x}", 9)) for number in range(40)]
        await crowded.wait()
        await asyncio.gather(ask("green", 0), *crowd)

    llm.engine.loop.run(all_at_once())
    before = prepared[: prepared.index("green")]
    assert len(before) <= 2 + 1, "those that stay, and the one that was being prepared"
    assert len({*prepared}) == 41


def test_a_picture_whose_caption_is_cancelled_or_not_begun_yet_can_be_asked_about(llm: VLLMChatModel) -> None:
    """VLLM would take it for one that the engine has, and the engine would not find it."""
    colours = [f"#0000{number:02x}" for number in range(90)]

    async def ask(colour: str, priority: int, max_tokens: int) -> str:
        messages: list[BaseMessage] = [HumanMessage([picture(colour), {"type": "text", "text": "What is it?"}])]
        return (await llm.ainvoke(messages, {"metadata": {"priority": priority}}, max_tokens=max_tokens)).text

    captions = [llm.engine.loop.submit(ask(colour, 9, 4000)) for colour in colours]
    wait_for("every place is taken", lambda: llm.engine.stats.running == 64)
    waiting = llm.engine._admission._waiting  # noqa: SLF001
    assert len(waiting) == len(colours) - 64, "the others wait for one"
    first = llm.engine.loop.run(ask(colours[-1], 0, 8))
    for caption in captions:
        caption.cancel()
    again = [llm.engine.loop.run(ask(colour, 0, 8)) for colour in colours[-9:]]
    assert again[-1] == first


def test_a_request_that_the_engine_gives_up_is_an_error_and_no_empty_answer(tiny_model: Path) -> None:
    """As where it misses a picture that vLLM believes it has: with that cache, of one that was prepared and not sent."""
    settings = Settings(model_path=str(tiny_model), engine_config=VLLM_CONFIG)
    with closing(EventLoopThread("answers")) as loop:
        args = dataclasses.replace(build_engine_args(settings), mm_processor_cache_gb=1)
        with closing(Engine(args, loop)) as engine:
            llm = VLLMChatModel(engine=engine, model_name="tiny", takes_images=True)
            messages: list[BaseMessage] = [HumanMessage([picture(), {"type": "text", "text": "What is it?"}])]
            for say in (llm.invoke, lambda messages: list(llm.stream(messages))):
                loop.run(engine._render(llm._chat(messages)))  # noqa: SLF001
                with pytest.raises(ModelUnavailable, match="the engine failed this request"):
                    say(messages)
            assert llm.invoke(messages, max_tokens=4).usage_metadata
