"""Frames that are named by their path, below a media root that other things lie beside."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest

from vidask.errors import InvalidFrame
from vidask.models import MAX_FRAME_BYTES, FrameRef
from worker.fetching import Fetching

NO_REDIS = cast("Any", None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "talk").mkdir(parents=True)
    (root / "talk" / "1.jpg").write_bytes(b"a picture")
    (tmp_path / "secret.jpg").write_bytes(b"a secret")
    (tmp_path / "media-of-others").mkdir()
    (tmp_path / "media-of-others" / "1.jpg").write_bytes(b"a secret")
    return root


def fetch(root: Path | None, path: str) -> bytes:
    async def fetched() -> bytes:
        return await Fetching(NO_REDIS, root).of("acme")(FrameRef(time_s=1.0, path=path))

    return asyncio.run(fetched())


@pytest.mark.parametrize("path", ["talk/1.jpg", "./talk/../talk/1.jpg", "talk//1.jpg"])
def test_a_file_below_the_media_root_is_read(root: Path, path: str) -> None:
    assert fetch(root, path) == b"a picture"


def test_a_link_within_the_media_root_is_followed_and_the_root_may_be_one(root: Path, tmp_path: Path) -> None:
    (root / "latest").symlink_to(root / "talk")
    (tmp_path / "mounted").symlink_to(root)
    assert fetch(tmp_path / "mounted", "latest/1.jpg") == b"a picture"


def test_what_leads_out_of_the_media_root_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "folder").symlink_to(tmp_path)
    out = ["../secret.jpg", "talk/../../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "folder/secret.jpg"]
    for path in [*out, "../media-of-others/1.jpg", "/etc/passwd"]:
        with pytest.raises(InvalidFrame, match=r"leads out of the media root; name a file below it$"):
            fetch(root, path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("talk/2.jpg", "no such file or directory"),
        ("talk", "is a directory"),
        (".", "is a directory"),
        ("pipe", "not a regular file"),
        ("round", "a circle of links"),
        ("talk/1.jpg/x", "not a directory"),
        ("a" * 300, "file name too long"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(root: Path, path: str, reason: str) -> None:
    os.mkfifo(root / "pipe")
    (root / "round").symlink_to(root / "round")
    with pytest.raises(InvalidFrame) as raised:
        fetch(root, path)
    assert f"cannot be read below the media root ({reason})" in str(raised.value)
    assert str(root) not in str(raised.value), "where the root lies is nothing that a producer needs to know"


def test_a_file_that_is_too_large_is_refused(root: Path) -> None:
    with (root / "large.jpg").open("wb") as file:
        file.truncate(MAX_FRAME_BYTES)
    assert len(fetch(root, "large.jpg")) == MAX_FRAME_BYTES
    with (root / "large.jpg").open("wb") as file:
        file.truncate(MAX_FRAME_BYTES + 1)
    with pytest.raises(InvalidFrame, match=r"^'large\.jpg': more than 8,388,608 bytes"):
        fetch(root, "large.jpg")


def test_without_a_media_root_the_setting_is_named() -> None:
    with pytest.raises(InvalidFrame, match=r"this worker has no media root; set VIDASK_MEDIA_ROOT"):
        fetch(None, "talk/1.jpg")
