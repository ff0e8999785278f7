"""Whether the settings can be read, and nothing in the environment is meant for one but misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from config import Settings
from vidask.connection import redacted
from vidask.errors import VidaskError
from worker.doctor.findings import Finding, given, ok, warning

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


def _variable(name: str) -> str:
    return str(Settings.model_fields[name].validation_alias or f"{_PREFIX}{name.upper()}")


def _meant(variable: str, known: list[str]) -> str:
    guesses = difflib.get_close_matches(variable.upper(), known, n=1)
    return f"did you mean {guesses[0]}?" if guesses else "take it out; README.md lists all settings"
