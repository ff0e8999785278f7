"""The worker's settings: read once from the environment at the entry point, frozen, passed on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from config.sources import ConfigFile, Environment
from vidask.addresses import read_address, redacted
from vidask.connection import DEFAULT_URL
from vidask.errors import InvalidSettings
from vidask.validation import describe

OLLAMA_URL = "http://127.0.0.1:11434"

#: `hf_token` is one; `max_num_batched_tokens` is none.
_SECRETS = re.compile(r"token$|key$|secret|password")


Backend = Literal["extractive", "vllm", "langchain-vllm", "ollama", "openai"]
#: Those whose model this process holds, and those whose model is at a server.
HELD: tuple[Backend, ...] = ("vllm", "langchain-vllm")
SERVED: tuple[Backend, ...] = ("ollama", "openai")


class Settings(BaseSettings):
    """Each field is the environment variable `VIDASK_` plus its name in capitals; two have names of vLLM's own.

    Attributes:
        config_file: a TOML file with any of the others by their names here, and a table `[vllm_config]`; variables win over it.
        redis_url: the queue and the results.
        chroma_path: folder of the embedded Chroma, for one worker.
        chroma_url: a Chroma server (`http://host:8000`), for any number of workers; takes the folder's place.
        media_root: folder below which frames may be named by their path; without one they come as bytes alone.
        pictures_path: folder for small copies of indexed frames, which a vision model is shown; one for all workers. By default
            `pictures`, beside `chroma_path`.
        embedding_model: `minilm` (English, comes with the installation), or a sentence-transformers hub id or folder.
        embedding_device: where it runs: `cpu`, `cuda`, `cuda:1` …
        model_path: `VLLM_MODEL_PATH`, vLLM's model: a hub id, a folder, or a snapshot in the hub's cache.
        engine_config: `VLLM_CONFIG`, a JSON object of arguments for vLLM's engine, handed on as they are.
        trust_remote_code: whether the model's folder may bring Python code that is run.
        gpu_profile: the values that `engine_config` leaves open, by the memory of the card; `auto` looks at the card.
        llm_backend: `vllm` in this process, `ollama`, `openai` (any compatible server), or `extractive`, which quotes the best
            sentences without a model; by default `vllm` where there is a `model_path`. `langchain-vllm` is vLLM as the older guides
            have it. Several, with commas between them, are asked in their order: the next one answers where one is not there.
        llm_model: the model's name at `ollama` or `openai`.
        llm_url: where that server is; Ollama's own address by default.
        llm_api_key: what that server asks for, if anything.
        llm_vision: whether the model takes pictures; None is as the model says: vLLM's is known, others count as blind.
        concurrency: jobs in flight in this worker; None is 16, and with `vllm` half as many again as it answers at once.
        lease_s: how long a worker may be silent before its jobs are given to others, seconds; the same for all workers.
        grace_s: how long a worker that is told to stop goes on with the jobs it has, seconds; then it gives them back.
        log_level: of the worker's own log.
        log_format: `text`, or `json`, one object a line.
        metrics_port: where the worker shows its metrics to Prometheus; without one it opens no port.
        metrics_host: the address that this port is opened on.
    """

    model_config = SettingsConfigDict(
        env_prefix="VIDASK_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,  # docker-compose hands on a variable that is not set as an empty one
        validate_by_name=True,
        protected_namespaces=(),
    )

    config_file: Path | None = None
    redis_url: str = DEFAULT_URL
    chroma_path: Path = Path("vidask-data/chroma")
    chroma_url: str | None = None
    media_root: Path | None = None
    pictures_path: Annotated[Path, Field(validate_default=True)] = cast("Path", None)
    embedding_model: str = "minilm"
    embedding_device: str = "cpu"
    model_path: Annotated[str | None, Field(validation_alias="VLLM_MODEL_PATH")] = None
    engine_config: Annotated[dict[str, Any], Field(validation_alias="VLLM_CONFIG")] = {}
    trust_remote_code: bool = False
    gpu_profile: Literal["auto", "80gb", "40gb", "24gb", "20gb", "16gb"] = "auto"
    # From here on the order counts: each is checked against those above it.
    llm_backend: Annotated[str, Field(validate_default=True)] = cast("str", None)
    llm_model: Annotated[str | None, Field(validate_default=True)] = None
    llm_url: Annotated[str | None, Field(validate_default=True)] = None
    llm_api_key: SecretStr | None = None
    llm_vision: bool | None = None
    concurrency: Annotated[int | None, Field(ge=1, le=1024)] = None
    lease_s: Annotated[float, Field(ge=1, le=3600)] = 15.0
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 25.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    metrics_port: Annotated[int | None, Field(ge=1, le=65_535)] = None
    metrics_host: str = "127.0.0.1"

    @field_validator("redis_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        read_address(url)
        return url

    @field_validator("media_root")
    @classmethod
    def _is_a_folder(cls, root: Path | None) -> Path | None:
        if root is not None and not root.is_dir():
            raise InvalidSettings(f"{str(root)!r} is no folder; mount it, or correct the path")
        return root

    @field_validator("pictures_path", mode="before")
    @classmethod
    def _is_beside_the_chunks(cls, path: object, info: ValidationInfo) -> object:
        return path or info.data.get("chroma_path", Path()).parent / "pictures"

    @field_validator("llm_backend", mode="before")
    @classmethod
    def _follows_the_model(cls, backend: object, info: ValidationInfo) -> object:
        return backend or ("vllm" if info.data.get("model_path") else "extractive")

    @field_validator("llm_backend")
    @classmethod
    def _are_backends(cls, said: str) -> str:
        names, known = _names(said), get_args(Backend)
        for name in names:
            if name not in known:
                raise InvalidSettings(f"{name!r} is not one of {', '.join(map(repr, known))}")
            if names.count(name) > 1:
                raise InvalidSettings(f"{said!r} names {name!r} {names.count(name)} times; name each once")
        if "extractive" in names[:-1]:
            msg = f"{said!r}: 'extractive' always answers, so what stands behind it never would; put it last"
            raise InvalidSettings(msg)
        if set(SERVED) <= set(names):
            msg = f"{said!r}: 'ollama' and 'openai' would share VIDASK_LLM_URL and VIDASK_LLM_MODEL; name one of them"
            raise InvalidSettings(msg)
        return ",".join(names)

    @field_validator("llm_backend")
    @classmethod
    def _have_their_model(cls, said: str, info: ValidationInfo) -> str:
        held = _first(said, HELD)
        if held and not info.data.get("model_path"):
            raise InvalidSettings(f"{held!r} needs a model; set VLLM_MODEL_PATH to a folder or a hub id")
        return said

    @field_validator("llm_model")
    @classmethod
    def _is_named(cls, model: str | None, info: ValidationInfo) -> str | None:
        backend = _first(info.data.get("llm_backend", ""), SERVED)
        if backend and not model:
            raise InvalidSettings(f"is missing; llm_backend {backend!r} needs the model's name at that server")
        return model

    @field_validator("llm_url")
    @classmethod
    def _is_reachable_by_http(cls, url: str | None, info: ValidationInfo) -> str | None:
        backend = _first(info.data.get("llm_backend", ""), SERVED)
        if backend == "openai" and not url:
            msg = "is missing; llm_backend 'openai' needs the server's address, like http://host:8000/v1"
            raise InvalidSettings(msg)
        if url and not re.match(r"https?://[^/]", url):
            raise InvalidSettings(
                f"{redacted(url)!r} is not an address; write http://HOST:PORT, and for 'openai' /v1 after it"
            )
        return url or (OLLAMA_URL if backend == "ollama" else None)

    @property
    def llm_backends(self) -> tuple[Backend, ...]:
        """`llm_backend`, one by one: who answers first, and who does where that one is not there."""
        return cast("tuple[Backend, ...]", tuple(_names(self.llm_backend)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the names are the base class's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over variables, and variables over the file; of `engine_config`, key by key."""
        return init_settings, Environment(settings_cls), ConfigFile(settings_cls)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment, and the file that it names.

        Raises:
            InvalidSettings: one line that names each variable that is wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            raise InvalidSettings(f"settings: {describe(error)}; each is the variable VIDASK_ + its name") from None
        except SettingsError as error:
            raise InvalidSettings(f"settings: {error.__cause__}") from None

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={_shown(name, value)!r}' for name, value in self)})"


def _names(said: str) -> list[str]:
    return [name.strip() for name in said.split(",")]


def _first(said: str, kind: tuple[Backend, ...]) -> str | None:
    """The first of these backends that the setting names."""
    return next((name for name in _names(said) if name in kind), None)


def _shown(name: str, value: object) -> object:
    """The value as it may stand in a log: without passwords, and without the tokens that vLLM is given."""
    if isinstance(value, str) and name.endswith("_url"):
        return redacted(value)
    if name == "engine_config":
        arguments = cast("dict[str, object]", value)
        return {key: "***" if _SECRETS.search(key) else argument for key, argument in arguments.items()}
    return value
