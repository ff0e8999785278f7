"""What vLLM and torch say when they cannot start, and what a person is told. The sentences are those of vLLM 0.26 and 0.32."""

from __future__ import annotations

import re

import pytest

from pipeline.llm.start_errors import explain

SEEN = [
    (
        (
            "Free memory on device cuda:0 (3.1/22.5 GiB) on startup is less than desired GPU memory utilization (0.9, 20.25 GiB). "
            "Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
        "gpu_memory_utilization 0.9 is 20.25 GiB of the GPU, but only 3.1 of 22.5 GiB are free; .* lower gpu_memory_utilization",
    ),
    (
        (
            "To serve at least one request with the model's max seq len (131072), (7.0 GiB KV cache is needed, which is larger "
            "than the available KV cache memory (3.2 GiB). "
            "Based on the available memory, the estimated maximum model length is 59904. "
            "Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing "
            "`max_model_len` when initializing the engine. See https://docs.vllm.ai/ for more details."
        ),
        "max_model_len 131072 tokens needs 7.0 GiB of KV cache, and 3.2 GiB are left; lower max_model_len to at most 59904",
    ),
    (
        (
            "To serve at least one request with the model's max seq len (8192), (0.4 GiB KV cache is needed, which is larger "
            "than the available KV cache memory (0.0 GiB). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
        ),
        "needs 0.4 GiB of KV cache, and 0.0 GiB are left; lower max_model_len, or name a quantized model",
    ),
    (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        "leaves no memory for the KV cache; raise gpu_memory_utilization, or name a quantized model",
    ),
    (
        "CUDA out of memory. Tried to allocate 260.00 MiB. GPU 0 has a total capacity of 14.56 GiB of which 90.81 MiB is free.",
        r"the GPU \(14.56 GiB\) is full, and 260.00 MiB more are needed; lower max_num_seqs, .* or name a quantized model",
    ),
    ("Failed to infer device type, please set the environment variable", "'vllm' finds no GPU that works .*nvidia-smi"),
    (
        (
            "Available memory on node 0 (7.46/13.09 GiB) on startup is less than desired CPU memory utilization (0.92, 12.04 GiB). "
            "On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU memory reserved."
        ),
        "the engine wants 12.04 GiB, but only 7.46 of 13.09 GiB of memory are free; set it to fewer GiB",
    ),
    ("No CUDA GPUs are available", "'vllm' finds no GPU that works"),
    (
        (
            "The repository /m contains custom code which must be executed to correctly load the model. Please pass the argument "
            "`trust_remote_code=True` to allow custom code to be run."
        ),
        "'/m' brings Python code of its own; read it, and set VIDASK_TRUST_REMOTE_CODE=true",
    ),
    (
        "Model architectures ['OracleForAll'] are not supported for now. Supported architectures: dict_keys([...])",
        r"does not run '/m' \('OracleForAll'\); name a chat model that it supports",
    ),
    ("This model does not support `--runner generate`.", "'/m' writes no text .*; name a chat model"),
    (
        "nobody has\nseen this\n" + 900 * "x",
        r"the engine did not start on '/m' \(nobody has seen this x+…\); vLLM's log says more",
    ),
]


@pytest.mark.parametrize(("reason", "told"), SEEN, ids=[told[:40] for _, told in SEEN])
def test_each_reason_is_told_in_one_line_with_the_setting_to_change(reason: str, told: str) -> None:
    line = explain(reason, model="/m")
    assert re.search(told, line)
    assert "\n" not in line
    assert len(line) < 600
