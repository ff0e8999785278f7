"""The vLLM backend: the settings' model in an engine of this process."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from config import Settings
from pipeline.llm.engine import Engine
from pipeline.llm.engine_arguments import build_engine_args
from pipeline.llm.start_errors import start_errors
from pipeline.llm.vllm import VLLMChatModel
from pipeline.loop import EventLoopThread
from vidask.errors import InvalidSettings


@contextmanager
def open_vllm(
    settings: Settings, loop: EventLoopThread, *, on_death: Callable[[str], object] | None
) -> Generator[VLLMChatModel]:
    """The chat model, for as long as the block lasts; see `pipeline.llm.open_llm`."""
    args = build_engine_args(settings)
    with start_errors(settings):
        engine = Engine(args, loop, on_death=on_death)
    with engine:
        name = shown_name(args.model)
        yield VLLMChatModel(engine=engine, model_name=name, takes_images=_takes_images(settings, engine, name))


def _takes_images(settings: Settings, engine: Engine, name: str) -> bool:
    """As the model says, unless a vision model is to be used for text alone."""
    if settings.llm_vision and not engine.takes_images:
        raise InvalidSettings(f"llm_vision: true, but {name!r} reads text alone; leave it out, or name a vision model")
    return engine.takes_images and settings.llm_vision is not False


def shown_name(model: str) -> str:
    """What a model is called in answers: a hub id as it is; of a folder, which tells nobody else anything, the last part."""
    return Path(model).resolve().name if Path(model).exists() else model
