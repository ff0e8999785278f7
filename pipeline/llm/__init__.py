"""Language models as LangChain chat models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from langchain_core.language_models import BaseChatModel

from config import Settings
from config.settings import SERVED, Backend
from pipeline.llm.absent import AbsentChatModel
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.llm.packages import needs
from pipeline.loop import EventLoopThread
from vidask.errors import InvalidSettings

OnDeath = Callable[[str], object]

log = logging.getLogger(__name__)


@contextmanager
def open_llm(
    settings: Settings, loop: EventLoopThread, *, on_death: OnDeath = lambda _: None
) -> Generator[BaseChatModel]:
    """The language model that the settings name first, for as long as the block lasts.

    Args:
        settings: say which, and how it is set up.
        loop: where an engine in this process runs; the other models need none.
        on_death: called with a sentence when an engine's process has ended by itself.

    Raises:
        InvalidSettings: one line that says why there is no such model, and what to do.
    """
    with _open(settings.llm_backends[0], settings, loop, on_death) as llm:
        yield llm


@contextmanager
def open_llms(
    settings: Settings, loop: EventLoopThread, *, on_death: OnDeath = lambda _: None
) -> Generator[Mapping[Backend, BaseChatModel]]:
    """All that the settings name, in their order: where one does not answer, the next one does.

    Of several, one that does not start is a line in the log, and `ModelUnavailable` when it is asked; so is an engine that dies,
    and `on_death` is not called. A server that is not there yet is asked each time.

    Raises:
        InvalidSettings: one line that says why none of them starts.
    """
    backends = settings.llm_backends
    if len(backends) == 1:
        with open_llm(settings, loop, on_death=on_death) as llm:
            yield {backends[0]: llm}
        return
    llms: dict[Backend, BaseChatModel] = {}
    failed: dict[Backend, InvalidSettings] = {}
    with ExitStack() as stack:
        for backend in backends:
            try:
                llms[backend] = stack.enter_context(_open(backend, settings, loop, None))
            except InvalidSettings as error:
                failed[backend] = error
                llms[backend] = _stand_in(backend, settings, error)
        _tell(failed, backends)
        yield llms


@contextmanager
def _open(
    backend: Backend, settings: Settings, loop: EventLoopThread, on_death: OnDeath | None
) -> Generator[BaseChatModel]:
    match backend:
        case "extractive":
            yield ExtractiveChatModel()
        case "ollama" | "openai":
            yield _load(backend, settings)
        case "vllm":
            with needs("vllm"):
                from pipeline.llm.vllm_backend import open_vllm  # noqa: PLC0415  each backend's package is needed for it alone
            with open_vllm(settings, loop, on_death=on_death) as llm:
                yield llm
        case "langchain-vllm":
            with needs("vllm"):
                from pipeline.llm.langchain_vllm import open_langchain_vllm  # noqa: PLC0415
            with open_langchain_vllm(settings, alone=on_death is not None) as llm:
                yield llm


def _load(backend: Backend, settings: Settings, *, look_up: bool = True) -> BaseChatModel:
    from pipeline.llm.remote import load_ollama, load_openai  # noqa: PLC0415

    return (load_ollama if backend == "ollama" else load_openai)(settings, look_up=look_up)


def _stand_in(backend: Backend, settings: Settings, error: InvalidSettings) -> BaseChatModel:
    if backend in SERVED:
        with suppress(InvalidSettings):  # its package is missing
            return _load(backend, settings, look_up=False)
    # Whether vLLM's model sees is not known before it has started.
    sees = settings.llm_vision is not False if backend == "vllm" else bool(settings.llm_vision)
    return AbsentChatModel(model_name=backend, reason=str(error), takes_images=sees)


def _tell(failed: Mapping[Backend, InvalidSettings], backends: tuple[Backend, ...]) -> None:
    why = "; ".join(f"{backend!r}: {error}" for backend, error in failed.items())
    if len(failed) == len(backends):
        raise InvalidSettings(f"llm_backend: none of {', '.join(map(repr, backends))} starts; {why}")
    for backend, error in failed.items():
        others = ", ".join(map(repr, (other for other in backends if other not in failed)))
        log.warning("llm_backend: %r does not start, %s answers instead: %s", backend, others, error)
