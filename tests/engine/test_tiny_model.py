"""The model that the other tests stand on. What it answers is looked at where an engine has it: in `test_chat_model`."""

from __future__ import annotations

from pathlib import Path

from tests.engine.tiny_model import make_tiny_model


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_the_same_each_time(tiny_model: Path, tmp_path: Path) -> None:
    assert content_of(make_tiny_model(tmp_path / "again")) == content_of(tiny_model)
