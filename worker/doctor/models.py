"""Whether the models that the settings name are there: of language, in files or at a server, and of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from config import Settings
from pipeline.embeddings import MINILM, load_embeddings
from pipeline.llm.gpu import GIB
from pipeline.llm.model_folder import ModelFiles, is_hub_id
from pipeline.llm.remote import load_ollama, load_openai
from vidask.addresses import redacted
from vidask.errors import InvalidSettings, VidaskError
from worker.doctor.findings import Finding, NotLookedAt, failed, failed_with, given, ok, warning

_ANSWER_S = 10.0
_SERVED = {"ollama": load_ollama, "openai": load_openai}


def model(files: ModelFiles) -> Finding:
    """What was found of a model that is whole."""
    if not files.weights:
        return ok(
            f"{files.name!r}: settings, tokenizer and chat template are there; weights come when the engine starts"
        )
    size = sum(files.weights.values()) / GIB
    return ok(f"{files.name!r}: settings, tokenizer, chat template and {size:.1f} GiB of weights are whole")


def hub_id(name: str) -> str:
    """The name, where it is one at the hub.

    Raises:
        NotLookedAt: it is a folder.
    """
    if not is_hub_id(name):
        msg = "the model is named by its folder, and nothing is asked of the hub"
        raise NotLookedAt(msg)
    return name


def hub(name: str) -> Finding:
    """That the hub answers, and has the model; less is needed of it for a model that is in the cache."""
    cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    try:
        HfApi().model_info(name, timeout=_ANSWER_S)
    except OfflineModeIsEnabled:
        why = "HF_HUB_OFFLINE is set"
    except GatedRepoError:
        why = f"{name!r} is gated, and HF_TOKEN opens it not"
    except RepositoryNotFoundError:
        why = f"it has no model {name!r} for you"
    except HfHubHTTPError as error:
        why = f"it answers {error.response.status_code}"
    except httpx.HTTPError as error:
        why = f"it does not answer ({type(error).__name__})"
    else:
        return ok(f"{redacted(constants.ENDPOINT)} has {name!r}")
    return without_hub(name, f"{redacted(constants.ENDPOINT)}: {why}", cached=cached)


def without_hub(name: str, said: str, *, cached: bool) -> Finding:
    """What it means that the hub is of no help.

    Args:
        name: the model's id.
        said: what the hub did.
        cached: whether the model is in the cache.
    """
    if cached:
        return warning(
            f"{said}; the model is in the cache", "set VLLM_MODEL_PATH to the snapshot's folder, and nobody is asked"
        )
    fix = f"run: python -m worker download-model {name}, with HF_TOKEN or HF_ENDPOINT where they are needed"
    return failed(f"{said}, and the model is not in the cache", fix)


def llm_server(backends: Sequence[str], settings: Settings) -> Finding:
    """That the server which holds the language model answers, and has it.

    Raises:
        InvalidSettings: it does not, or has not.
        NotLookedAt: no server is asked for one.
    """
    served = next((backend for backend in backends if backend in _SERVED), None)
    if served is None:
        msg = "no server holds the language model"
        raise NotLookedAt(msg)
    _SERVED[served](settings)
    return ok(f"{settings.llm_model!r} is at {redacted(str(settings.llm_url))}")


class NotHereYet(InvalidSettings):
    """A worker will fetch the model when it starts."""


def embedding_dimension(name: str, device: str) -> int:
    """How many numbers a vector of the embedding model has; it is loaded for that, but not fetched.

    Raises:
        InvalidSettings: it cannot be loaded, or is not here yet (`NotHereYet`).
    """
    if is_hub_id(name) and name != MINILM and not isinstance(try_to_load_from_cache(name, "config.json"), str):
        raise NotHereYet(
            f"{name!r} is not in the hub's cache; run: hf download {name}, or let the worker do it at its start"
        )
    return len(load_embeddings(name, device=device).embed_query("How many numbers?"))


def embedding_model(name: str, device: str, dimension: int | VidaskError) -> Finding:
    """That the embedding model loads.

    Args:
        name: of the settings.
        device: where it is to run.
        dimension: how many numbers its vectors have.
    """
    if isinstance(dimension, NotHereYet):
        found = failed_with(dimension)
        return warning(found.said, found.fix)
    return ok(f"{name!r} loads on {device}, {given(dimension)} numbers a vector")
