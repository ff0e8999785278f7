"""Whether Redis answers, and keeps what it accepts: by what it says of itself, with no right to `CONFIG`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, cast

from vidask.connection import connect, queue_errors
from worker.doctor.findings import Finding, failed, ok, warning

#: The oldest that the tests run on.
_OLDEST = (6, 2)
_KEEP = "start Redis with --appendonly yes --maxmemory-policy noeviction"


def read_info(url: str) -> Mapping[str, Any]:
    """What Redis says of itself.

    Raises:
        QueueUnavailable: it does not answer, or refuses us.
        InvalidSettings: the address is not one.
    """
    with closing(connect(url)) as connection, queue_errors(url):
        return cast("Mapping[str, Any]", connection.info())


def redis(info: Mapping[str, Any]) -> Finding:
    """That it is new enough."""
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return warning(
            f"Redis {version} answers; vidask is tested with {oldest} and newer", f"update it to {oldest} or newer"
        )
    return ok(f"Redis {version} answers")


def eviction(info: Mapping[str, Any]) -> Finding:
    """That a full Redis refuses new jobs instead of dropping old ones."""
    policy, limit = info["maxmemory_policy"], int(info["maxmemory"])
    if policy == "noeviction":
        return ok("noeviction: a full Redis refuses new jobs and keeps those it has")
    if limit:
        return failed(f"maxmemory_policy is {policy}: with {limit / 1e6:,.0f} MB in use Redis drops jobs", _KEEP)
    return warning(f"maxmemory_policy is {policy}: harmless until a maxmemory is set, then jobs are dropped", _KEEP)


def persistence(info: Mapping[str, Any]) -> Finding:
    """That accepted jobs outlive a restart of Redis."""
    if not info["aof_enabled"]:
        return warning("no append-only file: jobs accepted since the last snapshot are lost when Redis restarts", _KEEP)
    if info["aof_last_write_status"] != "ok":
        return failed(
            "Redis cannot write its append-only file, and refuses new jobs", "free space on its disk; its log says more"
        )
    return ok("append-only file: jobs outlive a restart of Redis")
