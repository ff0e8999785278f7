"""Which frames of a video are picked, and when."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageDraw

from tests.drawing import SIZE, Shot, encode, slide, video
from vidask import Frame, InvalidJob
from vidask.video import PickedFrames, pick_frames

TREES = slide("Decision trees", ["Ask one question after another", "Split where it tells most"])
FORESTS = slide("Random forests", ["Many trees vote", "Each sees other examples", "Errors cancel out"])
PRUNING = slide("Pruning", ["Cut what does not help"])

Draw = Callable[..., Path]


@pytest.fixture
def drawn(tmp_path: Path) -> Draw:
    """Draws shots into a video, and gives its path."""
    return lambda *shots, **options: video(tmp_path / "talk.mp4", shots, **options)


def picked(path: Path, **options: float) -> list[Frame]:
    return list(pick_frames(path, **options))  # pyright: ignore[reportArgumentType]


def times(frames: list[Frame]) -> list[float]:
    return [frame.time_s for frame in frames]


def shows(frame: Frame, picture: Image.Image) -> bool:
    """Whether a frame is that picture, whatever small is over it."""
    assert frame.image is not None
    shown = Image.open(io.BytesIO(frame.image))
    assert shown.format == "JPEG"
    if shown.size != picture.size:
        return False
    differs = ImageChops.difference(shown.convert("L"), picture.convert("L"))
    return sum(differs.histogram()[80:]) < 0.001 * picture.width * picture.height


def test_every_slide_is_kept_once_within_half_a_second_of_its_appearance(drawn: Draw) -> None:
    frames = picked(drawn((TREES, 6), (FORESTS, 3.6), (PRUNING, 9)))
    assert times(frames) == [0.0, 6.0, pytest.approx(9.85, abs=0.25)]
    assert all(map(shows, frames, (TREES, FORESTS, PRUNING)))


def test_how_many_were_read_kept_and_dropped_is_told(drawn: Draw) -> None:
    seen: list[tuple[float, float | None]] = []
    video = pick_frames(drawn((TREES, 6), (FORESTS, 4)), on_progress=lambda *so_far: seen.append(so_far))
    list(video)
    assert (video.decoded, video.kept, video.dropped) == (50, 2, 48)
    assert video.duration_s == pytest.approx(10, abs=0.2)
    assert video.warnings == ()
    assert seen == sorted(seen)
    assert 9 < seen[-1][0] < 10
    assert {length for _, length in seen} == {video.duration_s}


def test_a_pointer_that_moves_is_nothing_new(drawn: Draw) -> None:
    frames = picked(drawn(Shot(TREES, 25, pointer=True), fps=10))
    assert times(frames) == [0.0]


def test_each_further_bullet_is_a_new_frame(drawn: Draw) -> None:
    lines = ["Ask", "Split again and again", "Stop"]
    states = [slide("Decision trees", lines[:n]) for n in range(4)]
    frames = picked(drawn(*((state, 4) for state in states)))
    assert times(frames) == [0.0, 4.0, 8.0, 12.0]
    assert all(map(shows, frames, states))


def test_bullets_that_follow_at_once_are_kept_together(drawn: Draw) -> None:
    states = [slide("Decision trees", ["Ask", "Split", "Stop"][:n]) for n in range(4)]
    frames = picked(drawn((states[0], 1), (states[1], 1), (states[2], 1), (states[3], 6)))
    assert times(frames) == [3.0]
    assert shows(frames[0], states[3])


def test_a_slide_left_before_it_was_complete_for_long_is_kept_as_it_was(drawn: Draw) -> None:
    states = [slide("Decision trees", ["Ask", "Split", "Stop"][:n]) for n in range(4)]
    frames = picked(drawn((states[1], 1), (states[2], 1), (states[3], 1), (FORESTS, 5)))
    assert times(frames) == [2.0, 3.0]
    assert all(map(shows, frames, (states[3], FORESTS)))


def test_somebody_who_writes_without_a_pause_is_looked_at_now_and_then(drawn: Draw) -> None:
    lines = ["branches " * words for words in range(1, 6)] * 4
    states = [slide("Pruning", [*["branches " * 5] * (n // 5), lines[n]]) for n in range(20)]  # a word a second
    frames = picked(drawn(*((state, 1) for state in states), (states[-1], 5)))
    assert times(frames)[-1] == 19.0
    assert len(frames) in {2, 3}
    assert shows(frames[-1], states[-1])


def test_a_fade_is_kept_when_it_is_over(drawn: Draw) -> None:
    frames = picked(drawn((TREES, 5), Shot(FORESTS, 6, fade_s=2.5), Shot(PRUNING, 6, fade_s=0.6), fps=10))
    assert [round(time) for time in times(frames)] == [0, 8, 12]
    assert all(map(shows, frames, (TREES, FORESTS, PRUNING)))


def test_a_line_that_slides_in_is_kept_when_it_has_arrived(drawn: Draw) -> None:
    def sliding(left: int) -> Image.Image:
        picture = TREES.copy()
        ImageDraw.Draw(picture).text((left, 250), "and stop in good time", fill="black", font_size=24)
        return picture

    flight = [(sliding(640 - 30 * step), 0.2) for step in range(20)]
    frames = picked(drawn((TREES, 4), *flight, (sliding(40), 5)))
    assert [round(time) for time in times(frames)] == [0, 8]
    assert shows(frames[1], sliding(40))


def test_a_slide_that_is_shown_again_is_kept_again(drawn: Draw) -> None:
    frames = picked(drawn((TREES, 4), (FORESTS, 4), (TREES, 4)))
    assert times(frames) == [0.0, 4.0, 8.0]


def test_black_between_two_slides_is_not_kept(drawn: Draw) -> None:
    black = Image.new("RGB", SIZE)
    frames = picked(drawn((black, 3), Shot(TREES, 4, fade_s=1), Shot(black, 3, fade_s=1), Shot(FORESTS, 4, fade_s=1)))
    assert [round(time) for time in times(frames)] == [4, 11]
    assert all(map(shows, frames, (TREES, FORESTS)))


def test_a_speaker_in_the_corner_is_nothing_new_and_hides_no_slide(drawn: Draw) -> None:
    bullet = slide("Pruning", ["Cut what does not help", "Early"])
    first, *later = picked(
        drawn(*(Shot(picture, 12, head=True) for picture in (TREES, FORESTS, TREES, PRUNING, bullet)))
    )
    assert first.time_s < 5
    assert times(later) == [12.0, 24.0, 36.0, 48.0]


def test_a_slide_with_which_a_speaker_appears_is_seen_though_it_is_soon_left(drawn: Draw) -> None:
    frames = picked(drawn((TREES, 4), Shot(FORESTS, 3, head=True), Shot(PRUNING, 6, head=True)))
    assert [int(time) for time in times(frames)][:2] == [0, 6]
    assert 7 <= times(frames)[2] <= 12
    assert len(frames) == 3


def test_slides_behind_a_clip_are_seen(drawn: Draw) -> None:
    clip = [(Image.effect_noise((16, 9), 150).resize(SIZE).convert("RGB"), 0.2) for _ in range(50)]
    frames = picked(drawn((TREES, 4), *clip, (FORESTS, 8), (PRUNING, 4), (TREES, 4)))
    assert times(frames)[0] == 0.0
    assert [round(time) for time in times(frames)][-3:] == [14, 22, 26]
    assert len(frames) <= 6, "of the clip a frame or two"


def test_scenes_that_never_rest_are_kept_now_and_then(drawn: Draw) -> None:
    film = [(_scene(seed, step), 0.2) for seed in range(3) for step in range(50)]
    frames = picked(drawn(*film))
    assert {int(time // 10) for time in times(frames)} == {0, 1, 2}
    assert len(frames) <= 30 / 4


def test_grain_is_nothing_new(drawn: Draw) -> None:
    grain = [Image.blend(TREES, Image.effect_noise(SIZE, 40).convert("RGB"), 0.1) for _ in range(50)]
    frames = picked(drawn(*((picture, 0.2) for picture in grain)))
    assert times(frames) == [0.0]


def test_a_frame_each_five_seconds_whatever_is_on_it(drawn: Draw) -> None:
    path = drawn((TREES, 7), Shot(FORESTS, 8, fade_s=6), (PRUNING, 13))
    assert times(picked(path, every_s=5)) == [0.0, 10.0, 15.0], "where nothing has changed, none is taken"
    assert times(picked(path, every_s=60)) == [0.0]
    assert len(picked(path, every_s=0.5)) >= 8


def test_of_too_many_frames_those_stay_that_differ_most_from_the_next(drawn: Draw) -> None:
    states = [slide("Decision trees", ["Ask", "Split", "Stop"][:n]) for n in range(4)]
    path = drawn(*((state, 4) for state in states), (FORESTS, 4))
    assert times(picked(path)) == [0.0, 4.0, 8.0, 12.0, 16.0]
    frames = picked(path, max_frames=2)
    assert times(frames) == [12.0, 16.0]
    assert shows(frames[0], states[3]), "the full slide says most"
    assert times(picked(path, max_frames=100)) == times(picked(path))


@pytest.mark.parametrize(
    ("name", "codec"), [("talk.mp4", "libx264"), ("talk.mkv", "libx264"), ("talk.webm", "libvpx-vp9")]
)
def test_frames_may_last_as_long_as_they_like(name: str, codec: str, tmp_path: Path) -> None:
    bullet = slide("Pruning", ["Cut what does not help", "Early"])
    shown = [
        (0.0, TREES),
        (0.1, TREES),
        (2.713, FORESTS),
        (2.813, PRUNING),
        (120.5, bullet),
        (121.0, bullet),
        (150.0, TREES),
        (155.0, TREES),
    ]
    frames = picked(encode(tmp_path / name, shown, codec=codec))
    assert times(frames) == pytest.approx([0.0, 2.813, 120.5, 150.0], abs=0.002)
    assert all(map(shows, frames, (TREES, PRUNING, bullet, TREES)))


def test_times_count_from_the_start_of_the_video(tmp_path: Path) -> None:
    path = video(tmp_path / "recorded.ts", [(TREES, 4), (FORESTS, 4)])  # its clock does not begin at 0
    assert times(picked(path)) == pytest.approx([0.0, 4.0], abs=0.01)


def test_a_bare_stream_without_times_is_taken_for_25_frames_a_second(tmp_path: Path) -> None:
    path = video(tmp_path / "raw.h264", [(TREES, 20), (FORESTS, 20)])  # 200 frames
    assert times(picked(path)) == pytest.approx([0.0, 4.25], abs=0.25)


@pytest.mark.parametrize(
    ("rotation", "turn"),
    [(90, Image.Transpose.ROTATE_90), (180, Image.Transpose.ROTATE_180), (-90, Image.Transpose.ROTATE_270)],
)
def test_frames_are_turned_as_players_turn_them(rotation: int, turn: Image.Transpose, drawn: Draw) -> None:
    (frame,) = picked(drawn((TREES, 3), rotation=rotation))
    assert shows(frame, TREES.transpose(turn))


def test_large_frames_are_made_smaller_and_small_ones_stay(drawn: Draw) -> None:
    def size(frame: Frame) -> tuple[int, int]:
        assert frame.image is not None
        return Image.open(io.BytesIO(frame.image)).size

    (large,) = picked(drawn((slide("Large", size=(1920, 1200)), 1), fps=2))
    assert size(large) == (1280, 800)
    (tall,) = picked(drawn((slide("Tall", size=(720, 1440)), 1), fps=2))
    assert size(tall) == (640, 1280)
    (small,) = picked(drawn((slide("Small", size=(160, 90)), 1), fps=2))
    assert size(small) == (160, 90)


def test_frames_come_while_the_file_is_read(drawn: Draw) -> None:
    read: list[float] = []
    video = pick_frames(drawn((TREES, 10), (FORESTS, 50)), on_progress=lambda done, _: read.append(done))
    next(iter(video))
    assert read[-1] < 30


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every_s": 0.0}, "every_s: 0 s; give 0.1 to 3,600,000 s"),
        ({"every_s": -5.0}, "every_s: -5 s; give 0.1 to 3,600,000 s"),
        ({"every_s": float("nan")}, "every_s: nan s; give 0.1 to 3,600,000 s"),
        ({"max_frames": 0}, "max_frames: 0; give 1 at least"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_at_once(options: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidJob) as error:
        pick_frames("talk.mp4", **options)  # pyright: ignore[reportArgumentType]
    assert str(error.value) == said


def test_what_is_picked_is_what_a_client_takes(drawn: Draw) -> None:
    frames: PickedFrames = pick_frames(drawn((TREES, 3), (FORESTS, 3)))
    assert all(before.time_s < after.time_s for before, after in itertools.pairwise(frames))


def _scene(seed: int, step: int) -> Image.Image:
    """Film: large shapes that all move, other ones for each seed."""
    picture = Image.new("RGB", SIZE, (40 * seed + 20, 90, 160 - 40 * seed))
    draw = ImageDraw.Draw(picture)
    for number in range(12):
        grey = (number * 67 + seed * 31) % 256
        x = (number * (97 + 40 * seed) + step * (number % 5 - 2) * 9) % SIZE[0]
        y = (number * (53 + 20 * seed) + step * (number % 3 - 1) * 7) % SIZE[1]
        draw.ellipse((x - 60, y - 60, x + 60, y + 60), fill=(grey, grey, grey))
    return picture
