"""Whether Redis lets its user do all that a worker does."""

from __future__ import annotations

from collections.abc import Sequence

from vidask.addresses import read_address
from worker.doctor.findings import Finding, failed, ok
from worker.rights import REMEDY, named


def users(missing: Sequence[str], url: str) -> Finding:
    """That no right is missing.

    Args:
        missing: those that are (`worker.rights.missing_rights`).
        url: Redis's address, which names the user.
    """
    user = read_address(url).options.get("username") or "default"
    if missing:
        return failed(f"user {user!r} may not: {named(missing)}", REMEDY)
    return ok(f"user {user!r} may do all that a worker does")
