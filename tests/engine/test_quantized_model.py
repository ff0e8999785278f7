"""A model that is quantized beforehand, on a real engine: read as it is, without a word in `VLLM_CONFIG`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from config import Settings
from pipeline.llm import open_llm
from pipeline.llm.vllm import VLLMChatModel
from pipeline.loop import EventLoopThread
from tests.engine.conftest import VLLM_CONFIG
from tests.engine.quantized_model import make_gptq_model

#: Each of the answer's first tokens is likelier than the next best by a factor of three, more than kernels in 16 bits differ.
QUESTION = "When is there a step?"
TOKENS = 6


def test_a_gptq_model_answers_what_its_unpacked_numbers_answer(tiny_model: Path, tmp_path: Path) -> None:
    folder = make_gptq_model(tiny_model, tmp_path / "gptq")
    settings = Settings(model_path=str(folder), engine_config=VLLM_CONFIG | {"dtype": "auto"})
    with closing(EventLoopThread("answers")) as loop, open_llm(settings, loop) as llm:
        assert isinstance(llm, VLLMChatModel)
        said = llm.invoke(QUESTION, max_tokens=TOKENS, temperature=0.0).text
    assert said == by_transformers(tmp_path / "gptq-plain")


@torch.no_grad()
def by_transformers(folder: Path) -> str:
    """What another implementation answers."""
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tokens = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    return tokenizer.decode(tokens, skip_special_tokens=True)
