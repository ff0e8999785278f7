"""A conversation in a file: a JSON list of `{"role": "user" | "assistant", "content": …}`, oldest first."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vidask.errors import InvalidJob
from vidask.models import MAX_HISTORY_MESSAGES, Message
from vidask.validation import describe

_MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(list[Message])


def read_history(path: Path) -> list[Message]:
    """The newest turns of the conversation, as many as a job may carry; none where the file does not exist yet.

    Raises:
        InvalidJob: the file is not such a list.
    """
    try:
        return _MESSAGES.validate_json(path.read_bytes())[-MAX_HISTORY_MESSAGES:]
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise InvalidJob(f"{path}: {describe(error)}; it holds a JSON list of role and content") from None
    except OSError as error:
        raise InvalidJob(f"{path} cannot be read ({error.strerror})") from None


def write_history(path: Path, messages: list[Message]) -> None:
    """Replace the file in one step, so that a crash leaves the old conversation."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(json.dumps(turns, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, path)  # noqa: PTH105
