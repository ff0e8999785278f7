"""pydantic's errors, said in one line: the value, the limit and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vidask.errors import InvalidJob

_SHOWN_CHARS = 60

Model = TypeVar("Model", bound=BaseModel)


def build(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """Validate `fields` as `model`.

    Raises:
        InvalidJob: with one line that names each field that is wrong.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise InvalidJob(describe(error)) from None


def parse_json(model: type[Model], text: str) -> Model:
    """Like `build`, from JSON text."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise InvalidJob(describe(error)) from None


def describe(error: ValidationError) -> str:
    """One line for all that is wrong, the first three fields in full."""
    details = error.errors(include_url=False)
    lines = [_describe_one(detail) for detail in details[:3]]
    if len(details) > 3:
        lines.append(f"and {len(details) - 3} more")
    return "; ".join(lines)


def _describe_one(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "job"
    value, limits = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "string_too_long":
            return f"{where}: {len(value):,} characters, at most {limits['max_length']:,} are taken; shorten it"
        case "too_long":
            many = f"{limits['actual_length']:,}" if limits["actual_length"] else "too many"
            return f"{where}: {many} items, at most {limits['max_length']:,} are taken; send fewer"
        case "literal_error":
            return f"{where}: {_shown(value)} is not one of {limits['expected']}"
        case "string_pattern_mismatch":
            return f"{where}: {_shown(value)} does not match {limits['pattern']}; use letters, digits, '.', '_' and '-'"
        case "missing":
            return f"{where}: is missing"
        case "value_error":
            return f"{where}: {limits['error']}"
        case _:
            return f"{where}: {_shown(value)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
