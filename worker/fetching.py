"""The bytes of frames: from Redis, where a producer has left them, or from a file below the media root."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.client import NEVER_DECODE
from redis.exceptions import RedisError

from pipeline.retrying import STORE
from vidask import keys
from vidask.connection import passes
from vidask.errors import InvalidFrame, Unavailable, one_line
from vidask.ledger import resolved
from vidask.models import MAX_FRAME_BYTES, FrameRef
from worker.errors import GivenBack

#: A pipe that is opened to be read would wait for a writer; and what is a link by now was none when it was looked at.
_OPENING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Fetching:
    """Fetches frames for the jobs of one worker.

    Args:
        connection: to Redis.
        media_root: the folder that paths are below; None where jobs may name none.
    """

    def __init__(self, connection: redis.Redis, media_root: Path | None) -> None:
        self._redis = connection
        self._media_root = media_root

    def of(self, tenant: str) -> Callable[[FrameRef], Awaitable[bytes]]:
        """Fetches frames of one tenant's jobs. While Redis is away it waits for half a minute.

        What it returns raises:
            InvalidFrame: the picture has expired, is not there, or is not to be had by that path.
            GivenBack: Redis stays away.
        """
        return partial(self._fetch, tenant)

    async def _fetch(self, tenant: str, frame: FrameRef) -> bytes:
        if frame.sha256 is None:
            return await asyncio.to_thread(self._file, frame.path or "")
        key = keys.blob(tenant, frame.sha256)
        try:
            blob = await STORE.acall(lambda: asyncio.to_thread(self._blob, key))
        except Unavailable as error:
            raise GivenBack(str(error)) from None
        if not blob:
            msg = f"picture {frame.sha256[:12]}… of {frame.time_s:g} s has expired; send it again"
            raise InvalidFrame(msg)
        return _of_size(blob, f"picture {frame.sha256[:12]}…")

    def _blob(self, key: str) -> bytes:
        """Empty where there is none; of one that is too large, a little more than is taken."""
        as_bytes: dict[str, Any] = {NEVER_DECODE: True}
        try:
            return resolved(self._redis.execute_command("GETRANGE", key, 0, MAX_FRAME_BYTES, **as_bytes))
        except RedisError as error:
            raise Unavailable(f"Redis: {one_line(error)}", passes=passes(error)) from error

    def _file(self, path: str) -> bytes:
        if self._media_root is None:
            raise InvalidFrame(f"{path!r} is a path, and this worker has no media root; set VIDASK_MEDIA_ROOT for it")
        try:
            return _of_size(_read(_inside(self._media_root, path)), repr(path))
        except (OSError, RuntimeError) as error:  # the second where links go round in a circle
            reason = (error.strerror if isinstance(error, OSError) else None) or "a circle of links"
            msg = f"{path!r} cannot be read below the media root ({reason.lower()}); correct the path"
            raise InvalidFrame(msg) from None


def _inside(root: Path, path: str) -> Path:
    """The file that a path leads to, without links, and below the root."""
    found = (root / path).resolve(strict=True)
    if not found.is_relative_to(root.resolve()):
        msg = f"{path!r} leads out of the media root; name a file below it"
        raise InvalidFrame(msg)
    return found


def _read(file: Path) -> bytes:
    """A regular file; of one that is too large, a little more than is taken."""
    with open(file, "rb", opener=lambda name, _: os.open(name, _OPENING)) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return opened.read(MAX_FRAME_BYTES + 1)


def _of_size(picture: bytes, name: str) -> bytes:
    if len(picture) > MAX_FRAME_BYTES:
        msg = f"{name}: more than {MAX_FRAME_BYTES:,} bytes, which is the most that is taken; make the picture smaller"
        raise InvalidFrame(msg)
    return picture
