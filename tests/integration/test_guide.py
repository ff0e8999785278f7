"""docs/migrate.md, taken at its word: the mistakes of older guides are made on hosts as people have them, and the answers read."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chromadb
import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.llm.presets import PRESETS
from tests.pages import ROOT, Page
from tests.redis_users import as_worker
from vidask import Client, Segment

GUIDE, DEPLOYMENT = Page(ROOT / "docs" / "migrate.md"), Page(ROOT / "docs" / "deploy-vllm.md")

#: What a guide for an app with vLLM on one card has, from the first command to the way back.
SECTIONS = [
    "install",
    "paths and mirrors",
    "configuration",
    "memory tiers",
    "quantization",
    "load errors",
    "duplicate arguments",
    "import error",
    "no CUDA",
    "out of memory",
    "slow first load",
    "download failure",
    "missing path",
    "permissions",
    "multimodal limits",
    "return to Ollama",
]

WORKER = ["celery", "-A", "worker.app", "worker"]
NO_LIBRARY = "libcudart.so.13: cannot open shared object file: No such file or directory"

#: `doctor` on a host with one card, of 24 GiB with 20 free, or with none; tests/unit/test_doctor_device.py has its driver.
DOCTOR = """
import ctypes, runpy, sys
from types import SimpleNamespace
from pipeline.llm import gpu
from tests.unit.test_doctor_device import Driver
from worker.doctor import device

def load(name):
    if not cards:
        raise OSError(name)
    return Driver()

cards = sys.argv.pop()
gpu.ctypes = device.ctypes = SimpleNamespace(**vars(ctypes) | {"CDLL": load})
runpy.run_module("worker", run_name="__main__")
"""


class Host:
    """A machine on which somebody follows a guide: its packages, its model, its Redis.

    Args:
        folder: for what is on its disk.
        redis_url: of the worker.
    """

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.packages, self.model = folder / "packages", folder / "model"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(self.packages),
            "HF_HOME": str(folder),
            "HF_HUB_OFFLINE": "1",
            "VIDASK_REDIS_URL": redis_url,
            "VIDASK_CHROMA_PATH": str(folder / "chroma"),
            "VIDASK_EMBEDDING_MODEL": "nobody/nothing",  # which takes no time to be missed
            "VLLM_MODEL_PATH": str(self.model),
        }
        self.model.mkdir()
        for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
            (self.model / name).write_text("{}")
        save_file({"layer": np.zeros((4, 4), dtype=np.float16)}, self.model / "model.safetensors")

    def install_vllm(self, *, that_raises: str = "") -> None:
        """What its package says of itself is that it is vLLM's build for GPUs; that comes before the one of the tests."""
        metadata = self.packages / "vllm-0.32.0.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n")
        if that_raises:
            (self.packages / "vllm.py").write_text(f"raise {that_raises}\n")

    def worker_says(self) -> str:
        """The line with which the worker ends."""
        done = self._run([sys.executable, "-m", *WORKER])
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        [line] = [line for line in done.stderr.splitlines() if line.startswith("vidask worker: ")]
        return line.removeprefix("vidask worker: ")

    def doctor_says(self, *, cards: str = "") -> dict[str, str]:
        """What it says does not work, with what to do, by the name of the check."""
        done = self._run([sys.executable, "-c", DOCTOR, "doctor", cards])
        assert (done.returncode, done.stderr) == (1, "")
        return dict(re.findall(r"^✗ ([^:]+): (.*\n  → .*)$", done.stdout, re.MULTILINE))

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture
def host(tmp_path: Path, idle_redis_url: str) -> Host:
    return Host(tmp_path, as_worker(idle_redis_url))


def test_without_vllm_the_worker_says_what_to_install(host: Host) -> None:
    host.install_vllm(that_raises="ModuleNotFoundError(\"No module named 'vllm'\", name='vllm')")
    assert host.worker_says().startswith("vllm is not installed (no module vllm); run: pip install ")


def test_a_vllm_whose_libraries_are_gone_is_told_by_the_worker(host: Host) -> None:
    host.install_vllm(that_raises=f"ImportError({NO_LIBRARY!r})")
    assert host.worker_says() == f"vllm does not load ({NO_LIBRARY}); install the build that fits this machine"


def test_doctor_names_broken_libraries_a_missing_driver_and_a_missing_shard_at_once(host: Host) -> None:
    host.install_vllm(that_raises=f"ImportError({NO_LIBRARY!r})")
    (host.model / "model.safetensors").rename(host.model / "model-00001-of-00002.safetensors")
    (host.model / "model.safetensors.index.json").write_text(
        '{"weight_map": {"layer": "model-00001-of-00002.safetensors", "next": "model-00002-of-00002.safetensors"}}'
    )
    assert host.doctor_says() == {
        "vllm": f"vllm 0.32.0 cannot be imported (ImportError: {NO_LIBRARY})\n  → make a new environment, and there "
        "pip install '.[worker,gpu]', without constraints.txt: it and torch come as a pair",
        "gpu": "no NVIDIA driver is here\n  → install it, and in a container start it with --gpus all",
        "model": f"model_path: '{host.model}' lacks model-00002-of-00002.safetensors, named in model.safetensors.index.json\n"
        "  → download it again",
    }


def test_a_card_that_others_use_and_a_quantization_that_the_model_lacks_are_said_with_what_would_do(host: Host) -> None:
    host.install_vllm(that_raises="ImportError('later')")
    host.environment["VLLM_CONFIG"] = '{"quantization": "awq"}'
    said = host.doctor_says(cards="one")
    assert said["memory"] == (
        "VLLM_CONFIG: gpu_memory_utilization 0.9 of NVIDIA A10 is 21.6 GiB, but only 20.0 GiB of 24.0 GiB are free; on the card "
        "are process 4194305 (3.0 GiB), process 4194306 (0.0 GiB)\n"
        "  → end what else runs there, or lower gpu_memory_utilization in VLLM_CONFIG to at most 0.83"
    )
    assert said["engine"] == (
        f"VLLM_CONFIG: quantization 'awq' is for weights that were quantized beforehand, and those of '{host.model}' were not\n"
        "  → name a model that is, or set 'fp8_per_tensor', which quantizes while loading"
    )


# What the page has a reader write.


def written_in_the_guide(name: str) -> SimpleNamespace:
    """The definitions of the block that has this one."""
    [block] = [block for block in GUIDE.blocks if block.language == "python" and f"def {name}(" in block.text]
    names: dict[str, Any] = {"__name__": "the_reader's"}
    exec(compile(block.text, block.at, "exec"), names)
    return SimpleNamespace(**names)


def test_who_closes_the_page_cancels_the_job(idle_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDASK_REDIS_URL", idle_redis_url)
    events_until_left: Callable[[int, str], AsyncIterator[str]] = written_in_the_guide("events").events_until_left

    async def open_and_close(job_id: str) -> None:
        reading = asyncio.ensure_future(anext(events_until_left(7, job_id)))
        await asyncio.sleep(0)  # it has begun
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading

    with Client(tenant="user-7") as client:
        job = client.ask("Why?", video_ids=["trees"])
        asyncio.run(open_and_close(job.id))
        assert job.status() == "cancelled"


def test_an_old_index_is_indexed_again_with_its_times(client: Client, tmp_path: Path) -> None:
    chunks = ["A decision tree asks one question after another.", "A deep tree overfits, as it memorises the noise."]
    times: list[Any] = [
        {"video_id": "trees", "start": 4.0, "end": 9.0},
        {"video_id": "trees", "start": 70.0, "end": 80.0},
    ]
    old = chromadb.PersistentClient(str(tmp_path)).create_collection("langchain", embedding_function=None)
    old.add(["1", "2"], embeddings=[[0.0, 1.0], [1.0, 0.0]], documents=chunks, metadatas=times)
    guide = written_in_the_guide("index_again")
    assert guide.old_chunks(str(tmp_path)) == {"trees": [Segment(4.0, 9.0, chunks[0]), Segment(70.0, 80.0, chunks[1])]}
    for job_id in guide.index_again(str(tmp_path), client):
        client.job(job_id).result(timeout_s=30)
    [citation] = client.ask("Why does a deep tree overfit?", video_ids=["trees"]).result(timeout_s=30).citations
    assert 70.0 <= citation.start_s < citation.end_s <= 80.0


# The tables.


def test_what_each_profile_sets_is_what_its_preset_sets() -> None:
    rows = _rows(DEPLOYMENT.text.partition("| profile | chosen from |")[2])
    names = ("max_model_len", "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")
    assert [(row[0], row[1], *row[2:6]) for row in rows] == [
        (
            f"`{preset.name}`",
            f"{preset.min_gib:g} GiB" if preset.min_gib else "any less",
            *(str(preset.arguments.get(name, "vLLM's")) for name in names),
        )
        for preset in PRESETS
    ]


def test_no_section_of_a_guide_is_missing_and_each_is_proven_by_tests_that_exist() -> None:
    table = GUIDE.text.partition("## Every section of a deployment guide")[2]
    rows = _rows(table)
    assert [row[0] for row in rows] == SECTIONS
    for _section, _by_hand, _here, proof in rows:
        tests = re.findall(r"`(tests/\w+/\w+\.py)::(\w+)`", proof)
        assert tests
        for file, name in tests:
            assert name in _tests_in(ROOT / file)


def _rows(text: str) -> list[list[str]]:
    """The cells of a text's first table, below its head."""
    table = text.partition("| --- |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[1:]]


def _tests_in(file: Path) -> set[str]:
    return {each.name for each in ast.walk(ast.parse(file.read_text())) if isinstance(each, ast.FunctionDef)}
