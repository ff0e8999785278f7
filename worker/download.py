"""`python -m worker download-model`: a model's files from the hub, looked at whole before a worker needs them.

What is whole already is not fetched again. A file whose download broke off in an earlier run begins anew; within a run it goes on
where it was.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from huggingface_hub import HfApi, ModelInfo, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from pipeline.llm.model_folder import ModelFiles, check_model
from vidask.addresses import redacted
from vidask.errors import InvalidSettings

#: How long the hub may take to say what a model consists of, seconds.
_ANSWER_S = 20.0
#: The same weights for other programs; a model's own are safetensors, or else what torch saved.
_OTHER_PROGRAMS = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.tflite", "onnx/*", "original/*"]
_SAVED_BY_TORCH = ["*.bin", "*.pt", "*.pth"]
_FULL = (errno.ENOSPC, errno.EDQUOT)


def download_model(name: str, folder: Path | None) -> Path:
    """Fetch what is missing of a model, and look at all of it. `HF_ENDPOINT`, `HF_TOKEN` and `HF_HOME` count as usual.

    Args:
        name: a hub id.
        folder: where to; None is the hub's cache.

    Returns:
        The folder to set as `VLLM_MODEL_PATH`.

    Raises:
        InvalidSettings: there is no such model, it is gated, the hub cannot be reached, the disk is full, or the model lacks
            something that vLLM needs.
    """
    with _hub_errors(name):
        repository = HfApi().model_info(name, files_metadata=True, timeout=_ANSWER_S)
        sizes = _sizes(repository)
        here = [file for file in sizes if _is_here(repository, file, sizes[file], folder)]
        _check_room(
            name, sum(sizes.values()) - sum(map(sizes.__getitem__, here)), folder or Path(constants.HF_HUB_CACHE)
        )
        fetched = Path(snapshot_download(name, local_dir=folder, allow_patterns=list(sizes)))
    check_folder(fetched)
    return fetched


def check_folder(folder: Path) -> ModelFiles:
    """Look at a model's files without asking the hub: settings, tokenizer, chat template, and every shard of the weights.

    Raises:
        InvalidSettings: one line that says what is missing or damaged.
    """
    if not folder.exists():
        raise InvalidSettings(f"{str(folder)!r} does not exist; name the folder that the model was downloaded to")
    return check_model(str(folder))


def _sizes(repository: ModelInfo) -> Mapping[str, int]:
    """The files that vLLM may read, with their bytes."""
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in repository.siblings or []}
    safe = any(file.endswith(".safetensors") for file in sizes)
    left_out = [*_OTHER_PROGRAMS, *(_SAVED_BY_TORCH if safe else [])]
    return {file: size for file, size in sizes.items() if not any(Path(file).match(pattern) for pattern in left_out)}


def _is_here(repository: ModelInfo, file: str, size: int, folder: Path | None) -> bool:
    """Whether the file is here with all its bytes. One that is not is removed: the hub's client would take it for whole."""
    found = folder / file if folder else try_to_load_from_cache(repository.id, file, revision=repository.sha)
    here = Path(found) if isinstance(found, (str, Path)) else None
    if here is None or not here.exists():
        return False
    if here.stat().st_size != size:
        here.resolve().unlink()  # in the cache a link stands for it
        return False
    return True


def _check_room(name: str, missing: int, folder: Path) -> None:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if missing > free:
        raise InvalidSettings(
            f"{name!r} needs {missing / 1e9:,.2f} GB more, but {free / 1e9:,.2f} GB are free at {there}; "
            "free space, or name a folder on another disk with --to"
        )


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """The most specific first."""
    hub = redacted(constants.ENDPOINT)
    try:
        yield
    except HFValidationError:
        what = "is no hub id; write OWNER/NAME, like Qwen/Qwen2.5-VL-7B-Instruct"
    except GatedRepoError:
        what = f"is gated at {hub}; accept its terms there, and set HF_TOKEN to a token of yours"
    except RepositoryNotFoundError:
        what = f"is no model at {hub}; correct it, or set HF_TOKEN if it is private"
    except OfflineModeIsEnabled:
        what = "is not asked for, because HF_HUB_OFFLINE is set; unset it"
    except HfHubHTTPError as error:
        what = _refused(hub, error.response.status_code)
    except (httpx.HTTPError, LocalEntryNotFoundError) as error:
        what = f"could not be fetched: {hub} does not answer ({_name(error)}); check the network, or set HF_ENDPOINT to a mirror"
    except OSError as error:
        what = _disk_or_line(error)
    else:
        return
    raise InvalidSettings(f"{name!r} {what}")


def _refused(hub: str, status: int) -> str:
    if status in (401, 403):
        return f"could not be fetched: {hub} refuses HF_TOKEN ({status}); set a token that may read it"
    return f"could not be fetched: {hub} answers {status}; try again later, or set HF_ENDPOINT to a mirror"


def _name(error: Exception) -> str:
    """The client wraps what happened to the connection."""
    return type(error.__cause__ or error).__name__


def _disk_or_line(error: OSError) -> str:
    if error.errno in _FULL:
        return "could not be stored: the disk is full; free space, or name a folder on another disk with --to"
    if error.errno is not None:
        where = error.filename or constants.HF_HUB_CACHE
        return f"could not be stored: {where} cannot be written ({os.strerror(error.errno)}); name another folder with --to"
    return "came incomplete; run the same again, which fetches what is missing"
