"""Whether the card, its driver and its memory are enough for what the settings want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from config import Settings
from pipeline.llm.engine_arguments import card_for, check_cards, check_numbers, preset_arguments
from pipeline.llm.gpu import GIB, Gpu
from pipeline.llm.memory import MemoryNeeded, check_memory, memory_needed
from pipeline.llm.model_folder import ModelFiles
from pipeline.llm.presets import describe_preset, preset_for
from pipeline.llm.quantization import check_quantization, method_asked_for, quantized_beforehand
from vidask.errors import InvalidSettings, VidaskError
from worker.doctor.device import Device, Process
from worker.doctor.findings import Finding, NotLookedAt, failed, failed_with, given, ok, warning

#: What a step needs for itself and CUDA graphs; vLLM measures it when it starts (`pipeline.llm.presets`).
_STEP_BYTES = int(1.5 * GIB)
_ROUND_TOKENS = 256
_SHOWN_PROCESSES = 4
_UPDATE = "update the NVIDIA driver to one for CUDA {} or newer"


def gpu(device: Device | VidaskError, *, wanted_by: str) -> Finding:
    """That there is a card, where something computes on one.

    Args:
        device: what was found.
        wanted_by: the setting that wants a card, or nothing.
    """
    if not wanted_by and isinstance(device, VidaskError):
        msg = "nothing in the settings computes on a GPU"
        raise NotLookedAt(msg)
    card = given(device).gpu
    return ok(f"{card.name}, {_gib(card.total_bytes)}, {_gib(card.free_bytes)} free")


def driver(device: Device, built_for: tuple[int, int] | None) -> Finding:
    """That the driver runs the CUDA that torch, and with it vllm, was built for."""
    if built_for is None:
        msg = "the torch that is installed computes on the CPU"
        raise NotLookedAt(msg)
    built, runs = _version(built_for), _version(device.cuda)
    said = f"driver {device.driver} runs CUDA up to {runs}, torch was built for {built}"
    if device.cuda >= built_for:
        return ok(said)
    if device.cuda[0] == built_for[0]:
        return warning(f"{said}: most works, what is compiled on the card does not", _UPDATE.format(built))
    return failed(said, f"{_UPDATE.format(built)}, or install a vllm built for CUDA {device.cuda[0]}")


def engine(settings: Settings, model: ModelFiles, cards: Sequence[Gpu]) -> Finding:
    """What vLLM would be started with, and that the model and the cards go with it.

    Args:
        settings: of the worker.
        model: its files.
        cards: those that are visible; none where vLLM computes on the CPU.
    """
    config = settings.engine_config
    check_numbers(config)
    check_cards(config, cards)
    gpu = card_for(config, cards)
    check_quantization(model, config, gpu)
    arguments = preset_arguments(settings, model.config, gpu) | config
    said = describe_preset(preset_for(settings.gpu_profile, gpu), gpu, arguments, config)
    return ok(f"{said}; {_quantization(model, config)}")


def _quantization(model: ModelFiles, config: Mapping[str, Any]) -> str:
    if own := quantized_beforehand(model, config):
        return f"the model is quantized beforehand ({own.method or 'unnamed'}, says its {own.said_in})"
    asked = method_asked_for(config)
    return f"the model is quantized while it is loaded ({asked})" if asked else "the model is not quantized"


def memory(model: ModelFiles, arguments: Mapping[str, Any], device: Device) -> Finding:
    """That weights and KV cache have room on the card, and what has room besides.

    Args:
        model: whose weights and layers count.
        arguments: the engine's, from preset and `VLLM_CONFIG`.
        device: the card, and who else computes there.
    """
    _check_known(model, arguments)
    needed, share = memory_needed(model, arguments), float(arguments["gpu_memory_utilization"])
    try:
        check_memory(model, needed, device.gpu, share)
    except InvalidSettings as error:
        found = failed_with(error)
        return failed(f"{found.said}{_others(device.processes)}", found.fix)
    room = int(device.gpu.total_bytes * share) - needed.weights_bytes
    said = f"weights {_gib(needed.weights_bytes)}, {_gib(room)} left of {_gib(int(device.gpu.total_bytes * share))}"
    if not needed.token_bytes or not needed.max_model_len:
        return ok(f"{said} for the KV cache; vLLM finds out how many tokens that is")
    return _cache(said, needed, room, int(arguments["max_num_seqs"]))


def _check_known(model: ModelFiles, arguments: Mapping[str, Any]) -> None:
    if model.weights is None:
        msg = "the weights are in no folder that is named here, and their size is not known"
        raise NotLookedAt(msg)
    if "kv_cache_memory_bytes" in arguments:
        msg = "VLLM_CONFIG has kv_cache_memory_bytes, and vLLM itself looks whether that fits"
        raise NotLookedAt(msg)


def _cache(said: str, needed: MemoryNeeded, room: int, sequences: int) -> Finding:
    """What the KV cache holds of so many sequences. Too few is no harm while one fits: the others wait."""
    tokens = max(0, room - _STEP_BYTES) // needed.token_bytes
    longest = needed.max_model_len
    wants = (
        f"{sequences} sequences of {longest:,} tokens want {_gib(needed.token_bytes * longest * sequences)} of KV cache"
    )
    if tokens < longest:
        return warning(
            f"{said}; a step takes about {_gib(_STEP_BYTES)} of that, and then not one sequence fits", _fitting(tokens)
        )
    full = tokens // longest
    if full >= sequences:
        return ok(f"{said}; {wants}, which fits")
    return ok(
        f"{said}; {wants}, {tokens:,} tokens fit: {full} at full length, {tokens // sequences:,} tokens each for all"
    )


def _fitting(tokens: int) -> str:
    length = tokens // _ROUND_TOKENS * _ROUND_TOKENS
    if not length:
        return "name a quantized model (AWQ, GPTQ) or a smaller one"
    return f"lower max_model_len in VLLM_CONFIG to at most {length:,}, or name a smaller model"


def _others(processes: Sequence[Process]) -> str:
    """Who has the memory, largest first."""
    if not processes:
        return ""
    largest = sorted(processes, key=lambda process: -process.used_bytes)[:_SHOWN_PROCESSES]
    shown = [f"{each.name or 'process'} {each.pid} ({_gib(each.used_bytes)})" for each in largest]
    more = f" and {len(processes) - len(shown)} more" if len(processes) > len(shown) else ""
    return f"; on the card are {', '.join(shown)}{more}"


def _version(cuda: tuple[int, int]) -> str:
    return f"{cuda[0]}.{cuda[1]}"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def wants_gpu(backend_with_vllm: str, embedding_device: str, *, vllm_for_cpus: bool) -> str:
    """The setting that computes on a card, or nothing."""
    if backend_with_vllm and not vllm_for_cpus:
        return "llm_backend"
    return "embedding_device" if embedding_device.startswith("cuda") else ""
