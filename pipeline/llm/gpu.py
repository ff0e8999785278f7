"""The card that this worker computes on, asked of the driver: without CUDA, which would take memory of its own there."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

GIB = 1024**3

_DRIVER = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class Gpu:
    """One card. Bytes are as the driver counts them: a card of "24 GB" has 22.5 to 24 GiB."""

    name: str
    total_bytes: int
    free_bytes: int


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def find_gpu() -> Gpu | None:
    """The first card that `CUDA_VISIBLE_DEVICES` leaves; None where there is none, or no NVIDIA driver."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        nvml = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    if not chosen or nvml.nvmlInit_v2() != 0:
        return None
    try:
        return _read(nvml, chosen)
    finally:
        nvml.nvmlShutdown()


def _read(nvml: ctypes.CDLL, chosen: str) -> Gpu | None:
    card, memory, name = ctypes.c_void_p(), _Memory(), ctypes.create_string_buffer(96)
    if chosen.isdigit():
        status = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(chosen)), ctypes.byref(card))
    else:
        status = nvml.nvmlDeviceGetHandleByUUID(chosen.encode(), ctypes.byref(card))
    if status != 0 or nvml.nvmlDeviceGetMemoryInfo(card, ctypes.byref(memory)) != 0:
        return None
    nvml.nvmlDeviceGetName(card, name, ctypes.c_uint(len(name)))
    return Gpu(name.value.decode(), memory.total, memory.free)
