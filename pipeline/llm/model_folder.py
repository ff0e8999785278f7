"""What can be wrong with a model's files, found before an engine is started on them."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidask.errors import InvalidSettings

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_CONFIGS = ("config.json", "params.json")  # the second is Mistral's own
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "tiktoken.model")
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "tekken.json")
_INDEX = "model.safetensors.index.json"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.pt", "*.pth")
_SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]

#: Load formats of vLLM that read the folder's own weights; the others bring theirs, or none.
_READ_FROM_FOLDER = ("auto", "hf", "safetensors", "pt", "npcache", "mistral")


@dataclass(frozen=True)
class ModelFiles:
    """A model whose files are there.

    Attributes:
        name: as the user named it.
        config: what `config.json` says; empty where the model has none.
        weights: bytes by type of number (`BF16`, `I32` …), from the headers of the safetensors files; None where those are
            not on this machine, or the weights are of another format.
    """

    name: str
    config: Mapping[str, Any]
    weights: Mapping[str, int] | None


def check_model(name: str, arguments: Mapping[str, Any] | None = None) -> ModelFiles:
    """Look at the files that vLLM will read. A hub id's small files are downloaded where they are not in the cache.

    Args:
        name: a folder, or a hub id.
        arguments: of the engine: `load_format`, `revision`, `download_dir`, `tokenizer` decide what has to be there.

    Raises:
        InvalidSettings: one line that says what is missing, and what to name instead.
    """
    arguments = arguments or {}
    try:
        if Path(name).exists():
            return _check_folder(name, Path(name), arguments, with_weights=True)
        if is_hub_id(name):
            folder, offline = _hub_folder(name, arguments)
            return _check_folder(name, folder, arguments, with_weights=offline)
    except PermissionError as error:
        msg = f"may not be read ({error.filename}); permit it to the worker's user (number {os.geteuid()})"
        raise _wrong(name, msg) from None
    raise _wrong(name, "does not exist; name a folder with a model, or a hub id like Qwen/Qwen2.5-VL-7B-Instruct")


def is_hub_id(name: str) -> bool:
    """Whether the hub would be asked for it: it looks like an id there, and is no path here."""
    return _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def _hub_folder(name: str, arguments: Mapping[str, Any]) -> tuple[Path, bool]:
    """The model's folder in the hub's cache with its small files in it, and whether nothing can be downloaded."""
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415  a folder needs none of it
    from huggingface_hub.errors import (  # noqa: PLC0415
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    cache, revision = arguments.get("download_dir"), arguments.get("revision")
    try:
        folder = snapshot_download(name, revision=revision, cache_dir=cache, allow_patterns=_SMALL_FILES)
    except GatedRepoError:
        raise _wrong(name, "is gated on the hub; accept its terms there, and set HF_TOKEN") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise _wrong(
            name, "is neither a folder here nor a model on the hub; correct it, or set HF_TOKEN if it is private"
        ) from None
    except LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        msg = f"is neither a folder here nor in the hub's cache, and {why}; run 'hf download {name}', or name a folder"
        raise _wrong(name, msg) from None
    return Path(folder), constants.HF_HUB_OFFLINE


def _wrong(name: str, what: str) -> InvalidSettings:
    return InvalidSettings(f"model_path: {name!r} {what}")


def _check_folder(name: str, folder: Path, arguments: Mapping[str, Any], *, with_weights: bool) -> ModelFiles:
    if folder.is_file():
        raise _wrong(name, _about_file(folder))
    files = {path.name for path in folder.iterdir()}
    _check_config(name, folder, files)
    if "tokenizer" not in arguments:
        _check_tokenizer(name, folder, files)
    config = _read_json(folder / "config.json") if "config.json" in files else {}
    read = with_weights and arguments.get("load_format", "auto") in _READ_FROM_FOLDER
    return ModelFiles(name, config, _check_weights(name, folder) if read else None)


def _about_file(file: Path) -> str:
    if file.suffix == ".gguf":
        return "is a GGUF file, which vLLM does not read; name the original model's folder, or give the file to Ollama"
    return f"is a file; name the folder that it is in: {str(file.parent)!r}"


def _check_config(name: str, folder: Path, files: set[str]) -> None:
    if files.intersection(_CONFIGS):
        return
    if "adapter_config.json" in files:
        raise _wrong(
            name, "is a LoRA adapter (adapter_config.json); merge it into its base model, and name the merged folder"
        )
    if any(file.endswith(".gguf") for file in files):
        raise _wrong(name, f"holds {_about_gguf()}")
    if "snapshots" in files:
        raise _wrong(
            name, f"is a model's place in the hub's cache; name the snapshot in it: {_newest_snapshot(folder)!r}"
        )
    if not files:
        raise _wrong(name, "is an empty folder; name one with a model")
    raise _wrong(name, "lacks config.json; name the folder that holds it beside the weights")


def _newest_snapshot(folder: Path) -> str:
    snapshots = sorted((folder / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime)
    return str(snapshots[-1] if snapshots else folder / "snapshots" / "…")


def _about_gguf() -> str:
    return "GGUF files, which vLLM does not read; name the original model's folder, or give them to Ollama"


def _check_tokenizer(name: str, folder: Path, files: set[str]) -> None:
    if not files.intersection(_TOKENIZERS):
        raise _wrong(name, "lacks a tokenizer (tokenizer.json or tokenizer.model); copy the original model's into it")
    if files.intersection(_TEMPLATES):
        return
    if "tokenizer_config.json" not in files or not _read_json(folder / "tokenizer_config.json").get("chat_template"):
        msg = (
            "has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); "
            "name a model made for chats, usually called Instruct, or copy the template into it"
        )
        raise _wrong(name, msg)


def _check_weights(name: str, folder: Path) -> Mapping[str, int] | None:
    """That all of them are there, and whole. Gives bytes by type of number."""
    if (folder / _INDEX).exists():
        shards = sorted(set(_read_json(folder / _INDEX).get("weight_map", {}).values()))
        if missing := [shard for shard in shards if not (folder / shard).exists()]:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise _wrong(
                name, f"lacks {missing[0]}{more}, named in {_INDEX}{_half_downloaded(folder)}; download it again"
            )
        return _sum(name, [folder / shard for shard in shards])
    found = [path for pattern in _WEIGHTS for path in folder.glob(pattern) if path.exists()]
    if not found:
        msg = f"lacks weights (*.safetensors){_half_downloaded(folder)}; download the model again, whole"
        raise _wrong(name, msg)
    safetensors = sorted(path for path in found if path.suffix == ".safetensors")
    return _sum(name, safetensors) if safetensors else None


def _half_downloaded(folder: Path) -> str:
    """The hub's client leaves such files in its cache, or in a hidden folder of the one it downloads to."""
    places = (folder, folder / ".cache" / "huggingface" / "download", folder.parent.parent / "blobs")
    return ", and was only half downloaded" if any(any(place.glob("*.incomplete")) for place in places) else ""


def _sum(name: str, files: list[Path]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for file in files:
        total.update(_tensors(name, file))
    return total


def _tensors(name: str, file: Path) -> Counter[str]:
    """A safetensors file begins with the length of a JSON header (8 bytes), which says where each tensor is."""
    with file.open("rb") as opened:
        length, size = int.from_bytes(opened.read(8), "little"), file.stat().st_size
        header = opened.read(length) if 2 <= length <= size else b""
    tensors = _tensors_of(header)
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    if not tensors or size < end:
        raise _wrong(name, f"has a damaged {file.name} ({size:,} bytes, which is not all of it); download it again")
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        start, stop = tensor["data_offsets"]
        sizes[tensor["dtype"]] += stop - start
    return sizes


def _tensors_of(header: bytes) -> list[dict[str, Any]]:
    try:
        return [tensor for key, tensor in json.loads(header).items() if key != "__metadata__"]
    except ValueError:
        return []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _wrong(str(path.parent), f"has a damaged {path.name} ({error}); download it again") from None
