"""What a worker does every few seconds beside its jobs: say that it lives, and look for what others have lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from celery.utils.log import get_logger
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.claims import Claim, Claims
from worker.logs import fields
from worker.sweep import Sweep

log = get_logger(__name__)

#: So often within the time of a lease.
_TIMES_A_LEASE = 5


class Leases:
    """Renews the leases of a worker's jobs, and sweeps, on a thread of its own.

    Args:
        claims: the jobs that the worker holds.
        sweep: looks for what is lost.
        on_lost: called with a claim that is another worker's by now.
        lease_s: how long a lease holds, seconds.
    """

    def __init__(self, claims: Claims, sweep: Sweep, *, on_lost: Callable[[Claim], object], lease_s: float) -> None:
        self._claims = claims
        self._sweep = sweep
        self._on_lost = on_lost
        self._pause_s = lease_s / _TIMES_A_LEASE
        self._closing = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; leases run out then."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._once()
            except (RedisError, OperationalError) as error:
                if not self._failing:
                    log.warning("leases are not renewed for now: Redis: %s", error)
                self._failing = True
            else:
                self._failing = False
            self._closing.wait(self._pause_s)

    def _once(self) -> None:
        """Renewing comes first: after a Redis that was away no worker takes its own jobs for lost."""
        for claim in self._claims.renew():
            log.warning(
                "job %s was given to another worker: this one was silent for too long",
                claim.job_id,
                extra=fields(job_id=claim.job_id, kind=claim.kind, attempt=claim.attempt),
            )
            self._on_lost(claim)
        self._sweep.run()
