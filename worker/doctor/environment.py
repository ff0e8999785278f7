"""Whether the settings can be read, nothing in the environment is meant for one but misspelt, and the port they name can be had."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from config import Settings
from vidask.addresses import redacted
from vidask.errors import VidaskError
from worker.doctor.findings import Finding, NotLookedAt, failed_with, given, ok, warning
from worker.prometheus import PortTaken, page

#: The client reads it, and the worker does not.
_OF_THE_CLIENT = ("VIDASK_TENANT",)
_PREFIX = "VIDASK_"


def settings(read: Settings | VidaskError, variables: Iterable[str]) -> Finding:
    """That they can be read.

    Args:
        read: the settings, or what was met in their place.
        variables: the names in the environment.
    """
    found = given(read)
    known = [*_OF_THE_CLIENT, *map(_variable, Settings.model_fields)]
    if unknown := sorted(name for name in variables if name.upper().startswith(_PREFIX) and name.upper() not in known):
        return warning(f"{', '.join(unknown)} in the environment is no setting", _meant(unknown[0], known))
    return ok(f"llm_backend {found.llm_backend}, Redis at {redacted(found.redis_url)}")


def try_port(settings: Settings) -> VidaskError | None:
    """What is met where a worker would show its metrics; opens the port for a moment."""
    if settings.metrics_port is None:
        return None
    try:
        with page(CollectorRegistry(), settings.metrics_host, settings.metrics_port):
            return None
    except VidaskError as error:
        return error


def ports(settings: Settings, met: VidaskError | None) -> Finding:
    """That a worker can show its metrics.

    Args:
        settings: those of the worker.
        met: what `try_port` found.
    """
    if settings.metrics_port is None:
        msg = "without VIDASK_METRICS_PORT a worker opens none"
        raise NotLookedAt(msg)
    if isinstance(met, PortTaken):
        taken = failed_with(met).said
        return warning(
            f"{taken}, by a worker that runs already or by something else", "choose another for another worker"
        )
    given(met)
    return ok(f"the metrics can be shown at {settings.metrics_host}:{settings.metrics_port}")


def _variable(name: str) -> str:
    return str(Settings.model_fields[name].validation_alias or f"{_PREFIX}{name.upper()}")


def _meant(variable: str, known: list[str]) -> str:
    guesses = difflib.get_close_matches(variable.upper(), known, n=1)
    return f"did you mean {guesses[0]}?" if guesses else "take it out; README.md lists all settings"
