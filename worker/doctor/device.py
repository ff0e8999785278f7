"""The card, its driver and who computes there, asked of the driver as `pipeline.llm.gpu` does: without CUDA."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.llm.gpu import Gpu, find_gpu
from vidask.errors import InvalidSettings

_DRIVER = "libnvidia-ml.so.1"
_MOST_PROCESSES = 64
#: What the driver says of a process whose memory it does not know.
_UNKNOWN = 2**64 - 1


@dataclass(frozen=True)
class Process:
    """Who computes on the card.

    Attributes:
        pid: its number, which in a container may be the host's.
        name: the program; empty where it is not to be seen from here.
        used_bytes: of the card's memory; 0 where the driver does not say.
    """

    pid: int
    name: str
    used_bytes: int


@dataclass(frozen=True)
class Device:
    """The card that a worker would compute on.

    Attributes:
        gpu: its name and memory.
        driver: the driver's version.
        cuda: the newest CUDA that this driver runs, major and minor.
        processes: those that compute there now.
    """

    gpu: Gpu
    driver: str
    cuda: tuple[int, int]
    processes: tuple[Process, ...] = ()


class _ProcessInfo(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def find_device() -> Device:
    """The first card that `CUDA_VISIBLE_DEVICES` leaves.

    Raises:
        InvalidSettings: there is none to be seen, and why.
    """
    try:
        nvml = ctypes.CDLL(_DRIVER)
    except OSError:
        msg = "no NVIDIA driver is here; install it, and in a container start it with --gpus all"
        raise InvalidSettings(msg) from None
    _check(nvml, nvml.nvmlInit_v2())
    try:
        return _device(nvml)
    finally:
        nvml.nvmlShutdown()


def _device(nvml: ctypes.CDLL) -> Device:
    gpu = find_gpu()
    if gpu is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise InvalidSettings(
            f"the driver is here, but no card with CUDA_VISIBLE_DEVICES {visible!r}; compare with nvidia-smi -L, or unset it"
        )
    driver, cuda = ctypes.create_string_buffer(96), ctypes.c_int()
    _check(nvml, nvml.nvmlSystemGetDriverVersion(driver, ctypes.c_uint(len(driver))))
    _check(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda)))
    return Device(gpu, driver.value.decode(), (cuda.value // 1000, cuda.value % 1000 // 10), _processes(nvml))


def _check(nvml: ctypes.CDLL, status: int) -> None:
    if status != 0:
        nvml.nvmlErrorString.restype = ctypes.c_char_p
        said = nvml.nvmlErrorString(status).decode()
        raise InvalidSettings(
            f"the NVIDIA driver does not work ({said}); after an update of the driver, restart the machine"
        )


def _processes(nvml: ctypes.CDLL) -> tuple[Process, ...]:
    """Nothing where the driver does not say: in some containers it does not."""
    card, count = _card(nvml), ctypes.c_uint(_MOST_PROCESSES)
    found = (_ProcessInfo * _MOST_PROCESSES)()
    if nvml.nvmlDeviceGetComputeRunningProcesses_v3(card, ctypes.byref(count), found) != 0:
        return ()
    return tuple(
        Process(each.pid, _program(each.pid), 0 if each.used == _UNKNOWN else each.used)
        for each in found[: count.value]
    )


def _card(nvml: ctypes.CDLL) -> ctypes.c_void_p:
    """The one that `find_gpu` has found."""
    card, chosen = ctypes.c_void_p(), os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if chosen.isdigit():
        nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(chosen)), ctypes.byref(card))
    else:
        nvml.nvmlDeviceGetHandleByUUID(chosen.encode(), ctypes.byref(card))
    return card


def _program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""
