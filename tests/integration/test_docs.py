"""README.md, taken at its word: its Python and its console sessions are run, and print what it says."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Settings
from vidask import Client, models
from worker.embedded import redis_server_path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_URL = "redis://127.0.0.1:6379/0"


def _sessions() -> Iterator[tuple[list[str], str, str]]:
    """Commands, what they are given, and what they print, in the README's order."""
    for language, text, printed in _BLOCK.findall(README):
        if language == "python":
            yield [sys.executable, "-"], text, printed
            continue
        for session in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, printed_by_it = session.partition("\n")
            yield ["bash", "-c", command], "", printed_by_it


@pytest.fixture
def emptied_worker(worker: str) -> Iterator[str]:
    """The README speaks as the default tenant, whose videos are not to be found by tests that come later."""
    yield worker
    with Client(worker) as client:
        for video_id in ("01-decision-trees", "02-gradient-descent", "hello"):
            client.forget(video_id).result(timeout_s=30)


def test_what_it_shows_is_what_happens(emptied_worker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDASK_REDIS_URL", emptied_worker)
    # vidask stands beside Python, redis-cli beside redis-server.
    path = [str(Path(sys.executable).parent), str(Path(redis_server_path()).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    ids: dict[str, str] = {}

    def here(text: str) -> str:
        """The README's words with the ids and the address of this run."""
        return _UUID.sub(lambda found: ids.get(found[0], found[0]), text).replace(_URL, emptied_worker)

    for command, given, shown in _sessions():
        run = subprocess.run(
            [here(word) for word in command],
            input=here(given),
            stdout=subprocess.PIPE,
            # For a program it is a message; Celery's clean-up may complain there when Python ends.
            stderr=subprocess.STDOUT if command[0] == "bash" else None,
            text=True,
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        ids.update(zip(_UUID.findall(shown), _UUID.findall(run.stdout), strict=False))
        matches = doctest.OutputChecker().check_output(here(shown), run.stdout, doctest.ELLIPSIS)
        assert matches, f"{command} {given}\nprinted\n{run.stdout}\nand not\n{shown}"


def test_every_command_of_vidask_is_among_what_is_run() -> None:
    run = [command[-1] for command, *_ in _sessions() if command[0] == "bash"]
    for name in ("index", "index-frames", "ask", "batch", "status", "cancel", "forget", "quarantine"):
        assert any(command.startswith(f"vidask {name} ") for command in run)
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        assert "vidask " not in block, "what calls vidask belongs into a console block, which is run"


def test_it_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]+)`? \|", README, re.MULTILINE))
    names = {name: str(at.validation_alias or f"VIDASK_{name.upper()}") for name, at in Settings.model_fields.items()}
    assert rows == {names[name]: _shown(value) for name, value in Settings()}


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "none" if default in (None, {}) else str(default)


@pytest.mark.parametrize("name", [name for name in vars(models) if name.startswith("MAX_")])
def test_it_lists_every_limit(name: str) -> None:
    table = README.partition("| what | at most |")[2].partition("##")[0]
    assert re.search(rf"(?<![\d,]){getattr(models, name):,.0f}(?![\d,])", table)


def test_what_it_links_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists()
