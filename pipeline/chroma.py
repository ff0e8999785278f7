"""Opening Chroma: embedded in this process, or a server."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import chromadb
import httpx
from chromadb.api import ClientAPI
from chromadb.config import Settings as ChromaSettings
from filelock import FileLock, Timeout

from config import Settings
from pipeline.chroma_errors import ChromaErrors
from vidask.addresses import redacted
from vidask.errors import InvalidSettings, StoreUnavailable

_LOCK_FILE = ".vidask.lock"
_PORTS = {"http": 80, "https": 443}
#: A server that hangs is given up: a change has to end while its video's lock holds (`keys.LOCK_TTL_S`).
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


@contextmanager
def open_chroma(settings: Settings) -> Iterator[ClientAPI]:
    """A client of the server that `settings` names, else of the embedded database in its folder, held until the block is left.

    Raises:
        StoreUnavailable: the server does not answer, or another process holds the folder, or it cannot be written, or is full.
        InvalidSettings: the server's address is not one.
    """
    if settings.chroma_url is not None:
        yield _connect(settings.chroma_url)
        return
    with _only_process_in(settings.chroma_path):
        _permit_open_files()
        yield _embedded(settings.chroma_path)


def _embedded(folder: Path) -> ClientAPI:
    settings = ChromaSettings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder))
    with ChromaErrors(settings):
        return chromadb.PersistentClient(folder, settings=settings)


def _connect(url: str) -> ClientAPI:
    scheme, host, port = _address(url)
    try:
        client = chromadb.HttpClient(
            host,
            port,
            ssl=scheme == "https",
            settings=ChromaSettings(anonymized_telemetry=False),
        )
    except ValueError as error:  # what chromadb raises when nobody answers
        raise StoreUnavailable(
            f"Chroma at {redacted(url)} does not answer ({error}); start it, or correct VIDASK_CHROMA_URL"
        ) from error
    cast("Any", client)._server._session.timeout = _TIMEOUT  # noqa: SLF001  chromadb waits for ever, and has no setting for it
    return client


def _address(url: str) -> tuple[str, str, int]:
    try:
        address = urlsplit(url)
        if address.scheme in _PORTS and address.hostname:
            return address.scheme, address.hostname, address.port or _PORTS[address.scheme]
    except ValueError:  # what urlsplit makes of half an IPv6 address, and of a port that is none
        pass
    raise InvalidSettings(f"chroma_url: {redacted(url)!r} is not an address; write http://HOST:PORT")


@contextmanager
def _only_process_in(folder: Path) -> Iterator[None]:
    """Embedded Chroma is for one process: two would each keep an index that the other's writes are missing from."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / _LOCK_FILE).acquire(timeout=0)
    except Timeout:
        msg = (
            f"another worker holds the embedded Chroma in {folder}; stop it, give this one its own VIDASK_CHROMA_PATH, "
            "or start a Chroma server and set VIDASK_CHROMA_URL for both"
        )
        raise StoreUnavailable(msg) from None
    except OSError as error:
        msg = f"the folder {folder} cannot be written ({error.strerror}); set VIDASK_CHROMA_PATH to one that can"
        raise StoreUnavailable(msg) from None
    with held:
        yield


def _permit_open_files() -> None:
    """Chroma keeps a fifth as many collections open as the process may open files; the usual 1,024 would close busy videos."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
