"""Processes that read pictures: decoding and OCR keep a core busy for half a second each, which nobody who asks should feel."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import PriorityQueue
from typing import Final

from pipeline.children import cores, end_with_parent, leave_process_group
from pipeline.pictures import ReadPicture, read_picture
from vidask.errors import InvalidFrame, VidaskError

#: A picture takes about half a second; the first one of a process waits for its models, and all of them for whoever is less nice.
_LIMIT_S: Final = 60.0
_NICE: Final = 10
_END_S: Final = 10.0
#: Pictures that somebody asks about come before those of an import; nothing comes before the end.
_CLOSED, _ASKED, _INDEXED = range(3)


@dataclass(order=True)
class _Waiting:
    """A picture, and where it stands among those that wait."""

    rank: int
    number: int
    data: bytes = field(compare=False)
    future: Future[ReadPicture] = field(compare=False, default_factory=Future)


class PictureReaders:
    """Reads pictures in other processes, one at a time in each; a process starts when there is a picture and none is free.

    Attributes:
        processes: how many there are at most; more pictures at the same time wait.

    Args:
        processes: half the cores, where nothing is said.
        limit_s: how long a picture may take, seconds.
    """

    def __init__(self, processes: int | None = None, *, limit_s: float = _LIMIT_S) -> None:
        self.processes = processes or max(1, cores() // 2)
        self._limit_s = limit_s
        self._waiting: PriorityQueue[_Waiting] = PriorityQueue()
        self._numbers = itertools.count()
        self._started: set[_ReaderProcess] = set()
        self._free: list[_ReaderProcess] = []
        self._lock = threading.Lock()
        self._closed = False
        names = (f"pictures-{number}" for number in range(self.processes))
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    async def read(self, data: bytes, *, asked: bool = False) -> ReadPicture:
        """`read_picture`, elsewhere. Where this is cancelled, the picture is left out, unless it is being read already.

        Args:
            data: the bytes of an image file.
            asked: somebody waits for an answer about it: it goes before others.

        Raises:
            InvalidFrame: as `read_picture`; or its process ended over it, or it took too long.
            InvalidSettings: as `read_picture`.
        """
        return await asyncio.wrap_future(self._submit(_ASKED if asked else _INDEXED, data))

    def close(self) -> None:
        """End the processes at once; what waits or is being read raises a RuntimeError."""
        with self._lock:
            self._closed = True
            for process in self._started:
                process.kill()
            for _ in self._threads:
                self._waiting.put(_Waiting(_CLOSED, next(self._numbers), b""))
        for thread in self._threads:
            thread.join()
        for process in self._started:
            process.end()
        while not self._waiting.empty():
            if (future := self._waiting.get().future).set_running_or_notify_cancel():
                future.set_exception(_closed())

    def _submit(self, rank: int, data: bytes) -> Future[ReadPicture]:
        with self._lock:
            if self._closed:
                raise _closed()
            waiting = _Waiting(rank, next(self._numbers), data)
            self._waiting.put(waiting)
        return waiting.future

    def _run(self) -> None:
        """A thread for each process that there may be: it hands over a picture, and waits."""
        while (waiting := self._waiting.get()).rank != _CLOSED:
            if waiting.future.set_running_or_notify_cancel():
                try:
                    waiting.future.set_result(self._read(waiting.data))
                except Exception as error:  # noqa: BLE001  raised again where it belongs, in the coroutine that waits
                    waiting.future.set_exception(_closed() if self._closed else error)

    def _read(self, data: bytes) -> ReadPicture:
        process = self._take()
        try:
            answer = process.read(data, self._limit_s)
        except InvalidFrame:  # the process is no more
            with self._lock:
                self._started.discard(process)
            raise
        self._free.append(process)
        if isinstance(answer, VidaskError):
            raise answer
        return answer

    def _take(self) -> _ReaderProcess:
        """The one that was used last, so that no more are started than are needed.

        One that was ended by somebody else meanwhile is no picture's fault.
        """
        with self._lock:
            while self._free:
                if (process := self._free.pop()).is_alive():
                    return process
                self._started.discard(process)
                process.end()
            if self._closed:
                raise _closed()
            self._started.add(process := _ReaderProcess())
            return process


class _ReaderProcess:
    """A process that reads one picture after the other."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # threads, locks and the engine's memory do not survive a fork
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs,), name="pictures", daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed here as the end of the pipe

    def read(self, data: bytes, limit_s: float) -> ReadPicture | VidaskError:
        """The picture, or what is wrong with it.

        Raises:
            InvalidFrame: the process has ended over it.
        """
        try:
            self._pipe.send_bytes(data)
            if self._pipe.poll(limit_s):
                return self._pipe.recv()
            problem = f"was not read in {limit_s:g} s"
        except (EOFError, OSError):
            problem = f"ended the process that read it (exit status {self.end()})"
        self.end()
        msg = f"the picture of {len(data):,} bytes {problem}; save it anew as a plain JPEG or PNG, or leave it out"
        raise InvalidFrame(msg)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int | None:
        """Make sure that it is gone; returns its exit status."""
        self._process.kill()  # it has nothing to put in order
        self._process.join(_END_S)
        self._pipe.close()
        return self._process.exitcode


def _closed() -> RuntimeError:
    return RuntimeError("these picture readers are closed; nobody is left to read")


def _serve(pipe: Connection) -> None:
    """The process: read what comes until nobody is there to send."""
    leave_process_group()
    end_with_parent()
    os.nice(_NICE)
    while (data := _next(pipe)) is not None:
        pipe.send(_read_or_refuse(data))


def _read_or_refuse(data: bytes) -> ReadPicture | VidaskError:
    try:
        return read_picture(data)
    except VidaskError as error:
        return error


def _next(pipe: Connection) -> bytes | None:
    try:
        return pipe.recv_bytes()
    except EOFError:
        return None
