"""Language models, by the name of their backend."""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel

from config import Settings
from pipeline.llm.extractive import ExtractiveChatModel


def load_llm(settings: Settings) -> BaseChatModel:
    """The language model that the settings name."""
    match settings.llm_backend:
        case "extractive":
            return ExtractiveChatModel()
