from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import pytest

from vidask.errors import InvalidTranscript
from vidask.subtitles import MAX_FILE_BYTES, decode_subtitles, read_subtitles

# A few lines of subtitles in the encoding that people in each country had them in.
LEGACY = {
    "Spanish": ("latin-1", ["¿Qué es un árbol de decisión?", "Mañana veremos los bosques.", "¡Hasta luego!"]),
    "one Spanish word": ("latin-1", ["Niño"]),
    "German": ("cp1252", ["Schöne Grüße aus München.", "Wir müssen prüfen, ob es läuft."]),
    "one German line": ("latin-1", ["Grüße aus Köln"]),
    "French": ("cp1252", ["Où est le cœur ? C’est là-bas.", "«\xa0Voilà\xa0!\xa0» L'été a été très agréable…"]),
    "one French line": ("latin-1", ["Le café est prêt."]),
    "English with curly quotes": ("cp1252", ["That is all it is, and it’s fine.", "“Well” – maybe."]),
    "Portuguese": ("cp1252", ["Não é possível, disse o irmão.", "Lições de informação, ATENÇÃO!"]),
    "Italian": ("cp1252", ["Perché è così difficile?", "La città è più bella."]),
    "Swedish": ("cp1252", ["Jag är från Göteborg.", "Åke åt smörgåsar på lördagen."]),
    "Danish": ("cp1252", ["Rødgrød med fløde på køkkenbordet.", "Æblerne er sørme både søde og gode."]),
    "Finnish, all double letters": ("latin-1", ["Hyvää päivää."]),
    "Polish": ("cp1250", ["Dzień dobry, dziś porozmawiamy o drzewach.", "Tak, mówię, że to było źródło."]),
    "Czech": ("cp1250", ["Dobrý den, dnes budeme mluvit o stromech.", "Příliš žluťoučký kůň úpěl."]),
    "Hungarian": ("cp1250", ["Az őszi erdő gyönyörű.", "Jó napot kívánok."]),
    "Turkish": ("cp1254", ["Günaydın, bugün ağaçlardan konuşacağız.", "Şimdi eğim nedir, öğreneceğiz."]),
    "Russian": ("cp1251", ["Добро пожаловать на лекцию.", "Что такое градиентный спуск?"]),
    "two Russian words": ("cp1251", ["Привет!", "Как дела?"]),
    "Russian on Unix": ("koi8-r", ["Добро пожаловать на лекцию.", "Сегодня мы поговорим о деревьях решений."]),
    "Ukrainian": ("cp1251", ["Ласкаво просимо на лекцію.", "Їжак їсть яблуко, а ґава ні."]),
    "Greek": ("cp1253", ["Καλημέρα σας, σήμερα θα μιλήσουμε για δέντρα.", "Τι είναι η κλίση;"]),
    "Hebrew": ("cp1255", ["שלום לכולם, היום נלמד על עצים.", "מהו מורד הגרדיאנט?"]),
    "Arabic": ("cp1256", ["مرحبا بكم في المحاضرة.", "اليوم سنتحدث عن أشجار القرار."]),
    "Chinese": ("gb18030", ["今天我们来学习决策树。", "什么是梯度下降？"]),
    "one Chinese line": ("gb18030", ["你好，世界。"]),
    "Chinese with English words": ("gb18030", ["我们用PyTorch训练ResNet，batch size是32。"]),
    "traditional Chinese": ("big5", ["今天我們來學習決策樹。", "什麼是梯度下降？"]),
    "Japanese": ("shift_jis", ["こんにちは、みなさん。", "今日は決定木について学びます。"]),
    "Japanese on Unix": ("euc_jp", ["こんにちは、みなさん。", "今日は決定木について学びます。"]),
    "Korean": ("euc_kr", ["안녕하세요, 여러분.", "오늘은 의사결정 나무를 배웁니다."]),
}
ALL_SCRIPTS = "Qué — 今天我们 — Привет — 🎬"


def srt(lines: list[str], newline: str = "\n") -> str:
    cues = (f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n{line}\n\n" for n, line in enumerate(lines, 1))
    return "".join(cues).replace("\n", newline)


def png() -> bytes:
    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = block(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + block(b"IDAT", zlib.compress(b"\0\0\0\0")) + block(b"IEND", b"")


BINARY = {
    "a PNG": png(),
    "an ELF": b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQ", 3, 62, 1, 0x1040, 64, 13_976),
    "random bytes": random.Random(7).randbytes(4_000),
    "a few random bytes": random.Random(7).randbytes(200),
    "only NULs": bytes(500),
    "numbers of 32 bits": struct.pack("<500I", *range(500)),
    "NULs on both sides": b"\0AB\0" * 100,
    "valid UTF-8 full of control characters": bytes(range(32)) * 10,
}


def assert_one_line_about(error: pytest.ExceptionInfo[InvalidTranscript], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("encoding", "lines"), LEGACY.values(), ids=LEGACY)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_few_lines_in_a_legacy_encoding_come_out_right(encoding: str, lines: list[str], newline: str) -> None:
    text = srt(lines, newline)
    assert decode_subtitles(text.encode(encoding)) == text


@pytest.mark.parametrize("language", ["Spanish", "German", "Russian", "Chinese"])
def test_a_long_file_comes_out_as_a_short_one_does(language: str) -> None:
    encoding, lines = LEGACY[language]
    text = srt([*(["nothing but ASCII here"] * 900), *lines])
    assert decode_subtitles(text.encode(encoding)) == text


def test_a_file_that_is_one_long_line_comes_out_right() -> None:
    text = '[{"start": 0, "end": 1, "text": "' + "今天我们来学习决策树，" * 2_000 + '"}]'
    assert decode_subtitles(text.encode("gb18030")) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_unicode_is_read_with_and_without_a_byte_order_mark(encoding: str) -> None:
    text = srt([ALL_SCRIPTS, "今天我们来学习决策树，一二三。"], "\r\n")
    assert decode_subtitles(text.encode(encoding)) == text


@pytest.mark.parametrize("bom", [b"\xfe\xff", b"\x00\x00\xfe\xff"], ids=["UTF-16", "UTF-32"])
def test_big_endian_unicode_is_read_by_its_mark(bom: bytes) -> None:
    encoding = "utf-16-be" if len(bom) == 2 else "utf-32-be"
    assert decode_subtitles(bom + ALL_SCRIPTS.encode(encoding)) == ALL_SCRIPTS


def test_one_stray_nul_is_taken_out() -> None:
    assert (
        decode_subtitles(b"1\n00:00:01,000 --> 00:00:02,000\nHel\0lo\n") == "1\n00:00:01,000 --> 00:00:02,000\nHello\n"
    )


def test_utf8_that_was_cut_in_the_middle_of_a_character_is_still_utf8() -> None:
    data = srt(["今天我们来学习决策树。"] * 3).rstrip().encode()[:-1]
    assert decode_subtitles(data) == srt(["今天我们来学习决策树。"] * 3).rstrip()[:-1] + "\ufffd"


def test_a_byte_that_windows_does_not_define_does_not_stop_a_western_file() -> None:
    text = srt(["Qué \x81 mañana"])
    assert decode_subtitles(text.encode("latin-1")) == text


@pytest.mark.parametrize("data", BINARY.values(), ids=BINARY)
def test_binary_data_are_refused_by_name_and_with_a_way_out(data: bytes) -> None:
    with pytest.raises(InvalidTranscript) as error:
        decode_subtitles(data, name="film.mkv")
    assert_one_line_about(error, "film.mkv", "binary", "give an SRT")


@pytest.mark.parametrize("data", [b"", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", "\n \n".encode("utf-16")])
def test_empty_and_blank_files_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidTranscript) as error:
        decode_subtitles(data, name="empty.srt")
    assert_one_line_about(error, "empty.srt", "is empty")


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfcaf\xe9", "\ufeffab".encode("utf-16-le") + b"\0", b"\xff\xfe\x00\xd8a\0"]
)
def test_a_file_that_breaks_the_promise_of_its_mark_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidTranscript) as error:
        decode_subtitles(data, name="broken.srt")
    assert_one_line_about(error, "broken.srt", "UTF-", "save the file as UTF-8")


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "lección.srt"
    path.write_bytes(srt(["Mañana"]).encode("latin-1"))
    assert read_subtitles(path) == srt(["Mañana"])
    assert read_subtitles(str(path)) == srt(["Mañana"])


def test_a_file_too_large_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with path.open("wb") as file:
        file.truncate(1 << 36)  # 64 GiB, none of which is on the disk; no machine could hold them
    with pytest.raises(InvalidTranscript) as error:
        read_subtitles(path)
    assert_one_line_about(error, "film.mkv", f"{MAX_FILE_BYTES:,} bytes")


def test_what_cannot_be_opened_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "missing.srt", tmp_path, tmp_path / "line\nbreak\0.srt"):
        with pytest.raises(InvalidTranscript) as error:
            read_subtitles(path)
        assert_one_line_about(error, repr(str(path)), "give the path of a subtitle file")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InvalidTranscript) as error:
        read_subtitles("secret.srt")
    assert_one_line_about(error, "'secret.srt'", "Permission denied")
