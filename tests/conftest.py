"""Two processes share the tests: one has those with an engine, which compute, the other all the rest, which mostly wait."""

from __future__ import annotations

from pathlib import Path

import pytest

_ENGINE = Path(__file__).parent / "engine"


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group("engine" if item.path.is_relative_to(_ENGINE) else "others"))
