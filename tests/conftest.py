"""Three processes share the tests: one has those with an engine, which compute, the others begin with the rest, which wait."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_ENGINE = "tests/engine/"


class _OneEngine(LoadScopeScheduling):
    """Hands out whole files, and all those with an engine as one: two engines would share the cores, and each start twice."""

    def _split_scope(self, nodeid: str) -> str:
        return _ENGINE if nodeid.startswith(_ENGINE) else nodeid.partition("::")[0]


@pytest.hookimpl
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is begun first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_ENGINE))


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _OneEngine:
    return _OneEngine(config, log)
