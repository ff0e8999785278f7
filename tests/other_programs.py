"""Programs that are not ours, with the commands and options that the documentation gives them; what it needs more is added here."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import click
import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tests.pages import ROOT

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_EXTRAS = _PROJECT["optional-dependencies"]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
_TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


class _Requirement(click.ParamType[Any]):
    """A folder with extras that exist, or a package of constraints.txt or pyproject.toml, in versions that can be written so."""

    name = "requirement"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if found := re.fullmatch(r"(?:\.|vidask)(?:\[(.+)\])?", value):
            unknown = set(found[1].split(",") if found[1] else ()) - set(_EXTRAS)
        else:
            unknown = {self._package(value, param, ctx)} - _packages()
        if unknown:
            self.fail(f"{', '.join(sorted(unknown))}: neither an extra nor a package of ours", param, ctx)
        return value

    def _package(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return canonicalize_name(Requirement(value).name)
        except InvalidRequirement as error:
            self.fail(f"{value}: {str(error).splitlines()[0]}", param, ctx)


class _Here(click.ParamType[Any]):
    """A file of this repository, unless the path is absolute: that is the reader's."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not (ROOT / value).exists() and not value.startswith(("/", "~")):
            self.fail(f"{value}: no such file in the repository", param, ctx)
        return value


def _packages() -> set[str]:
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    declared = [Requirement(line).name for lines in _EXTRAS.values() for line in lines]
    return {canonicalize_name(name) for name in (*pinned, *declared)}


def _program(*parameters: click.Parameter, to_the_end: bool = False) -> click.Command:
    """A command; where it goes to the end, what stands behind its first argument are not options of its own."""
    return click.Command("", params=list(parameters), context_settings={"allow_interspersed_args": not to_the_end})


def _group(*parameters: click.Parameter, **commands: click.Command) -> click.Group:
    return click.Group("", params=list(parameters), commands=commands)


def _flag(*names: str) -> click.Option:
    return click.Option(names, is_flag=True)


def _option(*names: str, kind: click.ParamType[Any] = click.STRING) -> click.Option:
    return click.Option(names, type=kind, multiple=True)


def _one(name: str, kind: click.ParamType[Any] = click.STRING) -> click.Argument:
    return click.Argument([name], type=kind)


def _any(name: str, kind: click.ParamType[Any] = click.STRING) -> click.Argument:
    return click.Argument([name], type=kind, nargs=-1)


def _command_within(ctx: click.Context, _: click.Parameter, words: tuple[str, ...]) -> None:
    """What is started in a container is a command, too; the context's object checks it."""
    if words:
        ctx.obj(list(words))


_SERVICE = click.Choice(sorted(SERVICES))
_PROFILE = click.Choice(sorted({profile for service in SERVICES.values() for profile in service.get("profiles", ())}))
_WITHIN = click.Argument(["command"], nargs=-1, type=click.UNPROCESSED, callback=_command_within)

_compose = _group(
    _option("--profile", kind=_PROFILE),
    build=_program(_any("services", _SERVICE)),
    down=_program(),
    logs=_program(_any("services", _SERVICE)),
    run=_program(_flag("--rm"), _flag("--no-deps"), _one("service", _SERVICE), _WITHIN, to_the_end=True),
    up=_program(
        _flag("-d", "--detach"), _flag("--build"), _flag("--no-deps"), _flag("--wait"), _any("services", _SERVICE)
    ),
)

OTHERS: dict[str, click.Command] = {
    ".": _program(click.Argument(["script"], type=click.Choice([".venv/bin/activate"]))),
    "chroma": _group(run=_program(_option("--path"), _option("--host"), _option("--port"))),
    "cp": _program(_one("source", _Here()), _one("to")),
    "docker": _group(compose=_compose, ps=_program()),
    "make": _program(_any("targets", click.Choice(_TARGETS))),
    "nvidia-smi": _program(_flag("-L")),
    "ollama": _group(stop=_program(_one("model"))),
    "pip": _group(
        install=_program(
            _option("-c", "--constraint", kind=_Here()), _flag("--no-deps"), _any("requirements", _Requirement())
        )
    ),
    "redis-cli": _program(_option("-h"), _option("-p"), _any("command"), to_the_end=True),
}
