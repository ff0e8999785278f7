"""A model at an Ollama server."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import httpx
import ollama
from langchain_ollama import ChatOllama
from pydantic import SecretStr

from pipeline.llm.remote_errors import RemoteChatModel, bearer, explained
from vidask.errors import VidaskError

#: The first question loads the model, and questions wait there for each other.
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)


class OllamaChatModel(RemoteChatModel, ChatOllama):
    """`ChatOllama` with our errors.

    How much of the prompt the model sees is up to the server (`OLLAMA_CONTEXT_LENGTH`): it cuts off the rest without a word.
    """

    FAILURES: ClassVar = (ollama.ResponseError, ConnectionError, httpx.HTTPError)

    @classmethod
    def at(cls, url: str, model: str, *, api_key: SecretStr | None, takes_images: bool = False) -> Self:
        """The model of that name there. The key is for a proxy; Ollama itself has none."""
        return cls(
            base_url=url,
            model=model,
            client_kwargs={"headers": bearer(api_key), "timeout": _TIMEOUT},
            takes_images=takes_images,
        )

    @property
    def model_name(self) -> str:
        """Where other chat models have it."""
        return self.model

    def _explain(self, failure: Exception) -> VidaskError:
        if isinstance(failure, ollama.ResponseError):
            return explained(str(self.base_url), failure.status_code, failure.error)
        return explained(str(self.base_url), None, str(failure) or type(failure).__name__)


def listed(reply: Any) -> list[str]:
    """The names in the answer of `/api/tags`."""
    return [model["name"] for model in reply["models"]]
