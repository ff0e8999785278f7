from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.kept_pictures import KeptPictures
from vidask.errors import StoreUnavailable

TREE, LEAF = "1" * 64, "2" * 64


@pytest.fixture
def pictures(tmp_path: Path) -> KeptPictures:
    return KeptPictures(tmp_path / "new" / "pictures")


def test_a_copy_comes_back_as_it_was_kept_and_is_nobody_elses(pictures: KeptPictures) -> None:
    pictures.keep("acme", "talk", TREE, b"a tree")
    assert pictures.load("acme", "talk", TREE) == b"a tree"
    assert pictures.load("other", "talk", TREE) is None
    assert pictures.load("acme", "other", TREE) is None
    assert pictures.load("acme", "talk", LEAF) is None


def test_a_copy_is_written_once_and_never_seen_half_written(
    pictures: KeptPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", power_cut)
        patch.setattr(Path, "replace", power_cut)
        with pytest.raises(KeyboardInterrupt):
            pictures.keep("acme", "talk", TREE, b"half")
    assert pictures.load("acme", "talk", TREE) is None
    pictures.keep("acme", "talk", TREE, b"whole")
    pictures.keep("acme", "talk", TREE, b"another")
    assert pictures.load("acme", "talk", TREE) == b"whole"


def test_what_no_frame_refers_to_any_more_is_removed_with_what_a_crash_left_behind(
    pictures: KeptPictures, tmp_path: Path
) -> None:
    pictures.keep("acme", "talk", TREE, b"a tree")
    pictures.keep("acme", "talk", LEAF, b"a leaf")
    [folder] = {file.parent for file in tmp_path.rglob("*.jpg")}
    (folder / f"{'3' * 64}.half").write_bytes(b"half")
    pictures.forget_all_but("acme", "talk", {LEAF})
    assert [file.name for file in folder.iterdir()] == [f"{LEAF}.jpg"]


def test_a_forgotten_video_leaves_no_file_and_the_others_stay(pictures: KeptPictures, tmp_path: Path) -> None:
    pictures.keep("acme", "talk", TREE, b"a tree")
    pictures.keep("acme", "other", TREE, b"a tree")
    pictures.forget("acme", "talk")
    pictures.forget("acme", "never kept")
    assert pictures.load("acme", "talk", TREE) is None
    assert pictures.load("acme", "other", TREE) == b"a tree"
    assert len(list(tmp_path.rglob("*.jpg"))) == 1


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do_once_there_is_something_to_keep(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    pictures = KeptPictures(tmp_path / "file" / "pictures")
    with pytest.raises(
        StoreUnavailable,
        match=r"kept in .*/file/pictures \(Not a directory\); free space there, or set VIDASK_PICTURES_PATH",
    ):
        pictures.keep("acme", "talk", TREE, b"a tree")
    pictures.forget("acme", "talk")
    assert pictures.load("acme", "talk", TREE) is None
