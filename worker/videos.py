"""Changes to a video's chunks happen one at a time, and the newest job wins whatever order the jobs are worked on in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import redis

from vidask import keys
from vidask.ledger import resolved

T = TypeVar("T")


class Videos:
    """What was last applied to each video, and the lock under which it changes."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def change(
        self,
        tenant: str,
        video_id: str,
        kind: str,
        created_at_s: float,
        *,
        apply: Callable[[Callable[[], object]], T],
        superseded: Callable[[], T],
    ) -> T:
        """Apply a change, unless one that was asked for later has been applied already.

        Args:
            tenant: whose video.
            video_id: the video.
            kind: of the job.
            created_at_s: when the job was accepted, Redis time.
            apply: makes the change; what it is given is to be called now and then while it works, to keep the lock.
            superseded: is called instead when there is nothing to be done any more.
        """
        key = keys.video(tenant, video_id)
        lock = self._redis.lock(keys.video_lock(tenant, video_id), timeout=keys.LOCK_TTL_S, sleep=0.05)
        with lock:
            applied = resolved(self._redis.hvals(key))
            if any(float(at_s) > created_at_s for at_s in applied):
                return superseded()
            made = apply(lock.reacquire)
            with self._redis.pipeline() as pipe:
                pipe.hset(key, kind, f"{created_at_s:.6f}")
                pipe.expire(key, keys.QUEUED_TTL_S)
                pipe.execute()
            return made
