"""Several language models for one question: where the first does not answer, the next one does."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from vidask.errors import ModelUnavailable, one_line
from vidask.models import Answer, AskJob

log = logging.getLogger(__name__)


class FailoverChain(Runnable[AskJob, Answer]):
    """Chains with a language model each, asked in their order until one answers.

    Each begins at the beginning, with the prompts, pictures and sampling that suit its model, and `Answer.model` is its own. A
    chain that fails has tried again by then, as patiently as it does alone. What somebody has read of its answer is void.

    `with_fallbacks` would do the same, but tells neither the log nor who reads along.

    Args:
        chains: by the names that stand in the log; each raises `ModelUnavailable` where its model does not answer.
    """

    def __init__(self, chains: Mapping[str, Runnable[AskJob, Answer]]) -> None:
        self._chains = chains
        self._away: set[str] = set()

    def invoke(self, input: AskJob, config: RunnableConfig | None = None, **_: Any) -> Answer:  # noqa: A002
        """Answer one question.

        Raises:
            ModelUnavailable: of the last one.
        """
        failures: list[ModelUnavailable] = []
        for name, chain in self._chains.items():
            with self._trying(name, failures):
                return chain.invoke(input, config)
        raise failures[-1]

    async def ainvoke(self, input: AskJob, config: RunnableConfig | None = None, **_: Any) -> Answer:  # noqa: A002
        """`invoke`, asynchronous; cancelling this stops the model."""
        failures: list[ModelUnavailable] = []
        for name, chain in self._chains.items():
            with self._trying(name, failures):
                if failures:
                    _start_over(config)
                return await chain.ainvoke(input, config)
        raise failures[-1]

    @contextmanager
    def _trying(self, name: str, failures: list[ModelUnavailable]) -> Generator[None]:
        """Says in the log when a model goes and when it is back, not for each question between."""
        try:
            yield
        except ModelUnavailable as error:
            failures.append(error)
            if name not in self._away:
                self._away.add(name)
                log.warning("%s does not answer, %s: %s", name, self._instead(name), one_line(error))
        else:
            if name in self._away:
                self._away.discard(name)
                log.warning("%s answers again", name)

    def _instead(self, name: str) -> str:
        names = list(self._chains)
        after = names[names.index(name) + 1 :]
        return f"{after[0]} is asked instead" if after else "and nobody is left to ask"


def _start_over(config: RunnableConfig | None) -> None:
    reader = (config or {}).get("configurable", {}).get("reader")
    if reader is not None:
        reader.start_over()
