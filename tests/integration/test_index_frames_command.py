"""`vidask index-frames`, run as a process the way a person or a script runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import redis

from tests.drawing import Shot, slide, video
from tests.redis_users import as_admin
from tests.terminal import Terminal
from vidask import Client, keys

SLIDES = [
    slide("Decision trees", ["Ask one question after another"]),
    slide("Random forests", ["Many trees vote", "Errors cancel out"]),
    slide("Pruning", ["Cut what does not help"]),
]


def _terminal(url: str, tenant: str, folder: Path) -> Terminal:
    video(folder / "talk.mp4", [Shot(picture, 4, pointer=True) for picture in SLIDES])
    return Terminal(url, tenant, folder, "index-frames")


@pytest.fixture
def vidask(worker: str, tenant: str, tmp_path: Path) -> Terminal:
    return _terminal(worker, tenant, tmp_path)


@pytest.fixture
def idle_vidask(idle_redis_url: str, tenant: str, tmp_path: Path) -> Terminal:
    return _terminal(idle_redis_url, tenant, tmp_path)


def _payload(url: str, job_id: str) -> dict[str, object]:
    with redis.Redis.from_url(as_admin(url), decode_responses=True) as connection:
        row = connection.hgetall(keys.job_row(job_id))
    assert isinstance(row, dict)
    return json.loads(row["payload"])


def test_the_slides_of_a_video_can_be_asked_about(vidask: Terminal, worker: str, tenant: str) -> None:
    done = vidask("talk.mp4", "--wait")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"[\w-]+\ttalk\t60 frames decoded, 3 kept, 57 dropped\t3 indexed, 0 captioned\n", done.stdout
    ), "embedded defaults read the text alone"
    assert done.stderr.startswith("vidask: talk: "), "and say so"
    with Client(worker, tenant=tenant) as client:
        answer = client.ask("In random forests, what do errors do?", video_ids=["talk"]).result(timeout_s=60)
    assert [(citation.kind, citation.start_s, citation.end_s) for citation in answer.citations] == [("frame", 4.0, 8.0)]


def test_scripts_read_json(vidask: Terminal) -> None:
    done = vidask("talk.mp4", "--wait", "--json")
    (report,) = map(json.loads, done.stdout.splitlines())
    assert report["job_ids"] == [report["job_id"]]
    told = {
        name: report[name]
        for name in ("video_id", "status", "decoded", "kept", "dropped", "frames", "indexed", "problems")
    }
    assert told == {
        "video_id": "talk",
        "status": "succeeded",
        "decoded": 60,
        "kept": 3,
        "dropped": 57,
        "frames": 3,
        "indexed": 3,
        "problems": [],
    }


def test_without_waiting_it_prints_what_was_queued(idle_vidask: Terminal, idle_redis_url: str) -> None:
    done = idle_vidask("talk.mp4", "--video-id", "Lecture 1")
    assert done.stderr == ""
    job_id, name, counts = done.stdout.rstrip("\n").split("\t")
    assert (name, counts) == ("Lecture 1", "60 frames decoded, 3 kept, 57 dropped")
    job = _payload(idle_redis_url, job_id)
    assert job["video_id"] == "Lecture 1"
    assert job["ends_s"] == pytest.approx(12.0, abs=0.2), "the last slide is shown to the end"
    (queued,) = map(json.loads, idle_vidask("talk.mp4", "--json").stdout.splitlines())
    assert (queued["status"], queued["kept"]) == ("queued", 3)


def test_frames_may_be_taken_each_so_many_seconds_and_be_limited(idle_vidask: Terminal) -> None:
    assert "\t60 frames decoded, 2 kept, 58 dropped\n" in idle_vidask("talk.mp4", "--every", "7s").stdout
    assert "\t60 frames decoded, 1 kept, 59 dropped\n" in idle_vidask("talk.mp4", "--every", "1:00").stdout
    assert "\t60 frames decoded, 2 kept, 58 dropped\n" in idle_vidask("talk.mp4", "--max-frames", "2").stdout


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_indexed(idle_vidask: Terminal) -> None:
    folder = idle_vidask.folder / "course"
    (folder / "week 1").mkdir(parents=True)
    whole = (idle_vidask.folder / "talk.mp4").rename(folder / "week 1" / "trees.MP4").read_bytes()
    (folder / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "notes.txt").write_text("no video")

    done = idle_vidask("course", "--json")

    assert done.returncode == 1
    assert [json.loads(line)["video_id"] for line in done.stdout.splitlines()] == ["week 1/trees"]
    complaints = done.stderr.splitlines()
    assert len(complaints) == 2
    assert complaints[0].startswith("vidask: 'course/broken.mp4': is no video, or lacks")
    assert complaints[1] == "vidask: 'course/empty.mkv': is empty; give a video file"


def test_what_is_wrong_with_a_file_is_told_and_the_rest_is_indexed(idle_vidask: Terminal) -> None:
    whole = video(idle_vidask.folder / "whole.mkv", [(picture, 4) for picture in SLIDES]).read_bytes()
    (idle_vidask.folder / "cut.mkv").write_bytes(whole[: len(whole) * 7 // 10])
    done = idle_vidask("cut.mkv")
    assert done.returncode == 0
    assert "\tcut\t" in done.stdout
    assert re.fullmatch(
        r"vidask: cut\.mkv: the pictures end at \d+\.\d of 11\.8 s; is the file cut off\?\n", done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.mp4"], "'missing.mp4': No such file or directory; give the path of a video file you may read"),
        (["empty"], "empty holds no videos; their names end in .mp4, "),
        (["talk.mp4", "talk.mp4"], "talk.mp4 and talk.mp4 would both be video 'talk'"),
        (
            ["talk.mp4", "other.mp4", "--video-id", "x"],
            "--video-id names one video, and 2 files were given; leave it out",
        ),
        (["talk.mp4", "--video-id", "a\nb"], "video_id: "),
        (["talk.mp4", "--every", "often"], "'often' is not a time; write 90, 1:30 or 1:02:03"),
        (["talk.mp4", "--every", "0s"], "every_s: 0 s; give 0.1 to 3,600,000 s"),
        (["talk.mp4", "--max-frames", "0"], "max_frames: 0; give 1 at least"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(arguments: list[str], said: str, idle_vidask: Terminal) -> None:
    (idle_vidask.folder / "empty").mkdir()
    done = idle_vidask(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_on_a_terminal_people_see_how_far_it_is(vidask: Terminal) -> None:
    seen = vidask.on_a_terminal("talk.mp4", "--wait")
    assert re.search(r"Reading talk\.mp4 .* 100%", seen)
    assert re.search(r"Indexing talk .* 100%", seen)
    assert "60 frames decoded, 3 kept, 57 dropped" in seen
