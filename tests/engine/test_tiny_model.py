"""The model that the other tests stand on is what they take it for."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image
from vllm import AsyncEngineArgs, SamplingParams
from vllm.outputs import CompletionOutput
from vllm.renderers import ChatParams
from vllm.v1.engine.async_llm import AsyncLLM

from tests.engine.conftest import VLLM_CONFIG
from tests.engine.tiny_model import make_tiny_model

CHAT = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "tokenize": False})


def picture(colour: str) -> dict[str, Any]:
    content = io.BytesIO()
    Image.new("RGB", (200, 120), colour).save(content, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": address}}


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def answers(model: Path, contents: list[Any], sampling: SamplingParams) -> list[CompletionOutput]:
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(model), **VLLM_CONFIG))
    try:
        return [await answer(engine, content, sampling) for content in contents]
    finally:
        engine.shutdown()


async def answer(engine: AsyncLLM, content: Any, sampling: SamplingParams) -> CompletionOutput:
    chat: list[Any] = [{"role": "user", "content": content}]
    _, [prompt] = await engine.renderer.render_chat_async([chat], CHAT)
    outputs = [output async for output in engine.generate(prompt, sampling, "a question")]
    return outputs[-1].outputs[0]


def test_it_is_the_same_each_time(tiny_model: Path, tmp_path: Path) -> None:
    assert content_of(make_tiny_model(tmp_path / "again")) == content_of(tiny_model)


def test_it_answers_texts_and_pictures_for_as_long_as_it_is_let(tiny_model: Path) -> None:
    asked = {"type": "text", "text": "What is this?"}
    contents = ["What is this?", [asked, picture("red")], [asked, picture("blue")], "What is this?"]
    given = asyncio.run(answers(tiny_model, contents, SamplingParams(temperature=0, max_tokens=300)))
    assert [(len(output.token_ids), output.finish_reason) for output in given] == [(300, "length")] * 4
    assert all(output.text.isascii() and output.text.isprintable() for output in given)
    assert given[0].text == given[3].text
    assert len({output.text for output in given}) == 3, "it does not see the pictures"
