"""Pictures as people send them: good ones come out as they look, the others are refused in one line that says what to do."""

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from PIL.Image import Transpose

from pipeline.pictures import MODEL_PIXELS, SMALL_SIDE, decode_picture, read_picture
from tests.drawing import jpeg, png, slide
from vidask.errors import InvalidFrame


def saved(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_of(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """A PNG by hand: width, height, bits a sample and colour type; and its rows, compressed."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def one_colour(side: int) -> bytes:
    """A square PNG, one bit a pixel."""
    packer = zlib.compressobj(1)
    row = b"\0" * (1 + (side + 7) // 8)
    return png_of((side, side, 1, 0), b"".join(packer.compress(row) for _ in range(side)) + packer.flush())


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidFrame) as refused:
        decode_picture(data)
    message = str(refused.value)
    assert "\n" not in message
    assert not re.search("PIL|Pillow|image file|cannot identify|decoder|chunk", message)
    return message


def colour(data: bytes, x: float = 0.5, y: float = 0.5) -> tuple[int, ...]:
    """The colour at a place of the decoded picture, which is in RGB."""
    image = decode_picture(data).image
    assert image.mode == "RGB"
    found = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(found, tuple)
    return found


def like(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(abs(one - other) < 24 for one, other in zip(found, wanted, strict=True))


GREEN = (20, 160, 60)


def plain(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", size, GREEN).convert(mode)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(plain()),
        saved(plain(), "JPEG", progressive=True),
        saved(plain(mode="CMYK"), "JPEG"),
        png(plain()),
        png(plain().quantize()),
        png(plain(mode="RGBA")),
        saved(plain(), "WEBP"),
        saved(plain(), "WEBP", lossless=True),
        saved(plain(mode="RGBA"), "WEBP"),
        saved(plain(), "MPO", save_all=True, append_images=[plain((16, 12))]),  # a phone's: with a preview behind it
    ],
    ids=["jpeg", "progressive", "cmyk", "png", "palette", "alpha", "webp", "lossless", "webp alpha", "phone"],
)
def test_a_picture_looks_as_it_did(data: bytes) -> None:
    picture = decode_picture(data)
    assert (picture.width, picture.height) == (64, 48)
    assert like(colour(data), GREEN)


def test_grey_is_grey() -> None:
    assert like(colour(jpeg(Image.new("L", (64, 48), 120))), (120, 120, 120))
    assert like(colour(png(Image.new("1", (64, 48), 1))), (255, 255, 255))


def test_16_bits_are_scaled_to_8_and_not_cut_off() -> None:
    ramp = np.tile(np.linspace(0, 65_535, 256).astype(np.uint16), (16, 1))
    decoded = np.asarray(decode_picture(png(Image.fromarray(ramp))).image)
    assert np.array_equal(decoded[0, :, 0], np.arange(256))
    colours = zlib.compress(b"".join(b"\0" + struct.pack(">HHH", 0x1400, 0xA000, 0x3C00) * 32 for _ in range(16)))
    assert like(colour(png_of((32, 16, 16, 2), colours)), GREEN)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    picture = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 32, 48))
    drawn = png(picture.convert(mode)) if mode != "P" else saved(picture.quantize(), "PNG")
    assert like(colour(drawn, 0.9), (255, 255, 255))
    assert like(colour(drawn, 0.1), (0, 0, 0))


#: How a camera that is held so stores what it sees, by the orientation that it notes.
STORED = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_taken_with_a_turned_camera_stands_upright(orientation: int, file_format: str) -> None:
    seen = Image.new("RGB", (96, 48), "white")
    seen.paste((255, 0, 0), (0, 0, 48, 24))
    seen.paste((0, 0, 255), (0, 24, 48, 48))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = seen.transpose(STORED[orientation]) if orientation in STORED else seen
    data = saved(stored, file_format, exif=exif)
    picture = decode_picture(data)
    assert (picture.width, picture.height) == (96, 48) == picture.image.size
    assert like(colour(data, 0.2, 0.2), (255, 0, 0))
    assert like(colour(data, 0.2, 0.8), (0, 0, 255))


def test_a_note_on_the_orientation_that_cannot_be_read_does_no_harm() -> None:
    for note in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0" + b"\xff" * 40):
        assert like(colour(saved(plain(), "JPEG", exif=note)), GREEN)


def test_the_copies_are_small_enough_and_say_nothing_of_who_took_the_picture() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ada Secret"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(
        slide("Entropy", size=(3000, 1500)),
        "JPEG",
        exif=exif,
        icc_profile=profile,
        comment="secret",
        xmp=b"<x>secret</x>",
    )
    picture = read_picture(data)
    assert picture.text == "Entropy"
    assert (picture.width, picture.height) == (3000, 1500)
    for copy in (picture.jpeg, picture.small):
        assert b"secret" in data
        assert not re.search(rb"(?i)secret|exif|icc_profile", copy)
    with Image.open(io.BytesIO(picture.jpeg)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert 0.98 * MODEL_PIXELS < image.width * image.height <= MODEL_PIXELS
    with Image.open(io.BytesIO(picture.small)) as image:
        assert image.size == (SMALL_SIDE, SMALL_SIDE // 2)


def test_a_small_picture_is_not_made_larger() -> None:
    picture = read_picture(png(slide("Gini", size=(320, 180))))
    assert picture.text == "Gini"
    for copy in (picture.jpeg, picture.small):
        with Image.open(io.BytesIO(copy)) as image:
            assert image.size == (320, 180)


@pytest.mark.parametrize(
    ("data", "seems"),
    [
        (saved(plain(), "GIF"), "GIF"),
        (saved(plain(), "BMP"), "BMP"),
        (saved(plain(), "TIFF"), "TIFF"),
        (saved(plain(), "ICO"), "an icon"),
        (saved(plain(), "JPEG2000"), "JPEG 2000"),
        (saved(plain(), "AVIF"), "AVIF"),
        (saved(plain(), "PDF"), "PDF"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "a video"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf<SVG/>", "SVG"),
        (b"These are my notes.\n", "text"),
        ("笔记".encode() * 1_000, "text"),
        (b"\x01\x02\x03\x04 and so on", "no picture that is known here (it begins with 01 02 03 04)"),
        (b"\x00", "no picture that is known here (it begins with 00)"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "no picture that is known here (it begins with 52 49 46 46)"),
    ],
)
def test_other_files_are_called_what_they_are_whatever_their_name(data: bytes, seems: str) -> None:
    assert refusal(data) == f"the picture is {seems}; send a JPEG, PNG or WebP"


def test_nothing_is_no_picture() -> None:
    assert refusal(b"") == "the picture is empty (0 bytes); send a JPEG, PNG or WebP"


def test_an_animation_is_refused() -> None:
    moving = {"save_all": True, "append_images": [Image.new("RGB", (64, 48), "red")], "duration": 100}
    said = "is animated (2 pictures); send each as a frame with its own time"
    assert refusal(saved(plain(), "PNG", **moving)) == f"the PNG {said}"
    assert refusal(saved(plain(), "WEBP", **moving)) == f"the WebP {said}"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_the_size_is_looked_at_first(file_format: str) -> None:
    least = "pixels, and each side needs 8 at least; send a larger one"
    assert refusal(saved(plain((7, 400)), file_format)) == f"the picture has 7 × 400 {least}"
    strip = "and may be at most 20 times as long as it is wide; cut it into several"
    assert refusal(saved(plain((10, 201)), file_format)) == f"the picture has 10 × 201 pixels, {strip}"
    assert decode_picture(saved(plain((8, 160)), file_format)).image.size == (8, 160)


def test_a_picture_without_pixels_is_refused() -> None:
    empty = png_of((0, 10, 8, 2), zlib.compress(b""))
    assert refusal(empty) == "the picture has 0 × 10 pixels, and each side needs 8 at least; send a larger one"


def test_a_picture_that_is_larger_than_any_camera_s_is_refused() -> None:
    limit = "in all, at most 25,000,000 are taken; scale it down"
    assert refusal(one_colour(5_001)) == f"the picture has 5,001 × 5,001 pixels, 25,010,001 {limit}"
    lossless = bytearray(saved(plain(), "WEBP", lossless=True))
    lossless[21:25] = struct.pack("<I", 16_383 | 16_383 << 14)
    assert refusal(bytes(lossless)) == f"the picture has 16,384 × 16,384 pixels, 268,435,456 {limit}"


_MEASURED = """
import re, sys
from pathlib import Path
from pipeline.pictures import decode_picture
from vidask.errors import InvalidFrame

def peak_mb():
    # getrusage would begin with the peak of the process that started this one, whatever that has grown to
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

data = Path(sys.argv[1]).read_bytes()
before_mb = peak_mb()
try:
    picture = decode_picture(data)
    said = f"{picture.width} x {picture.height}"
except InvalidFrame as error:
    said = str(error)
print(peak_mb() - before_mb, said)
"""


def decoded_elsewhere(folder: Path, data: bytes) -> tuple[int, str]:
    """How much memory a process of its own needed for the picture, MB, and what came of it."""
    path = folder / "picture"
    path.write_bytes(data)
    command = [sys.executable, "-c", _MEASURED, str(path)]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    needed_mb, _, said = run.stdout.strip().partition(" ")
    return int(needed_mb), said


def test_30_000_by_30_000_pixels_of_one_colour_cost_no_memory(tmp_path: Path) -> None:
    data = one_colour(30_000)
    assert len(data) < 1_000_000
    needed_mb, said = decoded_elsewhere(tmp_path, data)
    assert said.startswith("the picture has 30,000 × 30,000 pixels, 900,000,000 in all, at most 25,000,000 are taken")
    assert needed_mb < 5


def test_the_largest_pictures_that_are_taken_stay_within_bounds(tmp_path: Path) -> None:
    for data in (
        png_of((5_000, 5_000, 8, 6), zlib.compress(b"\0" * 20_001 * 5_000, 1)),  # with transparency
        jpeg(Image.new("RGB", (5_000, 5_000), GREEN)),
    ):
        needed_mb, said = decoded_elsewhere(tmp_path, data)
        assert said == "5000 x 5000"
        assert needed_mb < 350


def _noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8))


WHOLE = {
    "JPEG": jpeg(_noisy()),
    "progressive JPEG": saved(_noisy(), "JPEG", progressive=True),
    "PNG": png(_noisy()),
    "WebP": saved(_noisy(), "WEBP"),
    "lossless WebP": saved(_noisy(), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_picture_that_is_cut_off_is_refused(name: str) -> None:
    whole = WHOLE[name]
    half = whole[: len(whole) // 2]
    cut = f"of {len(half):,} bytes is cut off or damaged; send all of it, or save it anew"
    assert refusal(half) == f"the {name.rsplit(maxsplit=1)[-1]} {cut}"


def _or_refused(data: bytes) -> None:
    """Whatever the bytes are, they are a picture or are refused; a refusal is checked as elsewhere."""
    try:
        decode_picture(data)
    except InvalidFrame:
        refusal(data)


@pytest.mark.parametrize("name", WHOLE)
@given(share=st.floats(0.0, 1.0))
def test_wherever_a_picture_is_cut_off_it_fails_as_a_picture(name: str, share: float) -> None:
    _or_refused(WHOLE[name][: int(share * len(WHOLE[name]))])


@pytest.mark.parametrize("name", WHOLE)
@given(changes=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_is_wrong_in_a_picture_it_fails_as_a_picture(name: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(WHOLE[name])
    for share, value in changes:
        data[int(share**3 * len(data))] = value  # more often near the beginning, where the headers are
    _or_refused(bytes(data))


def test_a_picture_that_gives_two_sizes_is_refused() -> None:
    """The first is read before the picture is opened, the second by what opens it."""
    small, large = png(plain()), one_colour(9_000)
    assert "9,000 × 9,000" in refusal(small[:33] + large[8:])


def test_a_notice_in_the_file_does_not_unpack_to_more_memory_than_the_picture() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "0" * 2_000_000, zip=True)
    assert refusal(saved(plain(), "PNG", pnginfo=notes)).startswith("the PNG of ")
