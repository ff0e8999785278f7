"""The worker's settings: read once from the environment at the entry point, frozen, passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from vidask.connection import DEFAULT_URL, connect, redacted
from vidask.errors import InvalidSettings
from vidask.validation import describe


class Settings(BaseSettings):
    """Each field is the environment variable `VIDASK_` plus its name in capitals.

    Attributes:
        redis_url: the queue and the results.
        chroma_path: folder of the embedded Chroma, for one worker.
        chroma_url: a Chroma server (`http://host:8000`), for any number of workers; takes the folder's place.
        embedding_model: `minilm` (English, comes with the installation), or a sentence-transformers hub id or folder.
        embedding_device: where it runs: `cpu`, `cuda`, `cuda:1` …
        llm_backend: `extractive` quotes the best sentences, without a model.
        concurrency: jobs in flight in this worker, each on a thread of its own.
        log_level: of the worker's own log.
    """

    model_config = SettingsConfigDict(env_prefix="VIDASK_", frozen=True, extra="ignore")

    redis_url: str = DEFAULT_URL
    chroma_path: Path = Path("vidask-data/chroma")
    chroma_url: str | None = None
    embedding_model: str = "minilm"
    embedding_device: str = "cpu"
    llm_backend: Literal["extractive"] = "extractive"
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("redis_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        connect(url).close()  # connects to nothing yet
        return url

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            InvalidSettings: one line that names each variable that is wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            raise InvalidSettings(f"settings: {describe(error)}; each is the variable VIDASK_ + its name") from None

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        shown = {name: redacted(value) if name.endswith("_url") and value else value for name, value in self}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
