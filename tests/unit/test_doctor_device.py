"""What is asked of NVIDIA's driver, where one is, by a worker and by its doctor; here Python stands for its library."""

# ruff: noqa: N802, SLF001  the names are NVIDIA's, and what `byref` points to is kept in `_obj`

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from pipeline.llm.gpu import GIB, find_gpu, find_gpus
from vidask.errors import InvalidSettings
from worker.doctor import device
from worker.doctor.device import Process, find_device

OK, NO_SUCH_CARD, NOT_LOADED = 0, 2, 9
UUID = "GPU-0a1b2c3d"


class Driver:
    """The part of libnvidia-ml that is called, with cards of so many GiB; on the first of them two processes compute."""

    def __init__(self, status: int = OK, gib: tuple[int, ...] = (24,)) -> None:
        self.status = status
        self.gib = gib
        self.capability_status = OK
        self.nvmlErrorString = _Text(b"Driver Not Loaded")

    def nvmlInit_v2(self) -> int:
        return self.status

    def nvmlShutdown(self) -> int:
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, card: Any) -> int:
        card._obj.value = index.value + 1
        return OK if index.value < len(self.gib) else NO_SUCH_CARD

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, card: Any) -> int:
        card._obj.value = 1
        return OK if uuid == UUID.encode() else NO_SUCH_CARD

    def nvmlDeviceGetMemoryInfo(self, card: Any, memory: Any) -> int:
        total = self.gib[card.value - 1] * GIB
        memory._obj.total, memory._obj.free = total, total - 4 * GIB
        return OK

    def nvmlDeviceGetCudaComputeCapability(self, _card: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = 8, 6
        return self.capability_status

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


@pytest.mark.parametrize(
    ("visible", "gib"),
    [
        (None, [24, 12, 80]),
        ("0,1,2", [24, 12, 80]),
        ("2, 0", [80, 24]),
        ("1", [12]),
        (UUID, [24]),
        ("0,-1,1", [24]),  # as for CUDA, nothing behind what is no card
        ("", []),
        ("-1", []),
    ],
)
def test_the_cards_are_those_that_are_visible_and_in_that_order(
    visible: str | None, gib: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    _install(monkeypatch, Driver(gib=(24, 12, 80)))
    assert [gpu.total_bytes // GIB for gpu in find_gpus()] == gib
    first = find_gpu()
    assert (first and first.total_bytes // GIB) == (gib[0] if gib else None)


def test_a_card_says_what_it_can_compute_unless_its_driver_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = Driver()
    _install(monkeypatch, driver)
    assert [gpu.capability for gpu in find_gpus()] == [(8, 6)]
    driver.capability_status = 3
    assert [gpu.capability for gpu in find_gpus()] == [None]


@pytest.mark.parametrize("driver", [None, Driver(NOT_LOADED)])
def test_without_a_driver_that_works_there_are_no_cards(driver: Driver | None, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, driver)
    assert find_gpus() == ()
