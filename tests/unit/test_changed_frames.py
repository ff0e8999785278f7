from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromadb.api.models.Collection import Collection

from config import Settings
from pipeline.chroma import open_chroma
from pipeline.store import ChromaStore
from tests.frame_library import TALK, Video, prepared
from tests.frames import UNREADABLE, Slides, Viewer, Words
from tests.library import QUICK
from vidask.errors import UnknownVideo


@pytest.fixture
def video(tmp_path: Path) -> Iterator[Video]:
    with open_chroma(Settings(chroma_path=tmp_path / "chroma", chroma_url=None)) as client:
        yield Video(tmp_path / "pictures", ChromaStore(client, embedding_model="words", patience=QUICK))


def test_indexing_the_same_again_changes_nothing(video: Video) -> None:
    video.index(TALK)
    before = sorted(document.id or "" for document in video.store.documents("acme", "talk"))
    assert video.index(TALK).removed == 0
    assert sorted(document.id or "" for document in video.store.documents("acme", "talk")) == before


def test_a_changed_list_leaves_no_frame_of_the_old_one_and_none_of_its_pictures(video: Video) -> None:
    video.index(Slides((0.0, "Trees"), (10.0, "Leaves"), (20.0, "Roots")))
    assert all(map(video.keeps, ("Trees", "Leaves", "Roots")))
    report = video.index(Slides((0.0, "Trees"), (20.0, "Branches")))
    assert report.removed == 3, "of the first one the span has changed"
    assert video.titles() == ["Branches", "Trees"]
    assert [video.keeps(title) for title in ("Trees", "Leaves", "Roots", "Branches")] == [True, False, False, True]


def test_frames_and_transcript_of_a_video_live_side_by_side(video: Video) -> None:
    video.index_transcript()
    said = video.find("pruning", top_k=1)
    video.index(TALK)
    assert len(video.titles()) == 2
    assert said[0] in video.find("pruning")
    video.index_transcript()
    assert len(video.titles()) == 2
    video.index(Slides((0.0, "Trees")))
    assert said[0] in video.find("pruning")
    assert video.store.forget("acme", "talk") == 4, "three chunks and a frame"
    with pytest.raises(UnknownVideo):
        video.find("pruning")


def test_a_part_takes_the_place_of_its_own_stretch_alone(video: Video) -> None:
    video.index(Slides((0.0, "Old A"), (10.0, "Old B"), (20.0, "Old C"), (30.0, "Old D")))
    assert video.index(Slides((12.0, "New")), from_s=10.0, until_s=30.0).removed == 2
    assert video.titles() == ["New", "Old A", "Old D"]
    assert [video.keeps(title) for title in ("Old A", "Old B", "Old C", "Old D", "New")] == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_the_end_of_one_part_and_the_beginning_of_the_next_are_the_same_to_a_hair(video: Video) -> None:
    border_s = 10.0004
    video.index(Slides((0.0, "First")), until_s=border_s, ends_s=border_s)
    video.index(Slides((border_s, "Second")), from_s=border_s)
    video.index(Slides((0.0, "First")), until_s=border_s, ends_s=border_s)
    assert video.titles() == ["First", "Second"]


def test_what_came_after_newer_frames_reports_that_it_changed_nothing(video: Video) -> None:
    report = prepared(Slides((0.0, "Trees"), (1.0, UNREADABLE)), Viewer()).superseded()
    assert (report.superseded, report.frames, report.indexed, report.captioned) == (True, 2, 0, 0)
    assert len(report.problems) == 1
    assert not video.keeps("Trees")


@pytest.mark.parametrize(("method", "nth"), [("upsert", 1), ("upsert", 2), ("delete", 1), ("delete", 2)])
def test_a_change_that_a_crash_cut_short_is_completed_by_repeating_it(
    video: Video, monkeypatch: pytest.MonkeyPatch, method: str, nth: int
) -> None:
    video.index_transcript()
    said = video.store.documents("acme", "talk")
    video.index(Slides((0.0, "Trees"), (10.0, "Leaves")))
    changed = Slides((0.0, "Trees"), (10.0, "Roots"))
    with monkeypatch.context() as patch:
        calls, whole = iter(range(1, 100)), getattr(Collection, method)

        def until_the_power_is_cut(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == nth:
                raise KeyboardInterrupt
            return whole(*args, **kwargs)

        patch.setattr(Collection, method, until_the_power_is_cut)
        with pytest.raises(KeyboardInterrupt):
            video.index(changed)

    video.index(changed)

    assert video.titles() == ["Roots", "Trees"]
    kept = {document.id for document in video.store.documents("acme", "talk")}
    assert kept > {document.id for document in said}
    found = video.store.search("acme", Words().embed_query("trees"), top_k=50)
    assert {document.id for document in found} == kept, "what all videos are searched in holds the same"
