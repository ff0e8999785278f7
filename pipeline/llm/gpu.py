"""The cards that this worker may compute on, asked of the driver: without CUDA, which would take memory of its own there."""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

GIB = 1024**3

_DRIVER = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class Gpu:
    """One card.

    Attributes:
        name: as the driver says.
        total_bytes: as the driver counts them: a card of "24 GB" has 22.5 to 24 GiB.
        free_bytes: those that nobody uses now.
        capability: CUDA's number for what the card can compute, major and minor, like (8, 9); None where it is not known.
    """

    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int] | None = None


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def find_gpu() -> Gpu | None:
    """The first card that `CUDA_VISIBLE_DEVICES` leaves; None where there is none, or no NVIDIA driver."""
    return next(iter(find_gpus()), None)


def find_gpus() -> tuple[Gpu, ...]:
    """All cards that `CUDA_VISIBLE_DEVICES` leaves, in its order; as for CUDA, what is no card hides those behind it."""
    try:
        nvml = ctypes.CDLL(_DRIVER)
    except OSError:
        return ()
    if nvml.nvmlInit_v2() != 0:
        return ()
    try:
        return tuple(_visible(nvml))
    finally:
        nvml.nvmlShutdown()


def _visible(nvml: ctypes.CDLL) -> Iterator[Gpu]:
    for chosen in _chosen():
        gpu = _read(nvml, chosen)
        if gpu is None:
            return
        yield gpu


def _chosen() -> Iterable[str]:
    """Numbers or names of cards; all numbers where nothing is chosen."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return map(str, itertools.count()) if visible is None else map(str.strip, visible.split(","))


def _read(nvml: ctypes.CDLL, chosen: str) -> Gpu | None:
    card, memory, name = ctypes.c_void_p(), _Memory(), ctypes.create_string_buffer(96)
    if chosen.isdigit():
        status = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(chosen)), ctypes.byref(card))
    else:
        status = nvml.nvmlDeviceGetHandleByUUID(chosen.encode(), ctypes.byref(card))
    if status != 0 or nvml.nvmlDeviceGetMemoryInfo(card, ctypes.byref(memory)) != 0:
        return None
    nvml.nvmlDeviceGetName(card, name, ctypes.c_uint(len(name)))
    return Gpu(name.value.decode(), memory.total, memory.free, _capability(nvml, card))


def _capability(nvml: ctypes.CDLL, card: ctypes.c_void_p) -> tuple[int, int] | None:
    major, minor = ctypes.c_int(), ctypes.c_int()
    status = nvml.nvmlDeviceGetCudaComputeCapability(card, ctypes.byref(major), ctypes.byref(minor))
    return (major.value, minor.value) if status == 0 else None
