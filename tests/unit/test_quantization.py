"""A model that is quantized, or is to be, told before an engine is started whether model, card and packages go with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from config import Settings
from pipeline.llm import quantization
from pipeline.llm.engine_arguments import engine_arguments
from pipeline.llm.gpu import GIB, Gpu
from pipeline.llm.memory import memory_needed
from pipeline.llm.model_folder import ModelFiles, check_model
from pipeline.llm.quantization import Quantized, check_method, check_quantization, quantized_beforehand
from vidask.errors import InvalidSettings

A10 = Gpu("NVIDIA A10", 23028 * 1024**2, 22 * GIB, (8, 6))
T4 = Gpu("Tesla T4", 15360 * 1024**2, 15 * GIB, (7, 5))
V100 = Gpu("Tesla V100", 16 * GIB, 16 * GIB, (7, 0))

PLAIN = ModelFiles("/models/qwen", {}, {"BF16": 16 * GIB})
KNOWN = ["awq", "fp8", "fp8_per_tensor", "gptq", "gptq_marlin"]


def quantized(method: str) -> ModelFiles:
    """A model whose config.json says how it is."""
    return ModelFiles(f"/models/qwen-{method}", {"quantization_config": {"quant_method": method}}, {"I32": 5 * GIB})


def refusal(model: ModelFiles, gpu: Gpu | None = A10, **arguments: Any) -> str:
    with pytest.raises(InvalidSettings) as error:
        check_quantization(model, arguments, gpu)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with packed weights, as AutoGPTQ and AutoAWQ wrote it, without a word on how it is quantized."""
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        (tmp_path / name).write_text("{}")
    packed = {"qweight": np.zeros((4, 8), dtype=np.int32), "scales": np.zeros((2, 8), dtype=np.float16)}
    save_file(packed, tmp_path / "model.safetensors")
    return tmp_path


# The model says how it is.


@pytest.mark.parametrize(
    ("model", "asked"), [("gptq", "awq"), ("awq", "gptq_marlin"), ("awq", "fp8"), ("compressed-tensors", "gptq")]
)
def test_another_method_than_the_models_own_is_refused_with_both(model: str, asked: str) -> None:
    assert refusal(quantized(model), quantization=asked) == (
        f"VLLM_CONFIG: quantization '{asked}' is not for '/models/qwen-{model}', which is quantized with '{model}' already "
        "(config.json); leave it out: the model says itself how"
    )


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("awq", "awq"),
        ("awq", "awq_marlin"),
        ("awq", "AWQ"),
        ("gptq", "gptq_marlin"),
        ("gptq", "marlin"),
        ("gptq", "moe_wna16"),
        ("awq", "humming"),
        ("auto-round", "gptq"),
        ("modelopt", "fp8"),
        ("compressed_tensors", "compressed-tensors"),
    ],
)
def test_what_vllm_takes_for_the_same_format_or_decides_itself_is_let_through(model: str, asked: str) -> None:
    check_quantization(quantized(model), {"quantization": asked}, A10)


@pytest.mark.parametrize("model", ["awq", "gptq", "fp8", "compressed-tensors"])
def test_a_quantized_model_needs_no_word_in_vllm_config(model: str) -> None:
    check_quantization(quantized(model), {}, T4)


@pytest.mark.parametrize("asked", ["awq", "gptq", "gptq_marlin", "compressed-tensors"])
def test_a_method_for_weights_that_were_quantized_beforehand_is_not_for_plain_ones(asked: str) -> None:
    assert refusal(PLAIN, quantization=asked) == (
        f"VLLM_CONFIG: quantization '{asked}' is for weights that were quantized beforehand, and those of '/models/qwen' were not; "
        "name a model that is, or set 'fp8_per_tensor', which quantizes while loading"
    )


@pytest.mark.parametrize("gpu", [A10, T4, None])
@pytest.mark.parametrize("asked", ["fp8", "fp8_per_tensor"])
def test_a_plain_model_may_be_quantized_while_it_is_loaded(asked: str, gpu: Gpu | None) -> None:
    check_quantization(PLAIN, {"quantization": asked, "dtype": "float16"}, gpu)


def test_a_vision_model_may_say_it_of_its_text_part() -> None:
    model = ModelFiles("/m", {"text_config": {"quantization_config": {"quant_method": "awq"}}}, None)
    assert quantized_beforehand(model, {}) == Quantized("awq", "config.json")


def test_what_overrides_the_models_files_leaves_the_judgement_to_vllm() -> None:
    check_quantization(PLAIN, {"quantization": "awq", "hf_overrides": {"quantization_config": {}}}, A10)


# Models from before config.json said it.


@pytest.mark.parametrize(
    ("file", "said", "method"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": False}, "gptq"),
        ("quant_config.json", {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}, "awq"),
        ("quantize_config.json", {"quant_method": "awq", "bits": 4}, "awq"),
    ],
)
def test_an_older_model_is_loaded_with_the_method_that_its_own_file_says(
    folder: Path, file: str, said: Mapping[str, object], method: str
) -> None:
    (folder / file).write_text(json.dumps(said))
    model = check_model(str(folder))
    assert refusal(model) == (
        f"model_path: '{folder}' is quantized with '{method}', which only its {file} says, and not config.json; "
        f"set quantization '{method}' in VLLM_CONFIG"
    )
    check_quantization(model, {"quantization": method}, A10)
    other = "awq" if method == "gptq" else "gptq"
    assert f"which is quantized with '{method}' already ({file})" in refusal(model, quantization=other)


def test_an_older_file_that_is_damaged_is_named(folder: Path) -> None:
    (folder / "quantize_config.json").write_text("<html>")
    said = refusal(check_model(str(folder)))
    assert said.startswith(f"model_path: '{folder}/quantize_config.json' cannot be read (Expecting value")


def test_a_hub_ids_older_file_is_found_in_the_cache(tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--qwen-gptq"
    snapshot = repository / "snapshots" / "0123456789012345678901234567890123456789"
    snapshot.mkdir(parents=True)
    (snapshot / "quantize_config.json").write_text('{"bits": 4}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    model, cache = ModelFiles("someone/qwen-gptq", {}, None), str(tmp_path)
    assert quantized_beforehand(model, {"download_dir": cache}) == Quantized("gptq", "quantize_config.json")
    assert quantized_beforehand(model, {"download_dir": cache, "revision": "other"}) is None


def test_modelopts_file_is_read_by_vllm_itself(folder: Path) -> None:
    (folder / "hf_quant_config.json").write_text('{"producer": {"name": "modelopt"}}')
    check_quantization(check_model(str(folder)), {}, A10)


def test_the_worker_is_told_before_it_loads_vllm(folder: Path) -> None:
    (folder / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    settings = Settings(model_path=str(folder), engine_config={"quantization": "awq"})
    with pytest.raises(InvalidSettings, match="which is quantized with 'gptq' already"):
        engine_arguments(settings)


# The card and the type of numbers.


def test_a_t4_has_no_bfloat16_and_is_told_what_it_has() -> None:
    assert refusal(PLAIN, T4, dtype="bfloat16") == (
        "VLLM_CONFIG: dtype 'bfloat16' needs a card of compute capability 8.0, Tesla T4 has 7.5; leave it out, or write 'float16'"
    )
    check_quantization(PLAIN, {"dtype": "bfloat16"}, A10)
    check_quantization(PLAIN, {}, T4)  # vLLM takes float16 by itself


@pytest.mark.parametrize("model", [quantized("awq"), quantized("gptq")])
def test_a_card_older_than_a_t4_runs_no_packed_weights(model: ModelFiles) -> None:
    assert "needs a card of compute capability 7.5, Tesla V100 has 7.0; name a smaller model" in refusal(model, V100)


def test_fp8_while_loading_is_for_a_t4_and_newer() -> None:
    assert "quantization 'fp8' needs a card of compute capability 7.5" in refusal(PLAIN, V100, quantization="fp8")


def test_a_card_that_does_not_say_what_it_can_is_left_to_vllm() -> None:
    check_quantization(quantized("awq"), {"dtype": "bfloat16"}, Gpu("some card", 8 * GIB, 8 * GIB))


def test_packed_weights_are_not_computed_with_in_32_bits() -> None:
    said = "VLLM_CONFIG: dtype 'float32' is not for 'awq', which computes in 16 bits; leave dtype out"
    assert refusal(quantized("awq"), None, dtype="float32") == said
    check_quantization(quantized("compressed-tensors"), {"dtype": "float32"}, None)


# bitsandbytes, which vLLM has had from a plugin since 0.28.


@pytest.mark.parametrize(
    ("vllm", "package"), [("0.27.1", "bitsandbytes"), ("0.28.0", "vllm-bnb-plugin"), ("0.33.0", "vllm-bnb-plugin")]
)
@pytest.mark.parametrize(
    ("model", "arguments"), [(PLAIN, {"quantization": "bitsandbytes"}), (quantized("bitsandbytes"), {})]
)
def test_bitsandbytes_names_the_package_that_this_vllm_needs(
    vllm: str, package: str, model: ModelFiles, arguments: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "version", lambda _: vllm)
    assert refusal(model, **arguments) == (
        f"VLLM_CONFIG: quantization 'bitsandbytes' needs {package}, which is not installed; run: pip install {package}"
    )
    monkeypatch.setattr(quantization, "find_spec", lambda name: name == package.replace("-", "_") or None)
    check_quantization(model, arguments, A10)


def test_bitsandbytes_is_not_for_a_model_that_is_quantized_already() -> None:
    assert "is quantized with 'gptq' already" in refusal(quantized("gptq"), quantization="bitsandbytes")


# Names that vLLM does not have.


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        ("squeezellm", "name the same model in AWQ or GPTQ, and leave quantization out"),
        ("int8", "write 'fp8_per_tensor'"),
        ("gptqmarlin", "write 'gptq_marlin', or leave it out"),
        ("xyzzy", "leave it out"),
    ],
)
def test_a_name_that_vllm_dropped_or_never_had_is_answered_with_todays(asked: str, fix: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        check_method(PLAIN, {"quantization": asked}, KNOWN, "0.32.0")
    assert str(error.value) == f"VLLM_CONFIG: quantization '{asked}' is not one of vLLM 0.32.0; {fix}"


def test_marlin_is_a_name_for_packed_weights_alone() -> None:
    check_method(quantized("gptq"), {"quantization": "marlin"}, KNOWN, "0.32.0")
    with pytest.raises(InvalidSettings, match="write 'gptq_marlin' or 'awq_marlin'"):
        check_method(PLAIN, {"quantization": "marlin"}, KNOWN, "0.32.0")


def test_a_model_in_a_format_that_vllm_dropped_is_said_so() -> None:
    with pytest.raises(InvalidSettings) as error:
        check_method(quantized("hqq"), {}, KNOWN, "0.32.0")
    assert str(error.value) == (
        "model_path: '/models/qwen-hqq' is quantized with 'hqq', no method of vLLM 0.32.0; name the same model in AWQ or GPTQ"
    )
    check_method(quantized("hqq"), {}, [*KNOWN, "hqq"], "0.32.0")  # a plugin brings it


# The sum of the memory.

#: Numbers of Qwen2.5-VL-7B: 8.29 billion, of which words' vectors, before and behind the layers, are 1.09 billion.
NUMBERS, VECTORS = 8_292_166_656, 2 * 152_064 * 3_584
QWEN = {"vocab_size": 152_064, "hidden_size": 3_584, "tie_word_embeddings": False}


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({}, 2 * NUMBERS),
        ({"quantization": "fp8"}, NUMBERS + VECTORS),
        ({"quantization": "fp8_per_tensor"}, NUMBERS + VECTORS),
        ({"quantization": "bitsandbytes"}, (NUMBERS - VECTORS) // 2 + 2 * VECTORS),
        ({"quantization": "int8_per_channel_weight_only"}, (NUMBERS - VECTORS) // 2 + 2 * VECTORS),
        ({"quantization_config": {"linear": "fp8_per_tensor"}}, (NUMBERS - VECTORS) // 2 + 2 * VECTORS),
    ],
)
def test_what_is_quantized_while_loading_counts_as_it_is_kept_and_the_words_vectors_in_full(
    arguments: Mapping[str, Any], size: int
) -> None:
    model = ModelFiles("/models/qwen", QWEN, {"BF16": 2 * NUMBERS})
    assert memory_needed(model, arguments).weights_bytes == size


def test_words_vectors_that_serve_at_both_ends_count_once() -> None:
    model = ModelFiles("/m", {"text_config": QWEN, "tie_word_embeddings": True}, {"BF16": 2 * NUMBERS})
    assert memory_needed(model, {"quantization": "fp8"}).weights_bytes == NUMBERS + VECTORS // 2


@pytest.mark.parametrize("arguments", [{}, {"quantization": "gptq"}, {"quantization": "gptq_marlin"}])
def test_packed_weights_count_as_they_are_stored(folder: Path, arguments: Mapping[str, Any]) -> None:
    """32 packed numbers of 4 bytes and 16 scales of 2 bytes, whichever file says how they are quantized."""
    (folder / "quantize_config.json").write_text('{"bits": 4}')
    model = check_model(str(folder))
    assert model.weights == {"I32": 128, "F16": 32}
    assert memory_needed(model, arguments).weights_bytes == 160


def test_weights_that_are_stored_in_fp8_count_one_byte_a_number() -> None:
    model = ModelFiles("/m", {"quantization_config": {"quant_method": "fp8"}}, {"F8_E4M3": 7 * GIB, "BF16": 2 * GIB})
    assert memory_needed(model, {"quantization": "fp8"}).weights_bytes == 9 * GIB
