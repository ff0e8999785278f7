"""Ports for servers of our own."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from worker.embedded import free_port, reserved_port

#: More than there will be tests at a time that hold one, few enough for chance to hit each.
PORTS = range(21_000, 21_100)


@pytest.fixture(autouse=True)
def _few_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.embedded._PORTS", PORTS)


def test_nobody_is_given_a_port_that_another_has() -> None:
    with ExitStack() as held:
        taken = [held.enter_context(reserved_port()) for _ in range(40)]
        assert len(set(taken)) == len(taken)
        assert not {free_port() for _ in range(200)} & set(taken)


def test_a_server_can_listen_where_a_port_was_reserved_for_it() -> None:
    with reserved_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass
