"""Language models as LangChain chat models."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from langchain_core.language_models import BaseChatModel

from config import Settings
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.loop import EventLoopThread


@contextmanager
def open_llm(
    settings: Settings, loop: EventLoopThread, *, on_death: Callable[[str], object] = lambda _: None
) -> Generator[BaseChatModel]:
    """The language model that the settings name, for as long as the block lasts.

    Args:
        settings: say which, and how it is set up.
        loop: where an engine in this process runs; the other models need none.
        on_death: called with a sentence when an engine's process has ended by itself.

    Raises:
        InvalidSettings: one line that says why there is no such model, and what to do.
    """
    match settings.llm_backend:
        case "extractive":
            yield ExtractiveChatModel()
        case "ollama":
            from pipeline.llm.remote import load_ollama  # noqa: PLC0415  each backend's package is needed for it alone

            yield load_ollama(settings)
        case "openai":
            from pipeline.llm.remote import load_openai  # noqa: PLC0415

            yield load_openai(settings)
        case "vllm":
            from pipeline.llm.vllm_backend import open_vllm  # noqa: PLC0415

            with open_vllm(settings, loop, on_death=on_death) as llm:
                yield llm
