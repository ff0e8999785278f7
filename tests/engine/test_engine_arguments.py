"""What the installed vLLM makes of the settings, and what a person is told when it makes nothing of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from pipeline.llm.engine_arguments import build_engine_args
from pipeline.llm.quantization import AT_LOAD
from pipeline.llm.start_errors import start_errors
from tests.engine.quantized_model import make_gptq_model
from vidask.errors import InvalidSettings

#: torch's own, met while vLLM is imported.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture
def settings(tiny_model: Path) -> Callable[..., Settings]:
    def make(**engine_config: Any) -> Settings:
        return Settings(
            model_path=str(tiny_model), engine_config={"dtype": "float32", "enforce_eager": True} | engine_config
        )

    return make


def test_the_engine_takes_what_the_settings_say(settings: Callable[..., Settings]) -> None:
    args = build_engine_args(settings(max_num_seqs=3, limit_mm_per_prompt={"image": 2}))
    config = args.create_engine_config()
    assert config.scheduler_config.max_num_seqs == 3
    assert config.scheduler_config.policy == "priority"
    assert config.model_config.trust_remote_code is False
    assert config.model_config.max_model_len == 4096  # the preset's; there is no GPU here


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"max_num_seq": 3},
            r"^VLLM_CONFIG: 'max_num_seq' is no argument of vLLM [\d.]+.*; did you mean 'max_num_seqs'\?$",
        ),
        ({"max-model-len": 3}, "'max-model-len' is no argument .*; did you mean 'max_model_len'"),
        ({"xyzzy": 3}, "'xyzzy' is no argument .*; leave it out"),
        (
            {"dtype": "int8"},
            "dtype 'int8' is not one that vLLM computes in; leave dtype at 'auto', and name a quantized model",
        ),
        ({"dtype": "single"}, "dtype 'single' is not one .*; write one of auto, half, float16, bfloat16"),
        (
            {"quantization": "squeezellm"},
            "quantization 'squeezellm' is not one of vLLM .*; name the same model in AWQ or GPTQ, and leave quantization out",
        ),
        ({"quantization": "awqq"}, "quantization 'awqq' is not one of vLLM .*; write 'awq', or leave it out"),
        ({"max_num_batched_tokens": 4}, r"VLLM_CONFIG: max_num_batched_tokens \(4\) must be .* max_num_seqs \(16\)"),
        (
            {"max_model_len": 100_000},
            "max_model_len 100000 is longer than the model was made for; lower it to at most 32768",
        ),
        ({"seed": "x"}, "VLLM_CONFIG: seed 'x': input should be a valid integer"),
        ({"tensor_parallel_size": 3}, r"attention heads \(4\) must be divisible by tensor parallel size \(3\)"),
    ],
)
def test_what_vllm_refuses_is_told_in_one_line(
    settings: Callable[..., Settings], given: dict[str, Any], said: str
) -> None:
    wrong = settings(**given)
    with pytest.raises(InvalidSettings, match=said) as error, start_errors(wrong):
        build_engine_args(wrong).create_engine_config()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", sorted(set(AT_LOAD) - {"bitsandbytes"}))
def test_what_is_said_to_quantize_while_loading_does_so_in_vllm(settings: Callable[..., Settings], method: str) -> None:
    config = build_engine_args(settings(dtype="bfloat16", quantization=method)).create_engine_config()
    assert config.quant_config is not None
    assert config.quant_config.get_name() == "online"


def test_the_formats_of_models_are_read_under_every_name_that_is_let_through(tiny_model: Path, tmp_path: Path) -> None:
    gptq = make_gptq_model(tiny_model, tmp_path / "gptq")
    for method in ("gptq", "gptq_marlin", "auto_gptq", "marlin"):
        given = {"quantization": method, "enforce_eager": True}
        args = build_engine_args(Settings(model_path=str(gptq), engine_config=given))
        config = args.create_engine_config()
        assert config.quant_config is not None
        assert config.quant_config.get_name() == "auto_gptq"


def _changed(tiny_model: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Settings:
    """The tiny model with another config."""
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return Settings(model_path=str(folder), engine_config={"dtype": "float32", "enforce_eager": True})


def test_a_model_that_this_vllm_does_not_know(tiny_model: Path, tmp_path: Path) -> None:
    oracle = {"architectures": ["OracleForEverything"], "model_type": "oracle"}
    settings = _changed(tiny_model, tmp_path / "oracle", lambda config: config.update(oracle))
    with (
        pytest.raises(InvalidSettings, match=r"does not run '.*/oracle' \(oracle\); name a chat model"),
        start_errors(settings),
    ):
        build_engine_args(settings).create_engine_config()


START = """
import asyncio
from config import Settings
from pipeline.llm.engine_arguments import build_engine_args
from pipeline.llm.start_errors import start_errors
from vidask.errors import InvalidSettings

async def start():
    from vllm.v1.engine.async_llm import AsyncLLM
    AsyncLLM.from_engine_args(build_engine_args(settings))

settings = Settings.from_environment()
try:
    with start_errors(settings):
        asyncio.run(start())
except InvalidSettings as error:
    print("told:", error)
"""


def test_a_reason_that_only_the_engines_own_process_knows_reaches_the_person(engine_env: dict[str, str]) -> None:
    """vLLM's process for the model finds too little memory; vLLM itself says no more here than that it failed."""
    run = subprocess.run(
        [sys.executable, "-c", START],
        env=os.environ | engine_env | {"VLLM_CPU_KVCACHE_SPACE": "100000"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        check=True,
    )
    said = r"told: VLLM_CPU_KVCACHE_SPACE: the engine wants 100000.0 GiB, but only .* GiB of memory are free; set it to fewer"
    assert re.search(said, run.stdout)
