"""Pictures on their way to a worker: in Redis under the SHA-256 of their bytes, each once however often it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import redis

from vidask import keys
from vidask.frames import Frame
from vidask.models import FrameRef

#: So much is sent at once, bytes, with one more picture at most: Redis takes it well within the time that a client waits.
_CHUNK_BYTES = 4 * 2**20
_CHUNK_FRAMES = 256


class Blobs:
    """The pictures of one tenant on one Redis."""

    def __init__(self, connection: redis.Redis, tenant: str) -> None:
        self._redis = connection
        self._tenant = tenant

    def upload(self, frames: Iterable[Frame]) -> list[FrameRef]:
        """Have the bytes of frames in Redis for BLOB_TTL_S from now on; returns what jobs say of the frames.

        Frames are read as they are sent, so that of a generator's no more than a few are in memory.
        """
        return [ref for chunk in _chunks(frames) for ref in self._upload(chunk)]

    def _upload(self, frames: list[Frame]) -> list[FrameRef]:
        refs = [frame.reference() for frame in frames]
        images = {
            keys.blob(self._tenant, ref.sha256): frame.image
            for ref, frame in zip(refs, frames, strict=True)
            if ref.sha256 is not None and frame.image is not None
        }
        self._send({key: images[key] for key, there in self._renew(images) if not there})
        return refs

    def _renew(self, images: Mapping[str, bytes]) -> Iterable[tuple[str, bool]]:
        """Which are there; these stay for as long again."""
        with self._redis.pipeline(transaction=False) as pipe:  # pyright: ignore[reportUnknownMemberType]  untyped in redis-py
            for key in images:
                pipe.expire(key, keys.BLOB_TTL_S)
            there: list[Any] = pipe.execute()
        return zip(images, there, strict=True)

    def _send(self, images: Mapping[str, bytes]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:  # pyright: ignore[reportUnknownMemberType]  likewise
            for key, image in images.items():
                pipe.set(key, image, ex=keys.BLOB_TTL_S)
            pipe.execute()


def _chunks(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    chunk: list[Frame] = []
    size = 0
    for frame in frames:
        chunk.append(frame)
        size += len(frame.image or b"")
        if size >= _CHUNK_BYTES or len(chunk) == _CHUNK_FRAMES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
