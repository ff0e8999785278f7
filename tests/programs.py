"""Whether a command of the documentation would work: its program, command and options exist, its settings take their values.

Nothing is run. Our own commands and Celery's are read by their own parsers; tests/other_programs.py knows the other programs.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import io
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import typer
from celery import Celery
from celery.bin.celery import celery

import vidask.cli
import worker.__main__
from benchmarks.__main__ import PARTS
from config import Settings
from tests.other_programs import OTHERS
from tests.pages import ROOT
from tests.shell import commands
from vidask.errors import InvalidSettings
from worker.embedded import redis_server_path

#: vLLM's own variables that the pages name.
_OF_VLLM = {"VLLM_CACHE_ROOT", "VLLM_CPU_KVCACHE_SPACE", "VLLM_USE_FLASHINFER_SAMPLER"}
#: Options that the Redis of the tests may have been built without.
_TLS = re.compile(r"--tls-(port|cert-file|key-file|ca-cert-file|auth-clients|replication) \S+")
#: A program and a command; no message, as in `vidask worker: …`.
_MENTION = re.compile(r"(\S+) [\w.'/-]+(?: |$)")
#: These are known well enough to say what is wrong when something that they need is left out.
_HELPFUL = ("vidask", "python", "celery")


class Mistake(Exception):
    """One line about a command that would not work."""


def check_script(text: str, exported: dict[str, str]) -> None:
    """Check each command of a block.

    Args:
        text: of the block.
        exported: the variables that earlier blocks of the page have set; this one's are added.

    Raises:
        Mistake: a program, a command, an option or a setting does not exist, or a setting does not take its value.
    """
    for command in commands(text, exported):
        if command.words:
            check_settings(command.variables)
            _check(command.words)
    check_settings(exported)


def check_mention(code: str) -> None:
    """Check what stands in code font, if it is a command: it may be named without what it needs, and with options in brackets.

    Raises:
        Mistake: as above.
    """
    if not (found := _MENTION.match(code)) or _name(found[1]) not in _PROGRAMS:
        return
    [command] = commands(re.sub(r" \[(-[^]]*)\]", r" \1", code), {})
    try:
        _check(command.words)
    except Mistake:
        if _name(found[1]) not in _HELPFUL:
            raise
        _check([*command.words, "--help"])


def settings_names() -> set[str]:
    """Every variable with a meaning for vidask, for its docker-compose.yml or for vLLM."""
    ours = {str(field.validation_alias or f"VIDASK_{name.upper()}") for name, field in Settings.model_fields.items()}
    composed = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    return {*ours, "VIDASK_TENANT", *composed, *_OF_VLLM}


def check_settings(variables: Mapping[str, str]) -> None:
    """Have the worker's settings read from these variables; files and folders that they name need not be here.

    Raises:
        Mistake: one is no setting, or does not take its value.
    """
    given = {name: value for name, value in variables.items() if name.startswith(("VIDASK_", "VLLM_"))}
    if unknown := given.keys() - settings_names():
        raise Mistake(f"{', '.join(sorted(unknown))}: no such setting")
    if not Path(given.get("VIDASK_CONFIG_FILE", "")).exists():
        del given["VIDASK_CONFIG_FILE"]
    if "VIDASK_MEDIA_ROOT" in given:
        given["VIDASK_MEDIA_ROOT"] = str(ROOT)
    given = {name: re.sub(r"(ssl_\w+=)/[^&]+", rf"\1{__file__}", value) for name, value in given.items()}
    with patch.dict(os.environ, given, clear=True):
        try:
            Settings.from_environment()
        except InvalidSettings as error:
            raise Mistake(str(error)) from None


def _check(words: list[str]) -> None:
    check = _PROGRAMS.get(_name(words[0]))
    if check is None:
        msg = f"{words[0]}: no test knows this program; make it a console block, which is run, or teach it to tests/programs.py"
        raise Mistake(msg)
    check(words[1:])


def _name(program: str) -> str:
    """`.venv/bin/python3.11` is `python`, and `.` is itself."""
    return re.sub(r"(?<=\w)[\d.]+$", "", Path(program).name) or program


def _parse(parser: Any, arguments: list[str], obj: object = None) -> None:
    """Have a command of click, or of typer, which has a click of its own, read its arguments, and do nothing."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        try:
            _idle(parser).main(arguments, prog_name="", obj=obj)
        except SystemExit as end:
            if end.code:
                raise Mistake(" ".join(said.getvalue().split())) from None


def _idle(command: Any) -> Any:
    """The command and those below it, with nothing to do."""
    idle = copy.copy(command)
    idle.callback = None
    if hasattr(command, "commands"):
        idle.commands = {name: _idle(each) for name, each in command.commands.items()}
    return idle


def _python(arguments: list[str]) -> None:
    match arguments:
        case ["-m", "worker", *rest]:
            _parse(typer.main.get_command(worker.__main__.app), rest)
        case ["-m", "benchmarks", *parts] if set(parts) <= set(PARTS):
            pass
        case ["-m", ("benchmarks.engine" | "tests.chaos") as package, *rest]:
            _argparse(f"{package}.__main__", rest)
        case ["-m", "benchmarks.engine.shapes" as module, *rest]:
            _argparse(module, rest)
        case ["-m", module, *_] if module != "benchmarks" and find_spec(module):
            pass
        case ["--version"]:
            pass
        case ["-c", code]:
            ast.parse(code)
        case _:
            raise Mistake(f"python {shlex.join(arguments)}: there is no such module, or it has no such part")


def _argparse(module: str, arguments: list[str]) -> None:
    """Go into the program up to where it has read its arguments."""
    parse = argparse.ArgumentParser.parse_args

    def read(parser: argparse.ArgumentParser) -> None:
        parse(parser, arguments)
        raise _Read

    said = io.StringIO()
    with patch.object(argparse.ArgumentParser, "parse_args", read), redirect_stderr(said), redirect_stdout(said):
        try:
            with suppress(_Read):
                importlib.import_module(module).main()
        except SystemExit as end:
            if end.code:
                raise Mistake(said.getvalue()) from None


class _Read(Exception):
    """The arguments have been read."""


def _celery(arguments: list[str]) -> None:
    app = arguments[arguments.index("-A") + 1] if "-A" in arguments else "worker.app"
    if not (ROOT / app.replace(".", "/")).with_suffix(".py").exists():
        raise Mistake(f"celery -A {app}: no such module")
    with Celery(set_as_current=False) as made_up:
        _parse(celery, arguments, SimpleNamespace(app=made_up))
    if "flower" in arguments:
        _flower(arguments[arguments.index("flower") + 1 :])


def _flower(arguments: list[str]) -> None:
    """Its options are tornado's, known once they are imported; Celery hands them on unread."""
    import flower.options  # noqa: F401
    from tornado.options import options

    for word in arguments:
        if word.partition("=")[0].removeprefix("--").replace("-", "_") not in options:
            raise Mistake(f"celery flower {word}: no such option")


def _redis_server(arguments: list[str]) -> None:
    """Redis reads its options in their order and ends at the first that is none: at the latest at ours, the last."""
    asked = shlex.split(_TLS.sub("", shlex.join(arguments)))
    run = subprocess.run([redis_server_path(), *asked, "--the-end", ""], capture_output=True, text=True, check=False)
    if ">>> 'the-end" not in run.stdout + run.stderr:
        raise Mistake(f"redis-server: {run.stdout}{run.stderr}")


def _other(name: str) -> Callable[[list[str]], None]:
    return lambda arguments: _parse(OTHERS[name], arguments, _check)


_PROGRAMS: Mapping[str, Callable[[list[str]], None]] = {
    "vidask": lambda arguments: _parse(typer.main.get_command(vidask.cli.app), arguments),
    "python": _python,
    "celery": _celery,
    "redis-server": _redis_server,
    **{name: _other(name) for name in OTHERS},
}
