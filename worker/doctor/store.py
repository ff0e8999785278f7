"""Whether Chroma answers or its folder can be used, what it holds, and whether disks have room."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any, cast

from chromadb.api import ClientAPI
from filelock import Timeout

from config import Settings
from pipeline.chroma import open_chroma
from pipeline.chroma_errors import ChromaErrors
from vidask.addresses import redacted
from vidask.errors import StoreUnavailable, VidaskError
from worker.doctor.findings import Finding, failed, failed_with, given, ok, warning

#: Below this an embedded Chroma is not written to (`pipeline.chroma_errors`).
_LEAST_BYTES = 64 * 10**6
_LITTLE_BYTES = 10**9
_LOOKED_AT = 100
#: What Chroma makes first.
_DATABASE = "chroma.sqlite3"


@dataclass(frozen=True)
class Indexed:
    """What a collection holds: the name of its embedding model, and how many numbers its vectors have (0: it has none)."""

    embedding_model: str
    dimension: int


@dataclass(frozen=True)
class Store:
    """A Chroma that can be used.

    Attributes:
        where: it is.
        indexed: of its collections, the different ones; nothing where nothing is indexed.
    """

    where: str
    indexed: frozenset[Indexed] = frozenset()


class StoreInUse(StoreUnavailable):
    """A worker holds the embedded Chroma, this host's perhaps."""


def read_store(settings: Settings) -> Store:
    """Open Chroma as a worker does, and look at its first hundred collections. A database that is not there yet is not made.

    Raises:
        StoreUnavailable: it does not answer, or its folder cannot be written, or is in use (`StoreInUse`).
        InvalidSettings: its address is not one.
    """
    folder = settings.chroma_path
    if settings.chroma_url is None and not (folder / _DATABASE).exists():
        _check_writable(folder)
        return Store(f"{folder}, where a worker will make its database")
    try:
        with open_chroma(settings) as client, ChromaErrors(client.get_settings()):
            collections = client.list_collections(limit=_LOOKED_AT)
            where = redacted(settings.chroma_url) if settings.chroma_url else str(folder)
            return Store(where, frozenset(_indexed(client, each.name) for each in collections))
    except StoreUnavailable as error:
        if isinstance(error.__context__, Timeout):  # of the lock in the folder
            raise StoreInUse(str(error)) from error
        raise


def chroma(store: Store | VidaskError) -> Finding:
    """That it is there."""
    if isinstance(store, StoreInUse):
        found = failed_with(store)
        return warning(found.said, f"if that worker is meant to run, nothing; else {found.fix}")
    return ok(given(store).where)


def index(store: Store, embedding_model: str, dimension: int) -> Finding:
    """That what is indexed was made with the embedding model that the settings name.

    Args:
        store: what is indexed.
        embedding_model: of the settings.
        dimension: how many numbers its vectors have.
    """
    made = f"{embedding_model!r} makes {dimension} numbers a vector"
    for each in sorted(store.indexed, key=lambda each: (each.embedding_model, each.dimension)):
        if each.embedding_model != embedding_model or each.dimension not in (0, dimension):
            return failed(
                f"the store holds vectors of {each.embedding_model!r} with {each.dimension} numbers, {made}",
                "set VIDASK_EMBEDDING_MODEL back, or index into another folder or database",
            )
    return ok(f"{made}; " + ("so does what is indexed" if store.indexed else "nothing is indexed yet"))


def disk(free: Mapping[Path, int]) -> Finding:
    """That there is room.

    Args:
        free: bytes, by the folder that is written to.
    """
    least = min(free, key=lambda folder: free[folder])
    said = f"{free[least] / 1e6:,.0f} MB are free at {least}"
    if free[least] < _LEAST_BYTES:
        return failed(f"{said}; a worker writes to none with less than {_LEAST_BYTES / 1e6:.0f} MB", "free space there")
    if free[least] < _LITTLE_BYTES:
        return warning(said, "free space there")
    return ok(said)


def read_disks(folders: list[Path]) -> Mapping[Path, int]:
    """Free bytes of the disk that each folder is on, or will be."""
    return {folder: disk_usage(_existing(folder)).free for folder in folders}


def _check_writable(folder: Path) -> None:
    above = _existing(folder)
    if not os.access(above, os.W_OK | os.X_OK):
        msg = f"the folder {above} may not be written by this user; permit it, or set VIDASK_CHROMA_PATH to another"
        raise StoreUnavailable(msg)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _indexed(client: ClientAPI, name: str) -> Indexed:
    collection = client.get_collection(name, embedding_function=None)
    vectors = cast("Any", collection.get(limit=1, include=["embeddings"]))["embeddings"]
    model = str((collection.metadata or {}).get("embedding_model"))
    return Indexed(model, len(vectors[0]) if len(vectors) else 0)
