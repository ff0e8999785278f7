"""What the engine is started with where `VLLM_CONFIG` says nothing, by the memory of the card.

The sums are those of Qwen2.5-VL-7B: weights of 15.4 GiB in bf16, or 6.4 GiB as AWQ; and for each token of each running question
2 (key and value) × 28 layers × 4 heads × 128 numbers × 2 bytes = 56 KiB of KV cache. The share of the card, less the weights, less
about 1.5 GiB that a step needs for itself, is the KV cache. A question with its passages is about 2,700 tokens (148 MiB).

| preset | card          | share | weights | KV cache | questions that fit | most at once | longest       |
| ------ | ------------- | ----- | ------- | -------- | ------------------ | ------------ | ------------- |
| 80gb   | 80 GiB (H100) | 0.90  | bf16    | 55 GiB   | 380                | 256          | 32,768 tokens |
| 40gb   | 45 GiB (L40S) | 0.90  | bf16    | 24 GiB   | 160                | 256          | 32,768 tokens |
| 24gb   | 22.5 GiB (A10, L4) | 0.90 | bf16 | 3.3 GiB  | 23                 | 64           | 16,384 tokens |
| 20gb   | 20 GiB        | 0.92  | bf16    | 1.5 GiB  | 10                 | 32           | 8,192 tokens  |
| 16gb   | 15 GiB (T4)   | 0.90  | AWQ     | 5.6 GiB  | 39                 | 32           | 8,192 tokens  |

More at once than fit is no harm: vLLM starts a question when there is room for it. Fewer would leave room unused when questions are
short or a smaller model is named. A step reads 2,048 tokens of prompts at most, which is what vLLM chooses for an engine inside
another program; 80gb has 8,192, its choice for a server on such a card. 16gb has no room for 7B in bf16, and a preset does not
quantize: name a model that is quantized (AWQ, GPTQ) or smaller (Qwen2.5-VL-3B: 7 GiB). On a CPU nothing is chosen but a length
and a number that fit into `VLLM_CPU_KVCACHE_SPACE=1`. A model of less than about 3B on an 80 GB card is launched more slowly than
it computes, unless `VLLM_CONFIG` has vLLM record CUDA graphs of longer steps (`docs/benchmarks.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pipeline.llm.gpu import GIB, Gpu


@dataclass(frozen=True)
class Preset:
    """Arguments for the engine.

    Attributes:
        name: as `VIDASK_GPU_PROFILE` has it.
        min_gib: of the cards that it is for, as the driver counts them.
        why: what it comes to with Qwen2.5-VL-7B, from the table above.
        arguments: the engine's.
    """

    name: str
    min_gib: float
    why: str
    arguments: Mapping[str, Any]


def _preset(name: str, min_gib: float, why: str, **arguments: Any) -> Preset:
    return Preset(name, min_gib, why, MappingProxyType(arguments))


CPU = _preset("cpu", 0, "short, to fit into VLLM_CPU_KVCACHE_SPACE=1", max_model_len=4096, max_num_seqs=16)

#: Largest first. The driver counts up to a tenth less than the label says, where the card keeps memory for error correction.
PRESETS = (
    _preset(
        "80gb",
        70,
        "a 7B in bf16 leaves 55 GiB of KV cache, about 380 questions at once",
        max_model_len=32768,
        gpu_memory_utilization=0.90,
        max_num_seqs=256,
        max_num_batched_tokens=8192,
    ),
    _preset(
        "40gb",
        38,
        "a 7B in bf16 leaves 24 GiB of KV cache, about 160 questions at once",
        max_model_len=32768,
        gpu_memory_utilization=0.90,
        max_num_seqs=256,
    ),
    _preset(
        "24gb",
        22,
        "a 7B in bf16 leaves 3.3 GiB of KV cache, about 23 questions at once",
        max_model_len=16384,
        gpu_memory_utilization=0.90,
        max_num_seqs=64,
    ),
    _preset(
        "20gb",
        18,
        "a 7B in bf16 leaves 1.5 GiB of KV cache, about 10 questions at once",
        max_model_len=8192,
        gpu_memory_utilization=0.92,
        max_num_seqs=32,
    ),
    _preset(
        "16gb",
        0,
        "a 7B in bf16 has no room, and quantized (AWQ) leaves 5.6 GiB of KV cache, about 39 questions at once",
        max_model_len=8192,
        gpu_memory_utilization=0.90,
        max_num_seqs=32,
    ),
)


def preset_for(profile: str, gpu: Gpu | None) -> Preset:
    """The preset that the profile names; for `auto` the card's, and without a card the CPU's."""
    if gpu is None:
        return CPU
    if profile == "auto":
        return next(preset for preset in PRESETS if gpu.total_bytes >= preset.min_gib * GIB)
    return next(preset for preset in PRESETS if preset.name == profile)


def describe_preset(
    preset: Preset, gpu: Gpu | None, arguments: Mapping[str, Any], overridden: Mapping[str, Any]
) -> str:
    """One line for people: what the preset set, what was taken from `VLLM_CONFIG` in its place, and why the preset is as it is.

    Args:
        preset: the one that was taken.
        gpu: the card.
        arguments: all that the engine is started with.
        overridden: those of `VLLM_CONFIG`.
    """
    card = f"{gpu.name}, {gpu.total_bytes / GIB:.1f} GiB" if gpu else "no GPU"
    chosen = [f"{name}={arguments[name]}" for name in preset.arguments if name not in overridden]
    given = [f"{name}={arguments[name]}" for name in preset.arguments if name in overridden]
    return "; ".join(
        [
            f"preset {preset.name} ({card}): {', '.join(chosen) or 'nothing'}",
            *([f"from VLLM_CONFIG: {', '.join(given)}"] if given else []),
            f"why: {preset.why}",
        ]
    )
