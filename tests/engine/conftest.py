"""A real engine on the CPU: the tiny model, and the environment that vLLM needs here."""

import json
import os
from pathlib import Path

import pytest

from tests.engine.tiny_model import make_tiny_model

ON_THE_CPU = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several engines share the cores
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
#: The model in the EngineCore's own process, as on one GPU. By itself vLLM's CPU build puts it into another one, which takes ten
#: seconds more to start; "mp" does so anywhere.
IN_ONE_PROCESS = {"distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor"}
VLLM_CONFIG = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 8192,
    "max_num_seqs": 16,
    **IN_ONE_PROCESS,
}

os.environ.update(ON_THE_CPU)  # for the engines of this process: vllm reads some of it when it is imported


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that vLLM loads; `tests.engine.tiny_model` says what it can do."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def engine_env(tiny_model: Path) -> dict[str, str]:
    """What a worker's environment needs beside its usual, to hold an engine with the tiny model."""
    return ON_THE_CPU | {"VLLM_MODEL_PATH": str(tiny_model), "VLLM_CONFIG": json.dumps(VLLM_CONFIG)}
