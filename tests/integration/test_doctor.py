"""`python -m worker doctor`, on hosts with real servers: well ones, and ones on which much is wrong at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from chromadb.api import ClientAPI
from langchain_core.documents import Document
from safetensors.numpy import save_file

from config import Settings
from pipeline.chroma import open_chroma
from pipeline.store import ChromaStore
from tests.redis_users import as_worker, redis_with_users
from tests.support import wait_for
from vidask import StoreUnavailable
from worker.doctor.store import Indexed, Store, read_store
from worker.embedded import child_process, free_port, is_free

NAMES = [
    "settings",
    "python",
    "packages",
    "vllm",
    "gpu",
    "driver",
    "model",
    "hub",
    "engine",
    "memory",
    "llm server",
    "redis",
    "redis eviction",
    "redis persistence",
    "redis users",
    "chroma",
    "embedding model",
    "index",
    "disk",
    "ports",
]


@dataclass(frozen=True)
class Said:
    """What the command printed, by the names of its checks."""

    status: int
    marks: dict[str, str]
    lines: dict[str, str]


def doctor(*arguments: str, **environment: object) -> subprocess.CompletedProcess[str]:
    """On a host without a GPU that shows, and with no settings but these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VIDASK_", "VLLM_", "HF_"))}
    return subprocess.run(
        [sys.executable, "-m", "worker", "doctor", *arguments],
        env=clean | {"CUDA_VISIBLE_DEVICES": ""} | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=600,  # vLLM is imported; the command itself ends that after three minutes
        check=False,
    )


def says(**environment: object) -> Said:
    run = doctor(**environment)
    assert run.stderr == ""
    found = [line for line in run.stdout.splitlines() if not line.startswith("  → ")]
    marks = {line[2:].partition(": ")[0]: line[0] for line in found}
    return Said(run.returncode, marks, {line[2:].partition(": ")[0]: line[2:].partition(": ")[2] for line in found})


def index_a_lecture(chroma: ClientAPI) -> None:
    """With vectors of two numbers, by a model named "other"."""
    lecture = Document(id="1", page_content="A lecture.", metadata={"start_s": 0.0, "end_s": 1.0})
    ChromaStore(chroma, embedding_model="other").replace("tenant", "video", [lecture], [[1.0, 0.0]])


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Overrides the usual one: no worker reads this."""
    with redis_with_users(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder, whole as far as can be seen from outside."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        (folder / name).write_text("{}")
    save_file({"layer": np.zeros((4, 4), dtype=np.float16)}, folder / "model.safetensors")
    return folder


def test_a_laptop_with_the_defaults_is_well(redis_url: str, tmp_path: Path) -> None:
    said = says(VIDASK_REDIS_URL=as_worker(redis_url), VIDASK_CHROMA_PATH=tmp_path / "data" / "chroma")
    assert list(said.marks) == NAMES
    assert said.status == 0, said.lines
    skipped = {"gpu", "driver", "model", "hub", "engine", "memory", "llm server", "ports"}
    assert {name for name, mark in said.marks.items() if mark == "–"} == skipped
    assert {name for name, mark in said.marks.items() if mark not in "–✓"} <= {"vllm", "disk"}
    assert said.lines["redis users"] == "user 'worker' may do all that a worker does"
    assert not (tmp_path / "data").exists()


def test_a_host_with_an_engine_and_a_model_that_is_whole(redis_url: str, tmp_path: Path, model: Path) -> None:
    """The engine is vLLM's build for CPUs."""
    chroma, port = tmp_path / "chroma", free_port()
    said = says(
        VIDASK_REDIS_URL=as_worker(redis_url),
        VIDASK_CHROMA_PATH=chroma,
        VLLM_MODEL_PATH=model,
        VIDASK_METRICS_PORT=port,
    )
    assert said.status == 0, said.lines
    assert said.lines["ports"] == f"the metrics can be shown at 127.0.0.1:{port}"
    assert said.lines["vllm"].endswith("can be imported")
    assert said.lines["model"].startswith(f"{str(model)!r}: settings, tokenizer, chat template and")
    assert said.lines["engine"] == (
        "preset cpu (no GPU): max_model_len=4096, max_num_seqs=16; why: short, to fit into VLLM_CPU_KVCACHE_SPACE=1; "
        "the model is not quantized"
    )
    assert said.lines["memory"] == "the vllm that is installed computes on the CPU"


def test_much_is_wrong_at_once_and_all_of_it_is_said(tmp_path: Path) -> None:
    settings = Settings(chroma_path=tmp_path / "chroma")
    with open_chroma(settings) as chroma:
        index_a_lecture(chroma)
    forgetful = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]
    with redis_with_users(tmp_path / "redis", arguments=forgetful) as url:
        said = says(
            VIDASK_REDIS_URL=as_worker(url),
            VIDASK_CHROMA_PATH=settings.chroma_path,
            VIDASK_REDIS_ULR=url,
            VIDASK_METRICS_PORT=urlsplit(url).port,
        )
    assert said.status == 1
    assert (
        said.marks.items()
        >= {
            "settings": "!",
            "redis": "✓",
            "redis eviction": "✗",
            "redis persistence": "!",
            "chroma": "✓",
            "index": "✗",
            "ports": "!",
        }.items()
    )
    assert (
        said.lines["index"] == "the store holds vectors of 'other' with 2 numbers, 'minilm' makes 384 numbers a vector"
    )


def test_a_chroma_server_says_what_it_holds_and_one_that_is_gone_that_it_does_not_answer(tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(chroma_url=f"http://127.0.0.1:{port}")
    program = str(Path(sys.executable).with_name("chroma"))
    with child_process([program, "run", "--path", str(tmp_path), "--port", str(port)], log=tmp_path / "log"):
        wait_for("Chroma listens", lambda: not is_free(port), limit_s=120)
        assert read_store(settings) == Store(f"http://127.0.0.1:{port}")
        with open_chroma(settings) as chroma:
            index_a_lecture(chroma)
        assert read_store(settings).indexed == {Indexed("other", 2)}
    with pytest.raises(StoreUnavailable, match="does not answer"):
        read_store(settings)


def test_nothing_answers_and_a_worker_holds_the_store(tmp_path: Path) -> None:
    settings = Settings(chroma_path=tmp_path / "chroma")
    with open_chroma(settings):
        said = says(
            VIDASK_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
            VIDASK_CHROMA_PATH=settings.chroma_path,
            VIDASK_LLM_BACKEND="ollama",
            VIDASK_LLM_MODEL="qwen2.5vl:7b",
            VIDASK_LLM_URL=f"http://127.0.0.1:{free_port()}",
            VIDASK_EMBEDDING_MODEL=tmp_path / "nothing",
        )
    assert said.status == 1
    assert [name for name, mark in said.marks.items() if mark == "✗"] == ["llm server", "redis", "embedding model"]
    assert said.marks["chroma"] == "!"
    assert said.lines["redis eviction"] == said.lines["redis persistence"] == "Redis does not answer"
    assert said.lines["index"] == "Chroma could not be opened"


def test_settings_that_cannot_be_read_leave_the_rest_out_and_json_says_the_same() -> None:
    run = doctor("--json", VIDASK_LLM_BACKEND="vlm")
    assert (run.returncode, run.stderr) == (1, "")
    found = {each["check"]: each for each in map(json.loads, run.stdout.splitlines())}
    assert list(found) == NAMES
    assert found["settings"]["status"] == "failed"
    assert found["settings"]["said"].startswith("llm_backend: 'vlm' is not one of")
    assert found["redis"] == {"check": "redis", "status": "skipped", "said": "the settings cannot be read", "fix": ""}
    assert found["python"]["status"] == "ok"


@pytest.mark.parametrize("module", ["chromadb", "langchain_core"])
def test_an_environment_that_lacks_a_package_is_told_which(module: str) -> None:
    """Without it most checks cannot even be imported."""
    script = f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_module('worker', run_name='__main__')"
    run = subprocess.run(
        [sys.executable, "-c", script, "doctor"], capture_output=True, text=True, timeout=300, check=False
    )
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout.startswith(f"✗ packages: {module}")
    assert "cannot be imported\n  → make a new environment" in run.stdout
