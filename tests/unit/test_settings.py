from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from config import Settings
from vidask.errors import InvalidSettings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(("VIDASK_", "VLLM_MODEL_PATH", "VLLM_CONFIG"))]:
        monkeypatch.delenv(name)


def test_without_any_variable_a_worker_starts_on_this_machine_alone() -> None:
    settings = Settings.from_environment()
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert (settings.chroma_url, settings.chroma_path) == (None, Path("vidask-data/chroma"))
    assert (settings.embedding_model, settings.embedding_device) == ("minilm", "cpu")
    assert (settings.llm_backend, settings.concurrency, settings.log_level) == ("extractive", None, "INFO")
    assert (settings.model_path, settings.engine_config, settings.trust_remote_code) == (None, {}, False)
    assert settings.gpu_profile == "auto"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("redis_url", "redis://queue:6380/2", "redis://queue:6380/2"),
        ("chroma_path", "/data/chroma", Path("/data/chroma")),
        ("chroma_url", "http://chroma:8000", "http://chroma:8000"),
        ("media_root", "/tmp", Path("/tmp")),
        ("pictures_path", "/data/pictures", Path("/data/pictures")),
        ("llm_vision", "true", True),
        ("embedding_model", "BAAI/bge-m3", "BAAI/bge-m3"),
        ("embedding_device", "cuda:1", "cuda:1"),
        ("llm_backend", "extractive", "extractive"),
        ("llm_model", "qwen3:8b", "qwen3:8b"),
        ("llm_url", "http://models:8000/v1", "http://models:8000/v1"),
        ("llm_api_key", "swordfish", SecretStr("swordfish")),
        ("trust_remote_code", "true", True),
        ("gpu_profile", "16gb", "16gb"),
        ("concurrency", "3", 3),
        ("log_level", "DEBUG", "DEBUG"),
    ],
)
def test_each_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"VIDASK_{name.upper()}", text)
    settings = Settings.from_environment()
    assert getattr(settings, name) == value
    assert settings.model_fields_set == {name}
    assert "swordfish" not in repr(settings)


def test_pictures_are_kept_beside_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_environment().pictures_path == Path("vidask-data/pictures")
    monkeypatch.setenv("VIDASK_CHROMA_PATH", "/data/chroma")
    assert Settings.from_environment().pictures_path == Path("/data/pictures")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("CONCURRENCY", "0", "concurrency: '0': input should be greater than or equal to 1"),
        ("CONCURRENCY", "1025", "concurrency: '1025': input should be less than or equal to 1024"),
        ("CONCURRENCY", "many", "concurrency: 'many': input should be a valid integer"),
        ("REDIS_URL", "nonsense", "redis_url: 'nonsense' is not a Redis address"),
        ("REDIS_URL", "redis://:swordfish@host:x", "redis_url: 'redis://:***@host:x' is not a Redis address"),
        ("LOG_LEVEL", "LOUD", "log_level: 'LOUD' is not one of 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LLM_BACKEND", "oracle", "llm_backend: 'oracle' is not one of"),
        ("LLM_BACKEND", "vllm", "llm_backend: 'vllm' needs a model; set VLLM_MODEL_PATH"),
        ("LLM_BACKEND", "ollama", "llm_model: is missing; llm_backend 'ollama' needs the model's name"),
        ("LLM_URL", "models:8000", "llm_url: 'models:8000' is not an address; write http://HOST:PORT"),
        ("LLM_URL", "ftp://me:swordfish@models", "llm_url: 'ftp://me:***@models' is not an address"),
        ("MEDIA_ROOT", "/no/such/folder", "media_root: '/no/such/folder' is no folder; mount it, or correct the path"),
        ("GPU_PROFILE", "12gb", "gpu_profile: '12gb' is not one of 'auto'"),
    ],
)
def test_a_wrong_value_is_named_in_one_line_with_the_variable_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str
) -> None:
    monkeypatch.setenv(f"VIDASK_{name}", text)
    with pytest.raises(InvalidSettings) as error:
        Settings.from_environment()
    message = str(error.value)
    assert message.startswith(f"settings: {said}")
    assert message.endswith("; each is the variable VIDASK_ + its name")
    assert "\n" not in message
    assert "swordfish" not in message


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDASK_CONCURRENCY", "0")
    monkeypatch.setenv("VIDASK_LOG_LEVEL", "LOUD")
    with pytest.raises(InvalidSettings, match=r"concurrency: .*; log_level: "):
        Settings.from_environment()


def test_a_variable_that_is_no_setting_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDASK_FAVOURITE_COLOUR", "green")
    monkeypatch.setenv("CONCURRENCY", "3")
    assert Settings.from_environment() == Settings()


@pytest.mark.parametrize("url", ["redis://user:swordfish@queue:6379/0", "rediss://:swordfish@queue"])
def test_the_password_is_not_shown(url: str) -> None:
    shown = repr(Settings(redis_url=url, concurrency=3))
    assert "swordfish" not in shown
    assert ":***@queue" in shown
    assert "concurrency=3" in shown


def test_settings_never_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.concurrency = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert settings.concurrency is None


def test_naming_a_model_is_enough_to_answer_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_MODEL_PATH", "/models/qwen")
    monkeypatch.setenv("VLLM_CONFIG", '{"max_model_len": 8192, "limit_mm_per_prompt": {"image": 4}}')
    settings = Settings.from_environment()
    assert (settings.llm_backend, settings.model_path) == ("vllm", "/models/qwen")
    assert settings.engine_config == {"max_model_len": 8192, "limit_mm_per_prompt": {"image": 4}}


def test_a_model_may_be_named_and_left_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_MODEL_PATH", "/models/qwen")
    monkeypatch.setenv("VIDASK_LLM_BACKEND", "extractive")
    assert Settings.from_environment().llm_backend == "extractive"


def test_in_python_the_same_settings_are_arguments() -> None:
    settings = Settings(model_path="/models/qwen", engine_config={"max_num_seqs": 8})
    assert (settings.llm_backend, settings.model_path) == ("vllm", "/models/qwen")
    assert settings.engine_config == {"max_num_seqs": 8}


def test_a_variable_that_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_MODEL_PATH", "VLLM_CONFIG", "VIDASK_LLM_URL", "VIDASK_CONFIG_FILE"):
        monkeypatch.setenv(name, "")
    assert Settings.from_environment() == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "max_model_len=8192",
            "VLLM_CONFIG: 'max_model_len=8192' is not JSON (Expecting value at character 1); write it like",
        ),
        ("{'dtype': 'auto'}", """VLLM_CONFIG: "{'dtype': 'auto'}" is not JSON"""),
        (
            "[8192]",
            "VLLM_CONFIG: '[8192]' is JSON, but not an object; write it like VLLM_CONFIG='{\"max_model_len\": 8192}'",
        ),
        ('"' + 200 * "x" + '"', "x…' is JSON, but not an object"),
    ],
)
def test_a_vllm_config_that_is_no_json_object_is_shown_with_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("VLLM_CONFIG", text)
    with pytest.raises(InvalidSettings) as error:
        Settings.from_environment()
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_ollama_is_looked_for_on_this_machine_and_an_openai_server_has_to_be_named() -> None:
    assert Settings(llm_backend="ollama", llm_model="qwen3:8b").llm_url == "http://127.0.0.1:11434"
    with pytest.raises(ValidationError, match="llm_backend 'openai' needs the server's address"):
        Settings(llm_backend="openai", llm_model="qwen")


def test_no_secret_is_shown() -> None:
    settings = Settings(
        llm_backend="openai",
        llm_model="qwen",
        llm_url="http://me:swordfish@models/v1",
        llm_api_key=SecretStr("swordfish"),
        engine_config={"hf_token": "swordfish", "max_num_batched_tokens": 2048},
    )
    assert "swordfish" not in repr(settings) + str(settings)
    assert "'max_num_batched_tokens': 2048" in repr(settings)


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "vidask.toml"
    monkeypatch.setenv("VIDASK_CONFIG_FILE", str(file))
    return file


def test_a_file_may_hold_the_settings(config_file: Path) -> None:
    config_file.write_text('model_path = "/models/qwen"\nconcurrency = 3\n[vllm_config]\nmax_num_seqs = 8\n')
    settings = Settings.from_environment()
    assert (settings.model_path, settings.llm_backend, settings.concurrency) == ("/models/qwen", "vllm", 3)
    assert settings.engine_config == {"max_num_seqs": 8}


def test_variables_win_over_the_file_and_single_keys_of_vllm_config_over_its_table(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text('model_path = "/models/qwen"\n[vllm_config]\nmax_num_seqs = 8\nmax_model_len = 4096\n')
    monkeypatch.setenv("VLLM_MODEL_PATH", "/models/other")
    monkeypatch.setenv("VLLM_CONFIG", '{"max_num_seqs": 16}')
    settings = Settings.from_environment()
    assert settings.model_path == "/models/other"
    assert settings.engine_config == {"max_num_seqs": 16, "max_model_len": 4096}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'modelpath = "/m"', "sets 'modelpath', which is no setting; did you mean 'model_path'?"),
        (b"[favourites]\ncolour = 'green'", "sets 'favourites', which is no setting; known are "),
        (b"config_file = 'other.toml'", "sets 'config_file', which is no setting"),
        (b"concurrency: 3", "cannot be read as TOML"),
        (b"\xff\xfe", "cannot be read as TOML"),
        (b"concurrency = 0", "concurrency: 0: input should be greater than or equal to 1"),
        (b"vllm_config = 8192", "VLLM_CONFIG: 8192: input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(config_file: Path, content: bytes, said: str) -> None:
    config_file.write_bytes(content)
    with pytest.raises(InvalidSettings) as error:
        Settings.from_environment()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(config_file: Path) -> None:
    with pytest.raises(InvalidSettings) as error:
        Settings.from_environment()
    assert f"config_file: '{config_file}' cannot be read as TOML (No such file or directory)" in str(error.value)
