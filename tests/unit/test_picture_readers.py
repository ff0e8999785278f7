"""Processes that read pictures: what happens when one hangs, dies, or is left behind."""

import asyncio
import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipeline.picture_readers import PictureReaders, _ReaderProcess
from tests.drawing import jpeg, slide
from tests.processes import gone
from tests.support import wait_for
from vidask.errors import InvalidFrame

#: What reads is nicer than all else, and has a tenth of a core where others compute: its start may take minutes there.
PATIENT_S = 300.0
SLIDE = jpeg(slide("Why Deep Trees Overfit", ["Every leaf holds one example"]))


def endless() -> bytes:
    """A JPEG of 350 kB whose decoder is busy for many minutes: its last scan, which is all of it, comes again and again."""
    buffer = io.BytesIO()
    Image.new("RGB", (4_900, 4_900), "red").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 5_000 + data[-2:]


def reading() -> list[int]:
    """The processes that read, of this one."""
    return [child.pid for child in multiprocessing.active_children() if child.name == "pictures" and child.pid]


def cpu_s(process: psutil.Process) -> float:
    """How long a process has computed, seconds."""
    times = process.cpu_times()
    return times.user + times.system


@pytest.fixture(scope="module")
def readers() -> Iterator[PictureReaders]:
    with closing(PictureReaders(1, limit_s=PATIENT_S)) as readers:
        yield readers


def test_pictures_are_read_in_another_process_which_starts_with_the_first(readers: PictureReaders) -> None:
    assert reading() == []
    picture = asyncio.run(readers.read(SLIDE))
    assert picture.text.splitlines() == ["Why Deep Trees Overfit", "- Every leaf holds one example"]
    assert (picture.width, picture.height) == (640, 360)
    [pid] = reading()
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert os.getpgid(pid) == pid  # Ctrl-C reaches the worker alone


def test_a_bad_picture_fails_alone(readers: PictureReaders) -> None:
    async def all_at_once() -> list[object]:
        reads = (readers.read(data) for data in (SLIDE, b"These are my notes.", SLIDE))
        return await asyncio.gather(*reads, return_exceptions=True)

    good, bad, also_good = asyncio.run(all_at_once())
    assert good == also_good
    assert isinstance(bad, InvalidFrame)
    assert str(bad) == "the picture is text; send a JPEG, PNG or WebP"
    assert len(reading()) == 1


def test_pictures_that_somebody_asks_about_go_first(readers: PictureReaders) -> None:
    done: list[str] = []

    async def read(name: str, *, asked: bool = False) -> None:
        await readers.read(SLIDE, asked=asked)
        done.append(name)

    async def ask_during_an_import() -> None:
        imported = [asyncio.create_task(read(f"imported {number}")) for number in range(4)]
        await asyncio.sleep(0)  # all of them wait, or are read
        await asyncio.gather(read("asked", asked=True), *imported)

    asyncio.run(ask_during_an_import())
    assert done.index("asked") <= 1
    assert [name for name in done if name != "asked"] == [f"imported {number}" for number in range(4)]


def test_who_is_cancelled_leaves_the_others_their_pictures(readers: PictureReaders) -> None:
    async def cancel_some() -> list[object]:
        tasks = [asyncio.create_task(readers.read(SLIDE)) for _ in range(6)]
        await asyncio.sleep(0)
        for task in (tasks[0], tasks[2], tasks[3]):
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    read = asyncio.run(cancel_some())
    cancelled = [number for number, one in enumerate(read) if isinstance(one, asyncio.CancelledError)]
    assert cancelled == [0, 2, 3]
    assert read[1] == read[4] == read[5]
    assert asyncio.run(readers.read(SLIDE)) == read[1]


def test_a_process_that_was_ended_while_it_had_nothing_to_do_costs_no_picture(readers: PictureReaders) -> None:
    asyncio.run(readers.read(SLIDE))
    [pid] = reading()
    os.kill(pid, signal.SIGKILL)
    wait_for("the process is gone", lambda: reading() == [])
    assert asyncio.run(readers.read(SLIDE)).width == 640
    assert reading() not in ([], [pid])


def test_a_picture_that_kills_its_process_fails_alone(readers: PictureReaders) -> None:
    asyncio.run(readers.read(SLIDE))
    [process] = map(psutil.Process, reading())
    data = endless()

    async def kill_during_it() -> list[object]:
        reads = asyncio.gather(readers.read(data), readers.read(SLIDE), return_exceptions=True)
        begun_s = cpu_s(process)
        await asyncio.to_thread(wait_for, "the picture is being read", lambda: cpu_s(process) > begun_s + 0.1)
        process.kill()
        return list(await reads)

    bad, good = asyncio.run(kill_during_it())
    assert isinstance(bad, InvalidFrame)
    assert str(bad) == (
        f"the picture of {len(data):,} bytes ended the process that read it (exit status -9); "
        "save it anew as a plain JPEG or PNG, or leave it out"
    )
    assert not isinstance(good, BaseException)


def _with_time_for_all_but(picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for the models, too, for longer than this picture is to be waited for."""
    read = _ReaderProcess.read

    def patient(process: _ReaderProcess, data: bytes, limit_s: float) -> object:
        return read(process, data, limit_s if data == picture else PATIENT_S)

    monkeypatch.setattr(_ReaderProcess, "read", patient)


def test_a_picture_that_takes_too_long_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = endless()
    _with_time_for_all_but(data, monkeypatch)

    async def read_both(readers: PictureReaders) -> list[object]:
        await readers.read(SLIDE)  # so that it is the picture, and not the models, that takes long
        return list(await asyncio.gather(readers.read(data), readers.read(SLIDE), return_exceptions=True))

    with closing(PictureReaders(1, limit_s=2)) as readers:
        bad, good = asyncio.run(read_both(readers))
    assert isinstance(bad, InvalidFrame)
    assert str(bad) == (
        f"the picture of {len(data):,} bytes was not read in 2 s; save it anew as a plain JPEG or PNG, or leave it out"
    )
    assert not isinstance(good, BaseException)


def test_there_are_as_many_processes_as_said_and_no_more_than_are_needed() -> None:
    async def some(pictures: int) -> None:
        await asyncio.gather(*(readers.read(SLIDE) for _ in range(pictures)))

    before = len(reading())
    with closing(PictureReaders(2, limit_s=PATIENT_S)) as readers:
        for _ in range(3):
            asyncio.run(some(1))
        assert len(reading()) == before + 1
        asyncio.run(some(5))
        assert len(reading()) == before + 2


def test_half_the_cores_read_where_nothing_else_is_said() -> None:
    with closing(PictureReaders()) as readers:
        assert readers.processes == max(1, len(os.sched_getaffinity(0)) // 2)


def test_closing_ends_all_at_once() -> None:
    before = reading()
    data = endless()

    async def close_meanwhile() -> list[object]:
        tasks = [asyncio.create_task(readers.read(data)) for _ in range(4)]
        await asyncio.to_thread(wait_for, "a picture is being read", lambda: len(reading()) > len(before))
        tasks.pop().cancel()
        await asyncio.to_thread(readers.close)
        return await asyncio.gather(*tasks, return_exceptions=True)

    readers = PictureReaders(1)
    ended = asyncio.run(asyncio.wait_for(close_meanwhile(), 20))
    assert [str(error) for error in ended] == ["these picture readers are closed; nobody is left to read"] * 3
    assert reading() == before
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(readers.read(SLIDE))


_WORKER = """
import asyncio, multiprocessing, sys
from pathlib import Path
from pipeline.picture_readers import PictureReaders

async def main():
    readers = PictureReaders(2)
    data = Path(sys.argv[1]).read_bytes()
    reads = [asyncio.create_task(readers.read(data)) for _ in range(2)]
    while len(children := multiprocessing.active_children()) < 2:
        await asyncio.sleep(0.01)
    print(*(child.pid for child in children), flush=True)
    await asyncio.gather(*reads)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_worker_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    script, picture = tmp_path / "worker.py", tmp_path / "endless.jpg"
    script.write_text(_WORKER)
    picture.write_bytes(endless())
    command = [sys.executable, str(script), str(picture)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": "."}) as worker:
        assert worker.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in worker.stdout.readline().split()]
        try:
            assert len(processes) == 2
            wait_for("both read", lambda: all(cpu_s(process) > 0.5 for process in processes), PATIENT_S)
            worker.kill()
            wait_for("both are gone", lambda: gone(processes))
        finally:
            worker.kill()
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
