from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from config import Settings
from vidask.errors import InvalidSettings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("VIDASK_")]:
        monkeypatch.delenv(name)


def test_without_any_variable_a_worker_starts_on_this_machine_alone() -> None:
    settings = Settings.from_environment()
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert (settings.chroma_url, settings.chroma_path) == (None, Path("vidask-data/chroma"))
    assert (settings.embedding_model, settings.embedding_device) == ("minilm", "cpu")
    assert (settings.llm_backend, settings.concurrency, settings.log_level) == ("extractive", 16, "INFO")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("redis_url", "redis://queue:6380/2", "redis://queue:6380/2"),
        ("chroma_path", "/data/chroma", Path("/data/chroma")),
        ("chroma_url", "http://chroma:8000", "http://chroma:8000"),
        ("embedding_model", "BAAI/bge-m3", "BAAI/bge-m3"),
        ("embedding_device", "cuda:1", "cuda:1"),
        ("llm_backend", "extractive", "extractive"),
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
    shown = repr(Settings(redis_url=url))
    assert "swordfish" not in shown
    assert ":***@queue" in shown
    assert "concurrency=16" in shown


def test_settings_never_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.concurrency = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert settings.concurrency == 16
