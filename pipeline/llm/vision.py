"""Whether a chat model reads pictures."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel


def takes_images(llm: BaseChatModel) -> bool:
    """Whether pictures may be handed to it.

    Our models say so in `takes_images`: an engine knows its model, and of a server's the setting `llm_vision` tells. One that says
    nothing counts as blind.
    """
    return bool(getattr(llm, "takes_images", False))


def most_images(llm: BaseChatModel) -> int | None:
    """How many pictures one prompt may have; None where the model, or its server, does not say."""
    return getattr(llm, "max_images", None)


def first_that_sees(llms: Sequence[BaseChatModel]) -> BaseChatModel:
    """The model that describes frames: no blind one in its place, which would index them without captions for good."""
    return next((llm for llm in llms if takes_images(llm)), llms[0])
