"""Language models that another server holds: Ollama, and any that speaks OpenAI's protocol.

What the settings name is looked up when the worker starts, so that a wrong address or a model that is not there ends it with a
line and does not fail every job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from config import Settings
from pipeline.llm.packages import needs
from pipeline.llm.remote_errors import bearer
from vidask.addresses import redacted
from vidask.errors import InvalidSettings

_LOOK_UP_S = 10.0
_SHOWN_MODELS = 10


def load_ollama(settings: Settings, *, look_up: bool = True) -> BaseChatModel:
    """The chat model that `llm_model` names at the Ollama server `llm_url`; to `look_up` is to make sure that it is there.

    Raises:
        InvalidSettings: langchain-ollama is not installed, no Ollama answers there, or it has no such model.
    """
    with needs("langchain-ollama"):
        from pipeline.llm.ollama import OllamaChatModel, listed  # noqa: PLC0415
    url, model = _server(settings)
    if look_up:
        names = _look_up(f"{url}/api/tags", "Ollama", listed, api_key=settings.llm_api_key)
        if model not in names and f"{model}:latest" not in names:
            raise InvalidSettings(f"{_no_such_model(url, model, names)}; run: ollama pull {model}")
    return OllamaChatModel.at(url, model, api_key=settings.llm_api_key, takes_images=bool(settings.llm_vision))


def load_openai(settings: Settings, *, look_up: bool = True) -> BaseChatModel:
    """The chat model that `llm_model` names at the OpenAI-compatible server `llm_url`, which mostly ends in `/v1`.

    `look_up` is as above.

    Raises:
        InvalidSettings: langchain-openai is not installed, no such server answers there, or it has no such model.
    """
    with needs("langchain-openai"):
        from pipeline.llm.openai import NO_KEY, OpenAIChatModel, listed  # noqa: PLC0415
    url, model = _server(settings)
    api_key = settings.llm_api_key or SecretStr(NO_KEY)
    if look_up:
        names = _look_up(f"{url}/models", "OpenAI-compatible server", listed, api_key=api_key)
        if model not in names:
            raise InvalidSettings(f"{_no_such_model(url, model, names)}; set VIDASK_LLM_MODEL to one of them")
    return OpenAIChatModel.at(url, model, api_key=api_key, takes_images=bool(settings.llm_vision))


def _server(settings: Settings) -> tuple[str, str]:
    """The settings see to it that both are there."""
    return str(settings.llm_url).rstrip("/"), str(settings.llm_model)


def _look_up(url: str, kind: str, listed: Callable[[Any], list[str]], *, api_key: SecretStr | None) -> list[str]:
    shown = redacted(url)
    try:
        reply = httpx.get(url, headers=bearer(api_key), timeout=_LOOK_UP_S)
        reply.raise_for_status()
        return listed(reply.json())
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        variable = "VIDASK_LLM_API_KEY" if status in (401, 403) else "VIDASK_LLM_URL"
        msg = f"{shown} answers {status}; correct {variable}"
    except httpx.HTTPError as error:
        msg = f"{shown} does not answer ({type(error).__name__}); start the {kind} or correct VIDASK_LLM_URL"
    except (LookupError, TypeError, ValueError):
        msg = f"{shown} answers something else than a list of models: no {kind}; correct VIDASK_LLM_URL"
    raise InvalidSettings(msg)


def _no_such_model(url: str, model: str, names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN_MODELS]) or "none"
    more = f" and {len(names) - _SHOWN_MODELS} more" if len(names) > _SHOWN_MODELS else ""
    return f"llm_model {model!r} is not at {redacted(url)}, which has {shown}{more}"
