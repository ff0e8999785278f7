"""Files that are no videos, or damaged ones: a line that says what is wrong, and all that can be used."""

from __future__ import annotations

import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import pytest
from av.audio.stream import AudioStream
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from tests.drawing import SIZE, jpeg, png, slide, video
from vidask import InvalidJob
from vidask.video import PickedFrames, pick_frames

SLIDES = [slide(title, ["Ask", "Split"]) for title in ("Decision trees", "Random forests", "Pruning", "Boosting")]


def refusal(path: Path) -> str:
    with pytest.raises(InvalidJob) as error:
        list(pick_frames(path))
    message = str(error.value)
    assert message.startswith(repr(str(path)))
    assert "\\n" not in message
    return message.removeprefix(f"{str(path)!r}: ")


def read(path: Path) -> tuple[list[float], PickedFrames]:
    frames = pick_frames(path)
    return [frame.time_s for frame in frames], frames


def test_what_is_no_video_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(random.Random(1).randbytes(100_000))
    (tmp_path / "notes.mp4").write_text("Remember to record the lecture.\n" * 100)
    (tmp_path / "notes.txt").write_text("Remember to record the lecture.\n" * 100)
    assert refusal(tmp_path / "missing.mp4") == "No such file or directory; give the path of a video file you may read"
    assert refusal(tmp_path) == "Is a directory; give the path of a video file you may read"
    assert refusal(tmp_path / "empty.mp4") == "is empty; give a video file"
    for name in ("noise.mp4", "notes.mp4"):
        assert refusal(tmp_path / name).startswith("is no video, or lacks the part that says how to read it")
    assert refusal(tmp_path / "notes.txt") == "is no video; give a video file"


def test_a_picture_is_no_video(tmp_path: Path) -> None:
    for name, data in (("a.jpg", jpeg(SLIDES[0])), ("a.png", png(SLIDES[0])), ("a.mp4", jpeg(SLIDES[0]))):
        (tmp_path / name).write_bytes(data)
        assert refusal(tmp_path / name) == "is no video; give a video file"


@pytest.mark.parametrize(("name", "cover"), [("talk.wav", False), ("talk.m4a", False), ("talk.mp3", True)])
def test_sound_is_no_video_though_it_may_have_a_cover(name: str, cover: bool, tmp_path: Path) -> None:
    path = _sound(tmp_path / name, cover=cover)
    assert refusal(path) == "has no video stream, at most sound and a cover; give a video file"


@pytest.mark.parametrize(
    ("name", "codec", "said"),
    [
        ("nothing.mp4", "libx264", "has no video stream, at most sound and a cover; give a video file"),
        ("nothing.avi", "mpeg4", "no frame of it can be decoded; give a whole video file"),
    ],
)
def test_a_video_of_no_length_is_refused(name: str, codec: str, said: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=25))
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        container.start_encoding()
    assert refusal(tmp_path / name) == said


def test_a_video_of_one_colour_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "black.mp4", [(Image.new("RGB", SIZE), 3)])
    assert refusal(path) == "its 15 frames show nothing, each is of one colour"


def test_a_video_of_one_frame_is_a_video(tmp_path: Path) -> None:
    times, frames = read(video(tmp_path / "short.mp4", [(SLIDES[0], 0.2)]))
    assert (times, frames.decoded, frames.kept, frames.dropped) == ([0.0], 1, 1, 0)


def test_of_a_file_that_was_cut_off_what_is_there_is_used(tmp_path: Path) -> None:
    whole = video(tmp_path / "talk.mkv", [(picture, 4) for picture in SLIDES])
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    times, frames = read(tmp_path / "cut.mkv")
    assert times == [0.0, 4.0, 8.0][: len(times)]
    assert len(times) >= 2
    (warning,) = frames.warnings
    assert warning.startswith("the pictures end at ")
    assert warning.endswith(" of 15.8 s; is the file cut off?")


def test_a_file_whose_index_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = video(tmp_path / "talk.mp4", [(SLIDES[0], 4)]).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert "lacks the part that says how to read it; give a whole one" in refusal(tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    ("name", "codec"), [("talk.mp4", "mpeg4"), ("talk.mkv", "libx264"), ("talk.ts", "libx264"), ("talk.avi", "mpeg4")]
)
def test_broken_packets_are_counted_and_the_rest_is_used(name: str, codec: str, tmp_path: Path) -> None:
    whole = video(tmp_path / f"whole-{name}", [(picture, 4) for picture in SLIDES], codec=codec, options={"g": "10"})
    path = tmp_path / name
    path.write_bytes(_damaged(whole.read_bytes()))
    times, frames = read(path)
    assert frames.decoded > 40
    assert len(times) >= 2
    (warning,) = [warning for warning in frames.warnings if "packets" in warning]
    assert int(warning.split()[0]) > 0
    assert warning.endswith(" packets cannot be decoded, or not wholly; the others are used")


def test_a_name_is_never_taken_for_an_address_or_a_pattern(tmp_path: Path) -> None:
    for name in ("a:b.mp4", "frame%03d.mp4", "concat:x|y.mp4", "Vorlesung über Bäume.mp4", "第一课.mp4"):
        assert read(video(tmp_path / "talk.mp4", [(SLIDES[0], 1)]).rename(tmp_path / name))[0] == [0.0]
    with pytest.raises(InvalidJob, match="No such file or directory"):
        list(pick_frames("http://127.0.0.1:1/talk.mp4"))


def test_without_the_extra_a_line_says_how_to_install_it() -> None:
    for missing in ("av", "PIL"):
        code = f"import sys; sys.modules[{missing!r}] = None; import vidask.cli as c; c.main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "index-frames", "talk.mp4"],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == "vidask: videos are read with PyAV and Pillow; run: pip install 'vidask[video]'\n"


def _damaged(data: bytes) -> bytes:
    """One byte in 150 of the middle is another."""
    damaged, chance = bytearray(data), random.Random(3)
    for at in chance.sample(range(len(data) // 4, len(data) * 3 // 4), len(data) // 300):
        damaged[at] ^= chance.randrange(1, 256)
    return bytes(damaged)


def _sound(path: Path, *, cover: bool) -> Path:
    """A file of silence, with a cover the way music carries it: a stream of one packet, marked as attached."""
    codec = {".wav": "pcm_s16le", ".m4a": "aac", ".mp3": "libmp3lame"}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = cast("AudioStream", container.add_stream(codec, rate=44100))
        if cover:
            picture = cast("VideoStream", container.add_stream("png", rate=1))
            picture.width, picture.height, picture.pix_fmt = *SIZE, "rgb24"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_image(SLIDES[0])))
        for number in range(20):
            frame = av.AudioFrame(format=stream.format.name, layout="stereo", samples=1152)
            frame.sample_rate, frame.pts, frame.time_base = 44100, number * 1152, Fraction(1, 44100)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
