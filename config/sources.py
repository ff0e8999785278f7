"""Where settings come from besides arguments: variables, and the TOML file that one of them names."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, cast

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource

from vidask.errors import InvalidSettings

#: The table of the file that `VLLM_CONFIG` is in the environment.
TABLE = "vllm_config"

_SHOWN_CHARS = 60
_WANTED = """write it like VLLM_CONFIG='{"max_model_len": 8192}'"""


def parse_engine_config(text: str) -> dict[str, Any]:
    """`VLLM_CONFIG` as the arguments it stands for.

    Raises:
        InvalidSettings: it is no JSON, or JSON but no object.
    """
    shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    try:
        read = json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"VLLM_CONFIG: {shown!r} is not JSON ({error.msg} at character {error.pos + 1}); {_WANTED}"
        raise InvalidSettings(msg) from None
    if not isinstance(read, dict):
        raise InvalidSettings(f"VLLM_CONFIG: {shown!r} is JSON, but not an object; {_WANTED}")
    return cast("dict[str, Any]", read)


class Environment(EnvSettingsSource):
    """The environment's variables."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ARG002  the base class's
        """`engine_config` is the only setting that is not plain text."""
        return parse_engine_config(value)


class ConfigFile(PydanticBaseSettingsSource):
    """The TOML file that `config_file` names: settings by the names of their fields, and the table `[vllm_config]`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  the base class's
        """Not asked: the file is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the file says, by the names that the other sources use."""
        path = self.current_state.get("config_file")
        if path is None:
            return {}
        said = _read(Path(path))
        self._refuse_unknown(Path(path), said)
        return {self._source_name(name): value for name, value in said.items()}

    def _refuse_unknown(self, path: Path, said: dict[str, Any]) -> None:
        known = {*self.settings_cls.model_fields, TABLE} - {"config_file", "engine_config"}
        if unknown := sorted(set(said) - known):
            guesses = difflib.get_close_matches(unknown[0], known, n=1)
            fix = f"did you mean {guesses[0]!r}?" if guesses else f"known are {', '.join(sorted(known))}"
            raise InvalidSettings(
                f"config_file: {str(path)!r} sets {', '.join(map(repr, unknown))}, which is no setting; {fix}"
            )

    def _source_name(self, name: str) -> str:
        field_name = "engine_config" if name == TABLE else name
        return str(self.settings_cls.model_fields[field_name].validation_alias or field_name)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"config_file: {str(path)!r} cannot be read as TOML ({reason}); correct it, or VIDASK_CONFIG_FILE"
        raise InvalidSettings(msg) from None
