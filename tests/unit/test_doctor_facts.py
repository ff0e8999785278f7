"""What `python -m worker doctor` finds out by itself: of packages, of the hub, and from one fact to the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from config import Settings
from pipeline.llm.gpu import GIB, Gpu
from pipeline.llm.model_folder import ModelFiles
from tests.hub import Hub, running_hub
from vidask.errors import InvalidSettings
from worker.doctor import models, packages
from worker.doctor.checks import checks_of
from worker.doctor.device import Device
from worker.doctor.facts import Facts
from worker.doctor.findings import Status
from worker.doctor.packages import Installed

NAME = "someone/model"
A10 = Device(Gpu("NVIDIA A10", 23028 * 1024**2, 22 * GIB), "550.54.15", (12, 4))
QWEN = ModelFiles(
    "Qwen2.5-VL-7B",
    {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584},
    {"BF16": int(15.4 * GIB)},
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with running_hub(NAME, {"config.json": b"{}"}) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        yield hub


def test_a_hub_that_has_the_model_and_one_that_has_not(hub: Hub) -> None:
    assert models.hub(NAME).said == f"{hub.url} has '{NAME}'"
    other = models.hub("someone/else")
    assert (other.status, other.said) == (
        Status.FAILED,
        f"{hub.url}: it has no model 'someone/else' for you, and the model is not in the cache",
    )


@pytest.mark.usefixtures("hub")
def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert models.hub(NAME).said.startswith(
        "http://127.0.0.1:9: it does not answer (ConnectError), and the model is not"
    )


def test_a_vllm_that_cannot_be_imported_says_why_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after something was installed over its libraries."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise ImportError('_C.abi3.so: undefined symbol: _ZN3c10')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert packages.import_vllm() == "ImportError: _C.abi3.so: undefined symbol: _ZN3c10"


def test_a_vllm_that_ends_its_process_or_hangs_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = tmp_path / "vllm.py"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    vllm.write_text("import os; os.abort()")
    assert packages.import_vllm() == "its process ended with status -6"
    vllm.write_text("import signal; signal.pause()")
    monkeypatch.setattr(packages, "_IMPORT_LIMIT_S", 1.0)
    assert packages.import_vllm() == "it took more than 1 s"


@pytest.mark.parametrize(
    ("line", "cuda"), [("cuda: Optional[str] = '12.8'", (12, 8)), ("cuda: Optional[str] = None", None)]
)
def test_the_cuda_of_torch_is_read_without_importing_it(
    line: str, cuda: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(f"from typing import Optional\n\n__version__ = '2.11.0'\n{line}\n")
    monkeypatch.setattr(packages, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert packages.cuda_of_torch() == cuda


@pytest.fixture
def server() -> Facts:
    """A host with a card on which a 7B is to run; what it would find out is given."""
    facts = Facts()
    settings = Settings(model_path=NAME, engine_config={"max_num_seqs": 4}, pictures_path=Path("data"))
    vllm = Installed({"vllm": "0.32.0"}, {})
    vars(facts).update(settings_read=settings, device=A10, cards=[A10.gpu], model=QWEN, installed=vllm)
    return facts


def test_the_memory_is_summed_with_the_preset_of_the_card_and_vllm_config_over_it(server: Facts) -> None:
    assert checks_of(server)["memory"]().said == (
        "weights 15.4 GiB, 4.8 GiB left of 20.2 GiB; 4 sequences of 16,384 tokens want 3.5 GiB of KV cache, 62,529 tokens fit: "
        "3 at full length, 15,632 tokens each for all"
    )


def test_the_engine_is_said_with_the_preset_of_the_card_and_vllm_config_over_it(server: Facts) -> None:
    assert checks_of(server)["engine"]().said == (
        "preset 24gb (NVIDIA A10, 22.5 GiB): max_model_len=16384, gpu_memory_utilization=0.9; from VLLM_CONFIG: max_num_seqs=4; "
        "why: a 7B in bf16 leaves 3.3 GiB of KV cache, about 23 questions at once; the model is not quantized"
    )


def test_a_model_that_is_spread_over_cards_has_to_fit_on_the_smallest(server: Facts) -> None:
    small = replace(A10.gpu, name="NVIDIA GeForce RTX 3060", total_bytes=12 * GIB, free_bytes=12 * GIB)
    spread = Settings(model_path=NAME, engine_config={"tensor_parallel_size": 2, "max_model_len": 262_144})
    vars(server).update(cards=[A10.gpu, small], settings_read=spread)
    assert "gpu_memory_utilization 0.9 of NVIDIA GeForce RTX 3060 (12.0 GiB)" in checks_of(server)["memory"]().said


def test_cards_that_are_wanted_but_not_visible_are_missed_by_the_engine(server: Facts) -> None:
    vars(server).update(settings_read=Settings(model_path=NAME, engine_config={"tensor_parallel_size": 2}))
    with pytest.raises(InvalidSettings, match="tensor_parallel_size 2 needs 2 cards, 1 is visible"):
        checks_of(server)["engine"]()


def test_a_server_with_a_card_is_looked_at_as_one(server: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "cuda_of_torch", lambda: (12, 4))
    monkeypatch.setattr(packages, "import_vllm", lambda: "")
    checks = checks_of(server)
    assert checks["gpu"]().said == "NVIDIA A10, 22.5 GiB, 22.0 GiB free"
    assert checks["driver"]().status is Status.OK
    assert checks["vllm"]().said == "vllm 0.32.0, can be imported"
    assert checks["disk"]().status is Status.OK


def test_the_python_that_runs_is_compared_with_what_is_installed() -> None:
    assert checks_of(Facts())["python"]().said == f"Python {'.'.join(map(str, sys.version_info[:3]))}"
