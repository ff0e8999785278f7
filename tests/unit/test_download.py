"""`python -m worker download-model`, at a hub of the test's own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save

from tests.hub import COMMIT, Hub, running_hub
from vidask.errors import InvalidSettings
from worker.download import download_model

NAME = "someone/Small-VL-Instruct"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
#: The hub's client reads in pieces of 10 MB: what has come of a smaller piece is lost with the connection.
PIECE = 10 * 1024**2
INDEX = {"weight_map": {"first": SHARDS[0], "second": SHARDS[1]}}


def _files() -> dict[str, bytes]:
    """A model in two shards of weights, the second in more than one piece; and the same weights for other programs."""
    return {
        "config.json": b"{}",
        "tokenizer.json": b'{"version": "1.0"}',
        "chat_template.jinja": b"{{ messages }}",
        "model.safetensors.index.json": json.dumps(INDEX).encode(),
        SHARDS[0]: save({"first": np.zeros(4, dtype=np.float16)}),
        SHARDS[1]: save({"second": np.zeros(PIECE * 6 // 5, dtype=np.uint8)}),
        "pytorch_model.bin": b"the same again",
        "small-q4.gguf": b"and again",
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub(NAME, _files()) as hub:
        yield hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "huggingface"


def command(home: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-m", "worker", "download-model", *map(str, arguments)],
        env=clean | {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def refusal(run: subprocess.CompletedProcess[str]) -> str:
    """The one line, behind what the client says of its progress."""
    assert (run.returncode, run.stdout) == (1, "")
    last = run.stderr.splitlines()[-1]
    assert last.startswith("vidask worker: ")
    assert "Traceback" not in run.stderr
    return last.removeprefix("vidask worker: ")


def test_a_model_comes_into_the_cache_and_the_setting_for_it_is_printed(hub: Hub, home: Path) -> None:
    run = command(home, NAME, HF_ENDPOINT=hub.url)
    snapshot = home / "hub" / "models--someone--Small-VL-Instruct" / "snapshots" / COMMIT
    assert (run.returncode, run.stdout) == (0, f"VLLM_MODEL_PATH={snapshot}\n")
    assert "settings, tokenizer, chat template and weights are whole" in run.stderr
    assert {file for file, _ in hub.fetched} == set(hub.files) - {"pytorch_model.bin", "small-q4.gguf"}


def test_into_a_folder_and_again_fetches_nothing(hub: Hub, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for _ in range(2):
        run = command(home, NAME, "--to", folder, HF_ENDPOINT=hub.url)
        assert (run.returncode, run.stdout) == (0, f"VLLM_MODEL_PATH={folder}\n")
    assert (folder / SHARDS[1]).read_bytes() == hub.files[SHARDS[1]]
    assert len(hub.fetched) == len(set(hub.fetched))


def test_a_connection_that_breaks_off_is_made_again_and_goes_on_where_it_was(hub: Hub, home: Path) -> None:
    hub.cut_at = {SHARDS[1]: PIECE + 1000}
    assert command(home, NAME, HF_ENDPOINT=hub.url).returncode == 0
    assert [start for file, start in hub.fetched if file == SHARDS[1]] == [0, PIECE]


def test_a_download_that_was_given_up_is_taken_up_again_by_the_same_command(
    hub: Hub, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    hub.cut_at, hub.cut_always = {SHARDS[1]: 1000}, True
    said = refusal(command(home, NAME, "--to", folder, HF_ENDPOINT=hub.url))
    assert said.startswith(f"{NAME!r} could not be fetched: {hub.url} does not answer (")
    before = {file for file, _ in hub.fetched if file != SHARDS[1]}
    hub.cut_at.clear()
    hub.fetched.clear()
    assert command(home, NAME, "--to", folder, HF_ENDPOINT=hub.url).returncode == 0
    assert {file for file, _ in hub.fetched}.isdisjoint(before)


def test_a_file_that_was_cut_short_on_the_disk_is_fetched_again(hub: Hub, home: Path) -> None:
    path = Path(command(home, NAME, HF_ENDPOINT=hub.url).stdout.strip().partition("=")[2])
    os.truncate(path / SHARDS[0], 20)
    hub.fetched.clear()
    assert command(home, NAME, HF_ENDPOINT=hub.url).returncode == 0
    assert hub.fetched == [(SHARDS[0], 0)]


def test_a_gated_model_wants_a_token_and_takes_it(hub: Hub, home: Path) -> None:
    hub.token = "hf_secret"
    gated = f"{NAME!r} is gated at {hub.url}; accept its terms there, and set HF_TOKEN to a token of yours"
    assert refusal(command(home, NAME, HF_ENDPOINT=hub.url)) == gated
    assert command(home, NAME, HF_ENDPOINT=hub.url, HF_TOKEN="hf_secret").returncode == 0


def test_there_is_no_such_model(hub: Hub, home: Path) -> None:
    said = refusal(command(home, "someone/else", HF_ENDPOINT=hub.url))
    assert said == f"'someone/else' is no model at {hub.url}; correct it, or set HF_TOKEN if it is private"
    assert "is no hub id; write OWNER/NAME" in refusal(command(home, "Small VL", HF_ENDPOINT=hub.url))


def test_the_mirror_cannot_be_reached(home: Path) -> None:
    said = refusal(command(home, NAME, HF_ENDPOINT="http://127.0.0.1:9"))
    assert said == (
        f"{NAME!r} could not be fetched: http://127.0.0.1:9 does not answer (ConnectError); check the network, or set HF_ENDPOINT "
        "to a mirror"
    )
    assert "HF_HUB_OFFLINE is set; unset it" in refusal(command(home, NAME, HF_HUB_OFFLINE="1"))


@pytest.fixture
def asked_here(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which read the environment long ago, the hub is the test's."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)


@pytest.mark.usefixtures("asked_here")
def test_a_model_that_has_no_room_on_the_disk_is_not_begun(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    with pytest.raises(InvalidSettings) as error:
        download_model(NAME, tmp_path / "model")
    assert str(error.value) == (
        f"{NAME!r} needs 0.01 GB more, but 0.00 GB are free at {tmp_path}; free space, or name a folder on another disk with --to"
    )
    assert hub.fetched == []


@pytest.mark.usefixtures("asked_here")
@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (errno.ENOSPC, "could not be stored: the disk is full; free space, or name a folder on another disk with --to"),
        (
            errno.EACCES,
            "could not be stored: /models cannot be written (Permission denied); name another folder with --to",
        ),
    ],
)
def test_a_disk_that_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int, said: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason), "/models")

    monkeypatch.setattr("worker.download.snapshot_download", full)
    with pytest.raises(InvalidSettings) as error:
        download_model(NAME, tmp_path / "model")
    assert str(error.value) == f"{NAME!r} {said}"


def test_a_folder_is_checked_without_the_hub(hub: Hub, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file, data in hub.files.items():
        (folder / file).write_bytes(data)
    run = command(home, "--check", folder)
    assert (run.returncode, run.stdout) == (0, f"VLLM_MODEL_PATH={folder}\n")
    os.truncate(folder / SHARDS[1], 1000)
    assert "has a damaged model-00002-of-00002.safetensors (1,000 bytes" in refusal(command(home, "--check", folder))
    (folder / SHARDS[1]).unlink()
    assert "lacks model-00002-of-00002.safetensors" in refusal(command(home, "--check", folder))
    assert "does not exist; name the folder" in refusal(command(home, "--check", tmp_path / "nothing"))
    assert hub.fetched == []


def test_the_place_in_the_cache_is_answered_with_the_snapshot_in_it(hub: Hub, home: Path) -> None:
    snapshot = Path(command(home, NAME, HF_ENDPOINT=hub.url).stdout.strip().partition("=")[2])
    said = refusal(command(home, "--check", snapshot.parents[1]))
    assert said.endswith(f"is a model's place in the hub's cache; name the snapshot in it: '{snapshot}'")


@pytest.mark.parametrize("arguments", [[], [NAME, "--check", "."]])
def test_one_of_both_has_to_be_said(home: Path, arguments: list[str]) -> None:
    run = command(home, *arguments)
    assert run.returncode == 2
    assert "name a model, or a folder with --check" in run.stderr
