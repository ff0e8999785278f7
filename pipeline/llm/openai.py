"""A model at any server that speaks OpenAI's protocol: vLLM's own, llama.cpp, LM Studio, a provider."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import openai
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import SecretStr

from pipeline.llm.remote_errors import RemoteChatModel, explained
from vidask.errors import VidaskError

#: Sent to a server that asks for none, so that OPENAI_API_KEY, which is for another, is not.
NO_KEY = "none"
_TIMEOUT = openai.Timeout(600.0, connect=10.0)


class OpenAIChatModel(RemoteChatModel, BaseChatOpenAI):
    """LangChain's model for OpenAI's protocol with our errors.

    Not `ChatOpenAI`: that one sends `max_completion_tokens`, which older servers pass over, and then answer without an end.
    """

    FAILURES: ClassVar = (openai.APIError,)

    @classmethod
    def at(cls, url: str, model: str, *, api_key: SecretStr, takes_images: bool = False) -> Self:
        """The model of that name there."""
        return cls(
            base_url=url,
            model=model,
            api_key=api_key,
            timeout=_TIMEOUT,
            max_retries=0,  # the pipeline tries again by itself
            stream_usage=True,
            stream_chunk_timeout=None,  # the timeout above is enough
            use_responses_api=False,
            takes_images=takes_images,
        )

    def _explain(self, failure: Exception) -> VidaskError:
        body = getattr(failure, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        return explained(str(self.openai_api_base), getattr(failure, "status_code", None), said or failure)


def listed(reply: Any) -> list[str]:
    """The names in the answer of `/models`."""
    return [model["id"] for model in reply["data"]]
