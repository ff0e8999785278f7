"""The documentation, taken at its word: the console sessions and the Python of each page are run, and print what it says.

What cannot be run here is checked in tests/unit/test_docs.py. The Chinese pages have the blocks of the English ones.
"""

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import typer

from tests.pages import ROOT, Page, english
from tests.redis_users import as_admin, as_worker
from vidask import Client
from vidask.cli import app
from worker.embedded import redis_server_path

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_URL = "redis://127.0.0.1:6379/0"


def _sessions(page: Page) -> Iterator[tuple[str, list[str], str, str]]:
    """Where it stands, a command, what it is given and what it prints, in the page's order."""
    for block in page.blocks:
        if block.language == "python":
            yield block.at, [sys.executable, "-"], block.text, block.output
        elif block.language == "console":
            for session in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, printed = session.partition("\n")
                yield block.at, ["bash", "-c", command], "", printed


_RUN = [page for page in english() if any(_sessions(page))]


@pytest.fixture
def emptied_worker(worker: str) -> Iterator[str]:
    """The pages speak as the default tenant, whose videos are not to be found by those that come later."""
    before = _videos(worker)
    yield worker
    for tenant, video_id in _videos(worker) - before:
        with Client(worker, tenant=tenant) as client:
            client.forget(video_id).result(timeout_s=30)


def _videos(url: str) -> set[tuple[str, str]]:
    with redis.Redis.from_url(as_admin(url), decode_responses=True) as connection:
        return {tuple(key.split(":", 3)[2:]) for key in connection.scan_iter("vidask:video:*")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader is: in the repository, with its environment."""
    # vidask stands beside Python, redis-cli beside redis-server.
    path = [str(Path(sys.executable).parent), str(Path(redis_server_path()).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


@pytest.mark.parametrize("page", _RUN, ids=str)
def test_what_a_page_shows_is_what_happens(page: Page, emptied_worker: str, folder: Path) -> None:
    ids: dict[str, str] = {}

    def here(text: str) -> str:
        """The page's words with the ids and the address of this run."""
        text = text.replace("redis-cli -u", "redis-cli --no-auth-warning -u").replace(_URL, emptied_worker)
        return _UUID.sub(lambda found: ids.get(found[0], found[0]), text)

    for at, command, given, shown in _sessions(page):
        run = _run([here(word) for word in command], here(given), emptied_worker, folder)
        ids.update(zip(_UUID.findall(shown), _UUID.findall(run.stdout), strict=False))
        matches = doctest.OutputChecker().check_output(here(shown), run.stdout, doctest.ELLIPSIS)
        assert matches, f"{at}: {command} {given}\nprinted\n{run.stdout}\nand not\n{shown}"


def _run(command: list[str], given: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    belongs_to_a_worker = "python -m worker " in command[-1]
    return subprocess.run(
        command,
        input=given,
        stdout=subprocess.PIPE,
        # For a program it is a message; Celery's clean-up may complain there when Python ends.
        stderr=subprocess.STDOUT if command[0] == "bash" else None,
        env={**os.environ, "VIDASK_REDIS_URL": as_worker(url) if belongs_to_a_worker else url},
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
    )


def test_every_command_of_vidask_is_among_what_is_run() -> None:
    run = [command[-1] for page in _RUN for _, command, *_ in _sessions(page) if command[0] == "bash"]
    for name in getattr(typer.main.get_command(app), "commands"):  # noqa: B009  typer's own click has no types
        assert any(re.search(rf"\bvidask (--\S+ \S+ )*{name} ", command) for command in run), name
