"""What stands in the place of a language model that did not start, while others answer."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult

from vidask.errors import ModelUnavailable


class AbsentChatModel(BaseChatModel):
    """Fails every call, and says why. `takes_images` is whether the model would, as far as that is known."""

    model_name: str
    reason: str
    takes_images: bool

    @property
    def _llm_type(self) -> str:
        return "absent"

    def _generate(
        self,
        messages: list[BaseMessage],  # noqa: ARG002  LangChain's signature
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        raise ModelUnavailable(self.reason, passes=False)
