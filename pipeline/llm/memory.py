"""Whether a model fits on the card, from its files: the least it needs, so that only what cannot work is refused.

Left out are what a step needs for itself and CUDA graphs (1 to 2 GiB for 7B): vLLM measures those, and says so where they are too
much. Of the cards that a model is spread over, the one with the least memory counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.llm.gpu import GIB, Gpu
from pipeline.llm.model_folder import ModelFiles
from pipeline.llm.quantization import AT_LOAD, method_asked_for, quantized_beforehand
from vidask.errors import InvalidSettings

_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "auto": 2}
_STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}

#: Bytes of a number at best, where the method is none of those that are reckoned with.
_LEAST_AT_LOAD = 0.5

_SMALLER_MODEL = (
    "name a quantized model (AWQ, GPTQ: a 7B takes about 7 GiB) or a smaller one, or set tensor_parallel_size"
)


@dataclass(frozen=True)
class MemoryNeeded:
    """Bytes on one card: the weights, and a token's share of the KV cache times the longest sequence.

    Attributes:
        weights_bytes: all weights as they are loaded; 0 where that is not known.
        token_bytes: KV cache of one token; 0 where it does not grow with each (other than usual attention).
        max_model_len: tokens of the longest sequence, prompt and answer.
    """

    weights_bytes: int
    token_bytes: int
    max_model_len: int

    @property
    def total_bytes(self) -> int:
        """Weights and one sequence of full length."""
        return self.weights_bytes + self.token_bytes * self.max_model_len


def memory_needed(model: ModelFiles, arguments: Mapping[str, Any]) -> MemoryNeeded:
    """The least that the engine needs on each card, with these arguments."""
    cards = int(arguments.get("tensor_parallel_size", 1)) * int(arguments.get("pipeline_parallel_size", 1))
    offloaded = int(arguments.get("cpu_offload_gb", 0) * GIB)
    weights = max(0, _weights_bytes(model, arguments) // cards - offloaded)
    longest = max(0, arguments.get("max_model_len", 0))  # -1: vLLM takes what fits
    return MemoryNeeded(weights, _token_bytes(model.config, arguments) // cards, longest)


def _weights_bytes(model: ModelFiles, arguments: Mapping[str, Any]) -> int:
    """Plain numbers are loaded in the engine's type, or quantized meanwhile; packed ones as they are."""
    number = _BYTES.get(str(arguments.get("dtype", "auto")), 2)
    stored = model.weights or {}
    plain = sum(size / _STORED[dtype] for dtype, size in stored.items() if dtype in _STORED)
    packed = sum(size for dtype, size in stored.items() if dtype not in _STORED)
    if not _is_quantized_at_load(model, arguments):
        return int(plain * number) + packed
    kept = min(plain, _embedding_numbers(model.config))
    quantized = AT_LOAD.get(method_asked_for(arguments), _LEAST_AT_LOAD)
    return int(kept * number + (plain - kept) * quantized) + packed


def _is_quantized_at_load(model: ModelFiles, arguments: Mapping[str, Any]) -> bool:
    wanted = method_asked_for(arguments) or arguments.get("quantization_config")
    return bool(wanted) and quantized_beforehand(model, arguments) is None


def _embedding_numbers(config: Mapping[str, Any]) -> int:
    """What no method quantizes while loading: the words' vectors, before the layers and, unless they are the same, behind them."""
    text = config.get("text_config", config)
    tables = 1 if config.get("tie_word_embeddings", text.get("tie_word_embeddings", True)) else 2
    return tables * text.get("vocab_size", 0) * text.get("hidden_size", 0)


def _token_bytes(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> int:
    text = config.get("text_config", config)
    layers, heads = text.get("num_hidden_layers", 0), text.get("num_attention_heads", 0)
    if not layers or not heads or _has_other_attention(text):
        return 0
    head_dim = text.get("head_dim") or text.get("hidden_size", 0) // heads
    kind = str(arguments.get("kv_cache_dtype", "auto"))
    number = 1 if kind.startswith("fp8") else _BYTES.get(str(arguments.get("dtype", "auto")), 2)
    return 2 * layers * (text.get("num_key_value_heads") or heads) * head_dim * number


def _has_other_attention(text: Mapping[str, Any]) -> bool:
    """Layers with a sliding window, a state or compressed keys: they need less, by sums of their own."""
    windowed = text.get("sliding_window") and text.get("use_sliding_window", True)
    mixed = any(kind != "full_attention" for kind in text.get("layer_types") or ())
    return bool(windowed or mixed or text.get("kv_lora_rank"))


def check_memory(model: ModelFiles, needed: MemoryNeeded, gpu: Gpu, utilization: float) -> None:
    """That the card has room.

    Args:
        model: for its name.
        needed: the least, on one card.
        gpu: the card.
        utilization: the engine's share of the card, 0 to 1.

    Raises:
        InvalidSettings: one line with what is needed, what there is, and which setting to change.
    """
    share = int(gpu.total_bytes * utilization)
    if needed.total_bytes > share:
        raise InvalidSettings(
            f"model_path: {model.name!r} needs at least {_gib(needed.total_bytes)} of GPU memory "
            f"(weights {_gib(needed.weights_bytes)}, one sequence of max_model_len {needed.max_model_len:,} tokens "
            f"{_gib(needed.total_bytes - needed.weights_bytes)}), but gpu_memory_utilization {utilization} of {gpu.name} "
            f"({_gib(gpu.total_bytes)}) is {_gib(share)}; {_what_to_lower(needed, share)}"
        )
    if gpu.free_bytes < share:
        raise InvalidSettings(
            f"VLLM_CONFIG: gpu_memory_utilization {utilization} of {gpu.name} is {_gib(share)}, but only {_gib(gpu.free_bytes)} "
            f"of {_gib(gpu.total_bytes)} are free; end what else runs there, or {_lower_share(needed, gpu)}"
        )


def _what_to_lower(needed: MemoryNeeded, share: int) -> str:
    tokens = (share - needed.weights_bytes) // needed.token_bytes // 256 * 256 if needed.token_bytes else 0
    return f"lower max_model_len in VLLM_CONFIG to at most {tokens:,}" if tokens > 0 else _SMALLER_MODEL


def _lower_share(needed: MemoryNeeded, gpu: Gpu) -> str:
    if gpu.free_bytes <= needed.total_bytes:
        return _SMALLER_MODEL
    return f"lower gpu_memory_utilization in VLLM_CONFIG to at most {gpu.free_bytes * 100 // gpu.total_bytes / 100}"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
