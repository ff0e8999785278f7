"""Called in each of vLLM's own processes while it starts: plugins of ours, which `pyproject.toml` names.

vLLM's EngineCore stays behind, with the card's memory, where the process that started it is killed; and a signal to the process
group, like Ctrl-C, makes it drop the answers that the worker means to finish. This mends both, before the model is loaded.

As a platform plugin, though no platform, because vLLM calls those as it is imported. General plugins come after a handshake, in
which it waits five minutes for a worker that has gone meanwhile; but with `VLLM_TARGET_DEVICE=cpu` it calls no others.
"""

from __future__ import annotations

import multiprocessing
import os
from functools import cache

from pipeline.children import end_with_parent, leave_process_group

#: Set in the environment of a worker's engine: other engines on the same installation are none of our business.
MARK = "VIDASK_ENGINE"


def mark_processes() -> None:
    """To be called in the worker before it makes an engine."""
    os.environ[MARK] = "1"
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # CUDA and threads do not survive a fork


@cache
def bind_to_worker() -> None:
    """Leave the worker's process group, and end when the worker ends. Does nothing in the worker itself."""
    if MARK in os.environ and _is_child():
        leave_process_group()
        end_with_parent()


def _is_child() -> bool:
    """Whether `multiprocessing` started this one; what it is to do, and vLLM with it, is read before its parent is known."""
    being_read = getattr(multiprocessing.current_process(), "_inheriting", False)
    return being_read or multiprocessing.parent_process() is not None
