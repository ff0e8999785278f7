"""What can be wrong with the model that somebody named, told before an engine is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from config import Settings
from pipeline.llm.engine_arguments import engine_arguments
from pipeline.llm.model_folder import check_model
from vidask.errors import InvalidSettings

ROOT = Path(__file__).parents[2]
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder with two shards of weights: 2 × 16 numbers."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"max_position_embeddings": 2048}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    for number, shard in enumerate(SHARDS):
        save_file({f"layer{number}": np.zeros((4, 4), dtype=np.float16)}, folder / shard)
    index = {"weight_map": dict(zip(("layer0", "layer1"), SHARDS, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def refusal(name: object, **arguments: object) -> str:
    with pytest.raises(InvalidSettings) as error:
        check_model(str(name), arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_whole_model_is_taken_and_its_weights_are_summed(model: Path) -> None:
    files = check_model(str(model))
    assert files.config == {"max_position_embeddings": 2048}
    assert files.weights == {"F16": 64}


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing") == (
        f"model_path: '{tmp_path}/nothing' does not exist; name a folder with a model, or a hub id like Qwen/Qwen2.5-VL-7B-Instruct"
    )


def test_a_file_is_answered_with_its_folder(model: Path) -> None:
    assert refusal(model / SHARDS[0]).endswith(f"is a file; name the folder that it is in: '{model}'")


def test_a_gguf_file_and_a_folder_of_them_are_for_ollama(tmp_path: Path) -> None:
    (tmp_path / "qwen-q4.gguf").touch()
    assert "is a GGUF file, which vLLM does not read" in refusal(tmp_path / "qwen-q4.gguf")
    assert "holds GGUF files, which vLLM does not read" in refusal(tmp_path)


def test_a_lora_adapter_is_called_by_its_name(model: Path) -> None:
    (model / "config.json").rename(model / "adapter_config.json")
    assert "is a LoRA adapter (adapter_config.json); merge it into its base model" in refusal(model)


def _without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def _cut_short(folder: Path) -> None:
    os.truncate(folder / SHARDS[1], 100)


def _overwritten(folder: Path) -> None:
    (folder / SHARDS[1]).write_text("version https://git-lfs.github.com/spec/v1")


def _half_downloaded(folder: Path) -> None:
    download = folder / ".cache" / "huggingface" / "download"
    download.mkdir(parents=True)
    (folder / SHARDS[1]).rename(download / "abc.incomplete")


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("<html>")


def _base_model(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (_without("config.json"), "lacks config.json; name the folder that holds it"),
        (_without("tokenizer.json"), "lacks a tokenizer (tokenizer.json or tokenizer.model)"),
        (_without(SHARDS[0]), f"lacks {SHARDS[0]}, named in model.safetensors.index.json; download it again"),
        (_without(*SHARDS), f"lacks {SHARDS[0]} and 1 more, named in"),
        (_without(*SHARDS, "model.safetensors.index.json"), "lacks weights (*.safetensors); download the model again"),
        (_half_downloaded, f"lacks {SHARDS[1]}, named in model.safetensors.index.json, and was only half downloaded"),
        (_cut_short, f"has a damaged {SHARDS[1]} (100 bytes, which is not all of it); download it again"),
        (_overwritten, f"has a damaged {SHARDS[1]} (42 bytes"),
        (_no_json, "has a damaged config.json (Expecting value"),
        (_base_model, "has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json)"),
        (_without("tokenizer_config.json"), "has no chat template"),
    ],
)
def test_what_a_folder_lacks_is_named_with_what_to_do(model: Path, broken: Callable[[Path], None], said: str) -> None:
    broken(model)
    assert f"model_path: '{model}' {said}" in refusal(model)


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "is an empty folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_the_chat_template_may_be_a_file_of_its_own(model: Path, name: str) -> None:
    _base_model(model)
    (model / name).write_text("{}")
    check_model(str(model))


def test_made_up_weights_need_no_files(model: Path) -> None:
    _without(*SHARDS)(model)
    assert check_model(str(model), {"load_format": "dummy"}).weights is None


def in_a_process_of_its_own(name: object, *, first: str = "pass", **environment: str) -> str:
    """What is said of a model in another process, which does something else first."""
    script = f"import os; from tests.unit.test_model_folder import refusal; {first}; print(refusal({str(name)!r}))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return run.stdout


def _open_to_everybody(folder: Path) -> None:
    """Lets every user into a folder, however deep pytest's workers nest it below the temporary one."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and each.stat().st_mode & 0o005 != 0o005:
            each.chmod(0o755)


@pytest.mark.parametrize("closed", ["model", "model/config.json", f"model/{SHARDS[0]}"])
def test_what_may_not_be_read_is_named(model: Path, closed: str) -> None:
    _open_to_everybody(model)
    path = model.parent / closed
    path.chmod(0)
    user = os.geteuid() or 65534  # root may read everything, and so becomes another user
    said = in_a_process_of_its_own(model, first=f"os.setuid({user})")
    assert f"may not be read ({path}); permit it to the worker's user (number {user})" in said


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached"),
    ],
)
def test_a_hub_id_that_is_not_here_and_cannot_be_fetched(tmp_path: Path, environment: dict[str, str], why: str) -> None:
    said = in_a_process_of_its_own("nobody/nothing", HF_HOME=str(tmp_path), **environment)
    assert (
        f"'nobody/nothing' is neither a folder here nor in the hub's cache, and {why}; run 'hf download nobody/nothing'"
        in said
    )


def test_a_hub_id_whose_download_was_broken_off_says_what_is_missing(model: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--nobody--half"
    snapshot = repository / "snapshots" / "0123456789012345678901234567890123456789"
    snapshot.parent.mkdir(parents=True)
    model.rename(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    (repository / "blobs").mkdir()
    (snapshot / SHARDS[1]).rename(repository / "blobs" / "abc.incomplete")
    said = in_a_process_of_its_own("nobody/half", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert (
        f"'nobody/half' lacks {SHARDS[1]}, named in model.safetensors.index.json, and was only half downloaded" in said
    )


def test_the_engine_is_given_what_vllm_config_says_over_the_preset_and_ours_over_both(model: Path) -> None:
    given = {"max_num_seqs": 4, "dtype": "float32", "limit_mm_per_prompt": {"image": 2}}
    arguments = engine_arguments(Settings(model_path=str(model), engine_config=given))
    assert arguments.items() >= given.items()
    assert (arguments["model"], arguments["scheduling_policy"]) == (str(model), "priority")
    assert (arguments["trust_remote_code"], arguments["mm_processor_cache_gb"]) == (False, 0)
    assert engine_arguments(Settings(model_path=str(model), trust_remote_code=True))["trust_remote_code"] is True


def test_the_preset_asks_for_no_longer_sequences_than_the_model_was_made_for(model: Path) -> None:
    assert engine_arguments(Settings(model_path=str(model)))["max_model_len"] == 2048


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"trust_remote_code": True},
            "VLLM_CONFIG: trust_remote_code does not belong there; .* VIDASK_TRUST_REMOTE_CODE",
        ),
        ({"model": "/m"}, "VLLM_CONFIG: model does not belong there; .* VLLM_MODEL_PATH"),
        ({"scheduling_policy": "fcfs"}, "VLLM_CONFIG: scheduling_policy 'fcfs' would let indexing go before questions"),
        (
            {"mm_processor_cache_gb": 4},
            "VLLM_CONFIG: mm_processor_cache_gb 4 would lose pictures .* leave it out .0 is set",
        ),
        ({"max_model_len": "8k"}, "VLLM_CONFIG: max_model_len '8k' is not a number of tokens"),
        ({"gpu_memory_utilization": 90}, "VLLM_CONFIG: gpu_memory_utilization 90 is not a share .* like 0.9"),
        ({"tensor_parallel_size": "2"}, "VLLM_CONFIG: tensor_parallel_size '2' is not a whole number"),
    ],
)
def test_what_does_not_belong_into_vllm_config_is_said_with_where_it_goes(
    model: Path, given: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidSettings, match=said):
        engine_arguments(Settings(model_path=str(model), engine_config=given))
