"""Whether Redis answers, leads, and keeps what it accepts: by what it says of itself, with no right to `CONFIG`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import closing
from typing import Any, cast

from vidask.addresses import Address, read_address
from vidask.connection import DEFAULT_URL, connect, queue_errors
from vidask.sentinels import PrimaryPool
from worker.doctor.findings import Finding, failed, ok, warning

#: The oldest that the tests run on.
_OLDEST = (6, 2)
_KEEP = "start Redis with --appendonly yes --maxmemory-policy noeviction"


def read_info(url: str) -> Mapping[str, Any]:
    """What Redis says of itself; `leader` is its host and port where sentinels named it.

    Raises:
        QueueUnavailable: it does not answer, or refuses us.
        InvalidSettings: the address is not one.
    """
    with closing(connect(url)) as connection, queue_errors(url):
        info, pool = cast("Mapping[str, Any]", connection.info()), connection.connection_pool
        return {**info, "leader": pool.master_address} if isinstance(pool, PrimaryPool) else info


def redis(info: Mapping[str, Any], url: str = DEFAULT_URL) -> Finding:
    """That it is new enough, and can be relied on at the address by which it is asked."""
    version, address = str(info["redis_version"]), read_address(url)
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return warning(
            f"Redis {version} answers; vidask is tested with {oldest} and newer", f"update it to {oldest} or newer"
        )
    tls = " over TLS" if address.encrypted else ""
    return _not_to_be_relied_on(info, address) or ok(f"Redis {version} answers{tls}{_named(info, address)}")


def _named(info: Mapping[str, Any], address: Address) -> str:
    if not address.sentinels:
        return ""
    host, port = info["leader"]
    return f" at {host}:{port}, which the sentinels name as {address.master!r}"


def _not_to_be_relied_on(info: Mapping[str, Any], address: Address) -> Finding | None:
    if info.get("role") == "slave":
        leader = f"{info['master_host']}:{info['master_port']}"
        return failed(f"this is a replica of {leader}, and takes no jobs", f"name {leader}, or its sentinels")
    if overheard := _overheard(address):
        return warning(f"the password goes to {overheard} unencrypted", "write rediss:// where Redis there speaks TLS")
    if address.sentinels and not info["connected_slaves"]:
        return warning(
            f"Redis{_named(info, address)}, has no replica: when it is gone, none leads",
            "start one with --replicaof HOST PORT",
        )
    return None


def _overheard(address: Address) -> str | None:
    """The host to which a password is sent that others on the way could read."""
    if address.encrypted or not address.options.get("password"):
        return None
    return next((host for host, _ in address.places if not _is_near(host)), None)


def _is_near(host: str) -> bool:
    """Whether it is this host itself, or a service beside it, as Docker Compose names those: without a dot."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host


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
