"""What the checks look at, each found when it is first asked for, and once. What could not be found is the error that says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants

from config import Settings
from config.settings import HELD
from pipeline.llm.engine_arguments import max_num_seqs, preset_arguments
from pipeline.llm.gpu import Gpu, find_gpus
from pipeline.llm.model_folder import ModelFiles, check_model, is_hub_id
from vidask.errors import VidaskError
from worker.doctor.device import Device, find_device
from worker.doctor.findings import NotLookedAt, needed
from worker.doctor.models import embedding_dimension
from worker.doctor.packages import Installed, find_installed
from worker.doctor.redis import read_info
from worker.doctor.store import Store, read_store

T = TypeVar("T")


class Facts:
    """Of this host, for the settings in the environment."""

    @cached_property
    def settings_read(self) -> Settings | VidaskError:
        """The settings."""
        return _attempt(Settings.from_environment)

    @property
    def settings(self) -> Settings:
        """The settings, where they can be read."""
        return needed(self.settings_read, "the settings cannot be read")

    @property
    def backends(self) -> tuple[str, ...]:
        """The language models that are set."""
        return self.settings.llm_backends

    @property
    def backend_with_vllm(self) -> str:
        """The one that needs vllm, or nothing."""
        return next((backend for backend in self.backends if backend in HELD), "")

    @cached_property
    def installed(self) -> Installed:
        """The packages."""
        return find_installed()

    @cached_property
    def device(self) -> Device | VidaskError:
        """The card."""
        return _attempt(find_device)

    @cached_property
    def cards(self) -> Sequence[Gpu]:
        """All that a model can be spread over."""
        needed(self.device, "no GPU is here")
        return find_gpus()

    @cached_property
    def model(self) -> ModelFiles | VidaskError:
        """The files of the model that vLLM is to run."""
        path, arguments = self.model_path, self.settings.engine_config
        return _attempt(lambda: check_model(path, arguments))

    @property
    def model_path(self) -> str:
        """What vLLM is to run."""
        if not self.backend_with_vllm:
            msg = "no model runs in this worker's process"
            raise NotLookedAt(msg)
        return str(self.settings.model_path)

    def engine_arguments(self, model: ModelFiles, device: Device) -> Mapping[str, Any]:
        """What the engine would be started with on that card."""
        max_num_seqs(self.settings)  # refuses numbers that are none
        return preset_arguments(self.settings, model.config, device.gpu) | self.settings.engine_config

    @cached_property
    def redis(self) -> Mapping[str, Any] | VidaskError:
        """What Redis says of itself."""
        url = self.settings.redis_url
        return _attempt(lambda: read_info(url))

    @cached_property
    def store(self) -> Store | VidaskError:
        """Chroma."""
        settings = self.settings
        return _attempt(lambda: read_store(settings))

    @cached_property
    def embedding_dimension(self) -> int | VidaskError:
        """How many numbers a vector has."""
        settings = self.settings
        return _attempt(lambda: embedding_dimension(settings.embedding_model, settings.embedding_device))

    @property
    def folders(self) -> list[Path]:
        """Those that a worker writes to."""
        settings = self.settings
        folders = [settings.pictures_path]
        if settings.chroma_url is None:
            folders.append(settings.chroma_path)
        if self.backend_with_vllm and is_hub_id(str(settings.model_path)):
            folders.append(Path(constants.HF_HUB_CACHE))
        return folders


def _attempt(find: Callable[[], T]) -> T | VidaskError:
    try:
        return find()
    except VidaskError as error:
        return error
