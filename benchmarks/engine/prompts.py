"""Prompts as strings, for everyone who is not our worker: the pipeline's messages in the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, convert_to_openai_messages
from transformers import AutoTokenizer

from benchmarks.engine.workload import Question
from pipeline.prompts import answer_messages, contextualize_messages


class Prompts:
    """Renders the two prompts of a question."""

    def __init__(self, model: str) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)

    def rewriting(self, question: Question) -> str:
        """The prompt that asks for a question that stands alone."""
        return self.render(contextualize_messages(question.question, question.history))

    def answer(self, question: str, documents: Sequence[Document]) -> str:
        """The prompt that asks for the answer."""
        return self.render(answer_messages(question, documents))

    def render(self, messages: Sequence[BaseMessage]) -> str:
        """Any chat."""
        return self._tokenizer.apply_chat_template(
            convert_to_openai_messages(list(messages)), tokenize=False, add_generation_prompt=True
        )
