"""Chroma's errors become ours, here alone; and a full disk is noticed before Chroma writes to it.

Chroma 1.5 does not get over a full disk, embedded or in its server: the transaction that met it stays open. Who comes later waits
1,000 s for its lock, in an embedded Chroma with Python's own lock in hand, so that the whole worker stands still; and what is still
written inside that transaction is gone with the next start.
"""

from __future__ import annotations

import shutil

import httpx
from chromadb.config import Settings as ChromaSettings
from chromadb.errors import ChromaError, InvalidArgumentError

from vidask.errors import StoreUnavailable, one_line

#: What has to be free on the disk of an embedded Chroma. A write takes a tenth of it; the rest is for who else writes there.
_SPARE_BYTES = 64 * 10**6
_SHOWN_CHARS = 500

#: What Chroma, or SQLite in it, says of a disk that takes no more.
_FULL = ("disk is full", "disk I/O error", "No space left", "apply logs to the metadata segment")
#: And of files that cannot be opened.
_NO_FILES = ("open files", "unable to open database file", "apply logs to the hnsw segment")


class ChromaErrors:
    """A context manager that raises `StoreUnavailable` for what chromadb raises inside it, and keeps out of an embedded Chroma that
    has met a full disk.

    Args:
        settings: of the client, which say where its Chroma is.
    """

    def __init__(self, settings: ChromaSettings) -> None:
        self._embedded = settings.is_persistent
        scheme = "https" if settings.chroma_server_ssl_enabled else "http"
        self._where = (
            f"the folder {settings.persist_directory}"
            if self._embedded
            else f"the server at {scheme}://{settings.chroma_server_host}:{settings.chroma_server_http_port}"
        )
        self._folder = settings.persist_directory
        self._met_full_disk = False

    def check_room(self) -> None:
        """To be called before a write. The disk of a server cannot be looked at from here.

        Raises:
            StoreUnavailable: an embedded Chroma's disk is full.
        """
        if not self._embedded:
            return
        free = shutil.disk_usage(self._folder).free
        if free < _SPARE_BYTES:
            least = f"at least {_SPARE_BYTES / 1e6:.0f} MB have to be"
            raise StoreUnavailable(
                f"Chroma's disk is full: {free / 1e6:.0f} MB are free, {least}; free space at {self._where}"
            )

    def __enter__(self) -> None:
        if self._embedded and self._met_full_disk:
            msg = f"Chroma in {self._where} has met a full disk; free space there and start the worker again"
            raise StoreUnavailable(msg, passes=False)

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        # An exception of no class of its own is what chromadb makes of an answer that is not Chroma's: a proxy's 502, say.
        if isinstance(error, (ChromaError, ConnectionError, httpx.HTTPError)) or type(error) is Exception:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> StoreUnavailable:
        said = one_line(error)[:_SHOWN_CHARS]
        if isinstance(error, InvalidArgumentError):
            return StoreUnavailable(
                f"Chroma refuses the vectors ({said}); was the embedding model changed?", passes=False
            )
        self._met_full_disk |= _is_among(_FULL, said)
        return StoreUnavailable(self._sentence(error, said))

    def _sentence(self, error: Exception, said: str) -> str:
        program = "the worker" if self._embedded else "Chroma"
        remedy = f"free space at {self._where}, then start {program} again"
        if _is_among(_FULL, said):
            return f"Chroma's disk is full ({said}); {remedy}"
        if _is_among(_NO_FILES, said):
            return f"Chroma cannot open its files ({said}); raise the limit of open files (ulimit -n) for {self._where}"
        if isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout)):
            return f"Chroma hangs ({said}), as it does after a full disk; {remedy}"
        return f"Chroma does not answer ({said}); check {self._where}"


def _is_among(signs: tuple[str, ...], said: str) -> bool:
    return any(sign in said for sign in signs)
