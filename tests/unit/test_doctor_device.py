"""What is asked of NVIDIA's driver, where one is; here Python stands for its library."""

# ruff: noqa: N802, SLF001  the names are NVIDIA's, and what `byref` points to is kept in `_obj`

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from pipeline.llm.gpu import GIB
from vidask.errors import InvalidSettings
from worker.doctor import device
from worker.doctor.device import Process, find_device

OK, NOT_LOADED = 0, 9


class Driver:
    """The part of libnvidia-ml that is called, with one card on which two processes compute."""

    def __init__(self, status: int = OK) -> None:
        self.status = status
        self.nvmlErrorString = _Text(b"Driver Not Loaded")

    def nvmlInit_v2(self) -> int:
        return self.status

    def nvmlShutdown(self) -> int:
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, card: Any) -> int:
        card._obj.value = 1
        return OK if index.value == 0 else 2

    def nvmlDeviceGetMemoryInfo(self, _card: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.free = 24 * GIB, 20 * GIB
        return OK

    def nvmlDeviceGetName(self, _card: Any, name: Any, _size: Any) -> int:
        name.value = b"NVIDIA A10"
        return OK

    def nvmlSystemGetDriverVersion(self, version: Any, _size: Any) -> int:
        version.value = b"550.54.15"
        return OK

    def nvmlSystemGetCudaDriverVersion_v2(self, version: Any) -> int:
        version._obj.value = 12040
        return OK

    def nvmlDeviceGetComputeRunningProcesses_v3(self, _card: Any, count: Any, found: Any) -> int:
        count._obj.value = 2
        found[0].pid, found[0].used = 2**22 + 1, 3 * GIB
        found[1].pid, found[1].used = 2**22 + 2, 2**64 - 1
        return OK


class _Text:
    """A function of a C library that gives a text."""

    restype: object = None

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __call__(self, _status: int) -> bytes:
        assert self.restype is ctypes.c_char_p
        return self._text


def _install(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    def load(name: str) -> Driver:
        assert name == "libnvidia-ml.so.1"
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(device.ctypes, "CDLL", load)


def test_the_card_its_driver_and_who_computes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _install(monkeypatch, Driver())
    found = find_device()
    assert (found.gpu.name, found.gpu.total_bytes, found.gpu.free_bytes) == ("NVIDIA A10", 24 * GIB, 20 * GIB)
    assert (found.driver, found.cuda) == ("550.54.15", (12, 4))
    assert found.processes == (Process(2**22 + 1, "", 3 * GIB), Process(2**22 + 2, "", 0))


def test_a_card_that_is_not_there_is_said_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, Driver())
    for chosen in ("7", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        with pytest.raises(
            InvalidSettings, match=f"no card with CUDA_VISIBLE_DEVICES '{chosen}'; compare with nvidia-smi -L"
        ):
            find_device()


def test_a_driver_that_does_not_work_is_said_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, Driver(NOT_LOADED))
    with pytest.raises(
        InvalidSettings, match=r"does not work \(Driver Not Loaded\); after an update .* restart the machine"
    ):
        find_device()


def test_a_host_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, None)
    with pytest.raises(InvalidSettings, match=r"no NVIDIA driver is here; install it, .* --gpus all"):
        find_device()
