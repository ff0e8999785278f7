"""How an answer is decoded, in the words of each kind of chat model."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel

from vidask.models import Sampling


def sampling_arguments(llm: BaseChatModel, sampling: Sampling) -> dict[str, Any]:
    """What to hand to `llm.invoke` beside the messages. A model that is not known here decodes as it was set up to."""
    given = sampling.model_dump(exclude_none=True)
    match llm._llm_type:  # noqa: SLF001  LangChain's name for its kind of model
        case "vllm" | "langchain-vllm" | "openai-chat":
            return given
        case "chat-ollama":
            return {
                "options": {"num_predict" if name == "max_tokens" else name: value for name, value in given.items()}
            }
        case _:
            return {}
