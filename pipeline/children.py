"""Processes that a worker starts: how many cores they share, and that they end with it, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

#: So often a process that is still being started looks whether its parent is known, seconds; nothing tells it.
_LOOK_S = 0.05


def cores() -> int:
    """How many cores this process may use: fewer than there are where it is bound to some (`taskset`, a container's cpuset)."""
    return len(os.sched_getaffinity(0))


def end_with_parent() -> None:
    """Call this in a child of `multiprocessing`: it ends as soon as its parent has, also after the parent's `kill -9`.

    Neither a GPU's memory nor a port is then left behind for the worker that takes the place of the one that died.
    """
    threading.Thread(target=_wait_for_parent, name="end-with-parent", daemon=True).start()


def leave_process_group() -> None:
    """Keep signals to the worker's group (Ctrl-C, say) from this process: the worker needs it while it finishes its jobs."""
    os.setpgid(0, 0)


def _wait_for_parent() -> None:
    while (parent := multiprocessing.parent_process()) is None:  # what the child is to do is still being read
        time.sleep(_LOOK_S)
    parent.join()
    os._exit(1)
