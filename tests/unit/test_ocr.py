"""What is written on pictures. Chinese is drawn stroke by stroke: not every machine has a font for it."""

import random
import unicodedata
from typing import Any

import numpy as np
import openvino
import pytest
from PIL import Image, ImageDraw, ImageFont
from rapidocr_onnxruntime import RapidOCR

from pipeline import ocr
from tests.drawing import slide

#: Characters as lines through points of a square of ten by ten.
STROKES = {
    "日": [[(2, 1), (8, 1), (8, 9), (2, 9), (2, 1)], [(2, 5), (8, 5)]],
    "本": [[(0, 3), (10, 3)], [(5, 0), (5, 10)], [(5, 3), (1, 8)], [(5, 3), (9, 8)], [(3, 8), (7, 8)]],
    "人": [[(5, 0), (4, 5), (0, 10)], [(5, 3), (7, 7), (10, 10)]],
    "口": [[(1, 2), (9, 2), (9, 9), (1, 9), (1, 2)]],
    "中": [[(1, 2), (9, 2), (9, 6), (1, 6), (1, 2)], [(5, 0), (5, 10)]],
    "山": [[(1, 4), (1, 9), (9, 9), (9, 4)], [(5, 1), (5, 9)]],
}


def draw_strokes(picture: Image.Image, text: str, left: int, top: int, scale: int = 6) -> None:
    draw = ImageDraw.Draw(picture)
    for number, character in enumerate(text):
        for line in STROKES[character]:
            points = [(left + (number * 13 + x) * scale, top + y * scale) for x, y in line]
            draw.line(points, fill="black", width=6, joint="curve")


def test_a_slides_lines_are_read_from_top_to_bottom() -> None:
    picture = slide("Why Deep Trees Overfit", ["Every leaf holds one example", "12.5 % of it is noise"])
    assert ocr.read_text(picture).splitlines() == [
        "Why Deep Trees Overfit",
        "- Every leaf holds one example",
        "- 12.5 % of it is noise",
    ]


def test_light_text_on_a_dark_slide_is_read() -> None:
    assert ocr.read_text(slide("Momentum", ink="#eeeeee", paper="#202840")) == "Momentum"


def test_what_stands_side_by_side_is_one_line_from_left_to_right() -> None:
    picture = Image.new("RGB", (900, 300), "white")
    draw = ImageDraw.Draw(picture)
    for (left, top), text, height in (
        ((500, 64), "validation loss", 26),
        ((60, 60), "training loss", 34),
        ((500, 184), "rises again", 26),
        ((60, 180), "keeps falling", 34),
    ):
        draw.text((left, top), text, fill="black", font=ImageFont.load_default(height))
    assert ocr.read_text(picture).splitlines() == ["training loss validation loss", "keeps falling rises again"]


def test_small_words_stay_apart() -> None:
    """The model alone writes many of these lines as one word."""
    words = ["tree", "at", "the", "leaf", "of", "noise", "a", "entropy", "is", "too", "forest", "large", "Do", "first"]
    picker = random.Random(7)
    lines = [" ".join(picker.choices(words, k=9)) for _ in range(8)]
    picture = Image.new("RGB", (1280, 400), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((40, 20 + 46 * number), line, fill="black", font=ImageFont.load_default(17))
    read = ocr.read_text(picture).split()
    found = sum(min(read.count(word), " ".join(lines).split().count(word)) for word in words)
    assert found >= 0.97 * sum(len(line.split()) for line in lines)


def test_chinese_is_read_beside_english() -> None:
    picture = Image.new("RGB", (900, 300), "white")
    draw_strokes(picture, "日本人口", 60, 40)
    draw_strokes(picture, "中山", 60, 180)
    ImageDraw.Draw(picture).text((400, 180), "Figure 3", fill="black", font=ImageFont.load_default(50))
    assert ocr.read_text(picture).splitlines() == ["日本人口", "中山 Figure 3"]


def _patterns() -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    return {
        "noise": numbers.integers(0, 255, (360, 640, 3)),
        "blocks": np.kron(numbers.integers(0, 255, (9, 16, 3)), np.ones((40, 40, 1))),
        "stripes": np.tile((np.arange(640) // 9 % 2 * 255)[None, :, None], (360, 1, 3)),
        "one colour": np.full((360, 640, 3), 90),
        "a strip": np.full((8, 160, 3), 250),
        "an icon": numbers.integers(0, 255, (8, 8, 3)),
    }


@pytest.mark.parametrize("name", _patterns())
def test_nothing_is_read_where_nothing_is_written(name: str) -> None:
    assert ocr.read_text(Image.fromarray(_patterns()[name].astype(np.uint8))) == ""


def test_lines_and_dots_are_no_text() -> None:
    picture = Image.new("RGB", (640, 360), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((60, 60, 300, 200), outline="black", width=3)
    draw.line((300, 130, 500, 130), fill="black", width=3)
    draw.text((60, 260), "- - - - -", fill="black", font=ImageFont.load_default(30))
    assert ocr.read_text(picture) == ""


def test_each_process_takes_one_core_and_none_in_particular(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO would bind all processes that read pictures to the same one."""
    made: list[openvino.CompiledModel] = []
    compile_model = openvino.compile_model

    def noted(*args: Any) -> openvino.CompiledModel:
        made.append(compile_model(*args))
        return made[-1]

    monkeypatch.setattr(openvino, "compile_model", noted)
    ocr._engine.cache_clear()  # noqa: SLF001  what it makes can be seen from nowhere else
    assert ocr.read_text(slide("Momentum")) == "Momentum"
    assert len(made) == 2
    assert not any(model.get_property("ENABLE_CPU_PINNING") for model in made)
    assert {model.get_property("INFERENCE_NUM_THREADS") for model in made} == {1}


def test_no_character_that_the_model_can_write_is_invisible() -> None:
    known = RapidOCR().text_rec.session.get_character_list()
    hidden = [character for character in known if any(unicodedata.category(char)[0] == "C" for char in character)]
    assert len(known) > 6_000
    assert not hidden
