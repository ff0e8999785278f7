"""Changes to a video's chunks happen one at a time, and the newest job wins whatever order the jobs are worked on in."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import redis
from redis.lock import Lock

from vidask import keys
from vidask.ledger import load_script, resolved
from worker.claims import Claim

T = TypeVar("T")


class Videos:
    """What was last applied to each video, and the lock under which it changes."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._take_over = load_script(connection, "worker", "take_over")

    def change(
        self,
        tenant: str,
        video_id: str,
        claim: Claim,
        *,
        apply: Callable[[Callable[[], object]], T],
        superseded: Callable[[], T],
    ) -> T:
        """Apply a change, unless one that was asked for later has been applied already.

        Args:
            tenant: whose video.
            video_id: the video.
            claim: the job that wants it.
            apply: makes the change; what it is given is to be called now and then while it works, to keep the lock.
            superseded: is called instead when there is nothing to be done any more.
        """
        key = keys.video(tenant, video_id)
        with self._locked(keys.video_lock(tenant, video_id), claim) as lock:
            applied = resolved(self._redis.hvals(key))
            if any(float(at_s) > claim.created_at_s for at_s in applied):
                return superseded()
            made = apply(lock.reacquire)
            with self._redis.pipeline() as pipe:
                pipe.hset(key, claim.kind, f"{claim.created_at_s:.6f}")
                pipe.expire(key, keys.QUEUED_TTL_S)
                pipe.execute()
            return made

    @contextmanager
    def _locked(self, key: str, claim: Claim) -> Generator[Lock]:
        """The lock; a worker that died while it had this very job leaves it to the next that has it."""
        lock = self._redis.lock(key, timeout=keys.LOCK_TTL_S, sleep=0.05)
        self._take_over(keys=[key], args=[f"{claim.job_id}/"])
        lock.acquire(token=f"{claim.job_id}/{claim.attempt}")
        try:
            yield lock
        finally:
            lock.release()
