"""Changes to a video happen one at a time, and the newest job wins whatever order the jobs are worked on in.

What is said and what is shown are changed without regard to each other. Forgetting goes for both, as far as they are older.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import redis
from redis.lock import Lock

from vidask import keys
from vidask.ledger import load_script, resolved
from worker.claims import Claim

T = TypeVar("T")

_FORGET = "forget"
_INDEXED = frozenset({"index_transcript", "index_frames"})


@dataclass(frozen=True)
class _Turn:
    """A job's turn at a video: nobody else changes it meanwhile.

    Attributes:
        lock: to be acquired again now and then.
        newer: the kinds of change that jobs have made which were accepted later, and are of no batch with this one.
        newest: whether no job of this kind at all was accepted later.
    """

    lock: Lock
    newer: frozenset[str]
    newest: bool


class Videos:
    """What was last applied to each video, and the lock under which it changes."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._take_over = load_script(connection, "worker", "take_over")

    def index(
        self,
        tenant: str,
        video_id: str,
        claim: Claim,
        *,
        apply: Callable[[Callable[[], object]], T],
        superseded: Callable[[], T],
        batch: str | None = None,
    ) -> T:
        """Apply a change, unless one of its kind, or forgetting, that was asked for later has been applied already.

        Args:
            tenant: whose video.
            video_id: the video.
            claim: the job that wants it.
            apply: makes the change; what it is given is to be called now and then while it works, to keep the lock.
            superseded: is called instead when there is nothing to be done any more.
            batch: jobs that have the same one do not supersede each other; `""` is none. None for kinds that have no batches.
        """
        with self._turn(tenant, video_id, claim, batch) as turn:
            if turn.newer & {claim.kind, _FORGET}:
                return superseded()
            made = apply(turn.lock.reacquire)
            if turn.newest:
                self._note(tenant, video_id, claim, batch)
            return made

    def forget(
        self,
        tenant: str,
        video_id: str,
        claim: Claim,
        *,
        apply: Callable[[frozenset[str]], T],
        superseded: Callable[[], T],
    ) -> T:
        """Forget what was indexed before the job was asked for: `apply` is given the kinds of change whose work that is."""
        with self._turn(tenant, video_id, claim) as turn:
            older = frozenset[str]() if _FORGET in turn.newer else _INDEXED - turn.newer
            if not older:
                return superseded()
            made = apply(older)
            self._note(tenant, video_id, claim)
            return made

    @contextmanager
    def _turn(self, tenant: str, video_id: str, claim: Claim, batch: str | None = None) -> Generator[_Turn]:
        with self._locked(keys.video_lock(tenant, video_id), claim) as lock:
            applied = resolved(self._redis.hgetall(keys.video(tenant, video_id)))
            of_batch = applied.pop("batch", "")
            newer = frozenset(kind for kind, at_s in applied.items() if float(at_s) > claim.created_at_s)
            of_others = newer - {claim.kind} if batch and batch == of_batch else newer
            yield _Turn(lock, of_others, newest=claim.kind not in newer)

    def _note(self, tenant: str, video_id: str, claim: Claim, batch: str | None = None) -> None:
        key, at_s = keys.video(tenant, video_id), f"{claim.created_at_s:.6f}"
        with self._redis.pipeline() as pipe:
            pipe.hset(key, mapping={claim.kind: at_s} if batch is None else {claim.kind: at_s, "batch": batch})
            pipe.expire(key, keys.QUEUED_TTL_S)
            pipe.execute()

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
