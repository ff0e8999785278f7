"""The command `vidask`, run as a process the way a person or a script runs it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VIDASK = Path(sys.executable).with_name("vidask")


class Terminal:
    """Runs `vidask`, or always the same one of its commands, for one tenant in a folder of its own."""

    def __init__(self, url: str, tenant: str, folder: Path, *command: str) -> None:
        self.env = {**os.environ, "VIDASK_REDIS_URL": url, "VIDASK_TENANT": tenant, "COLUMNS": "200"}
        self.folder = folder
        self._command = [str(VIDASK), *command]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def on_a_terminal(self, *arguments: str, fails: bool = False) -> str:
        """All that a person would see."""
        *_, seen = self.growing_on_a_terminal(*arguments, fails=fails)
        return seen

    def growing_on_a_terminal(self, *arguments: str, fails: bool = False) -> Iterator[str]:
        """What a person would have seen so far, each time something is added, without the colours."""
        ours, theirs = pty.openpty()
        env, command = {**self.env, "TERM": "xterm-256color"}, [*self._command, *arguments]
        with subprocess.Popen(command, env=env, cwd=self.folder, stdout=theirs, stderr=theirs) as run:
            os.close(theirs)
            seen = b""
            while part := _read(ours):
                seen += part
                yield re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode(errors="replace"))
        os.close(ours)
        assert run.returncode == int(fails)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other side has closed it
        return b""
