from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromadb.api.models.Collection import Collection

from config import Settings
from pipeline.chroma import open_chroma
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from tests.library import QUESTION, AlwaysTheQuestion, Library, chunk, names
from vidask.errors import InvalidSettings, StoreUnavailable, UnknownVideo
from worker.embedded import reserved_port


@pytest.fixture(autouse=True)
def _no_metadata_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter costs time in proportion to everything in the database, so none is ever to be used."""
    for name in ("query", "get", "delete"):
        method = getattr(Collection, name)

        def unfiltered(self: Collection, *args: Any, _method: Callable[..., Any] = method, **kwargs: Any) -> Any:
            assert not {"where", "where_document"} & kwargs.keys()
            return _method(self, *args, **kwargs)

        monkeypatch.setattr(Collection, name, unfiltered)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("VIDASK_CHROMA_URL", raising=False)
    return Settings(chroma_path=tmp_path / "new" / "chroma")


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with open_chroma(settings) as client:
        yield Library(client)


# Finding.


def test_the_nearest_chunks_come_first_and_no_more_than_asked_for(library: Library) -> None:
    library.put(chunk("far", 80), chunk("near", 5), chunk("middle", 40))
    assert library.everywhere() == [["near", "middle", "far"]] * 2
    assert library.find(top_k=2) == library.find("talk", top_k=2) == ["near", "middle"]


def test_a_chunk_comes_back_as_it_was_put(library: Library) -> None:
    document, vector = chunk("x", 10, start_s=7.25)
    library.put((document, vector))
    assert library.store.search("acme", QUESTION) == [document]
    assert library.store.search("acme", QUESTION, video_ids=["talk"]) == [document]


def test_a_question_to_some_videos_finds_the_nearest_of_all_of_them_and_nothing_else(library: Library) -> None:
    library.put(chunk("a1", 10, video_id="a"), chunk("a2", 30, video_id="a"), video_id="a")
    library.put(chunk("b1", 20, video_id="b"), chunk("b2", 40, video_id="b"), video_id="b")
    library.put(chunk("c1", 0, video_id="c"), video_id="c")
    assert library.find("a", "b", top_k=3) == library.find("b", "a", "a", top_k=3) == ["a1", "b1", "a2"]
    assert library.find(top_k=3) == ["c1", "a1", "b1"]


def test_two_tenants_are_apart_even_where_their_videos_have_one_name(library: Library) -> None:
    library.put(chunk("secret", 0), tenant="acme")
    library.put(chunk("weather", 50), tenant="other")
    assert library.find(tenant="other") == library.find("talk", tenant="other") == ["weather"]
    library.store.forget("other", "talk")
    assert library.everywhere() == [["secret"]] * 2


@pytest.mark.parametrize("videos", [(), ("talk",)], ids=["all videos", "one video"])
def test_a_time_range_keeps_what_overlaps_it(library: Library, videos: tuple[str, ...]) -> None:
    library.put(*(chunk(f"{second}", 10 * second, start_s=second) for second in range(6)))
    assert library.find(*videos, start_s=2.0, end_s=4.0) == ["2", "3"]
    assert library.find(*videos, start_s=2.5, end_s=3.5) == ["2", "3"]
    assert library.find(*videos, start_s=4.5) == ["4", "5"]
    assert library.find(*videos, end_s=0.5) == ["0"]
    assert library.find(*videos, start_s=0.0, top_k=1) == ["0"]
    assert library.find(*videos, start_s=60.0) == []


@pytest.mark.parametrize("videos", [(), ("talk",)], ids=["all videos", "one video"])
def test_a_time_range_is_found_however_many_nearer_chunks_lie_outside_it(
    library: Library, videos: tuple[str, ...]
) -> None:
    library.put(*(chunk(f"{second}", second / 4, start_s=second) for second in range(400)))
    assert library.find(*videos, start_s=397.0, top_k=2) == ["397", "398"]
    assert library.find(*videos, start_s=398.0, end_s=399.0, top_k=6) == ["398"]
    assert library.find(*videos, end_s=399.0, top_k=2) == ["0", "1"]


@pytest.mark.parametrize("videos", [(), ("talk",)], ids=["all videos", "one video"])
def test_all_is_found_though_the_index_does_not_lead_to_all(
    library: Library, monkeypatch: pytest.MonkeyPatch, videos: tuple[str, ...]
) -> None:
    """Chroma's index is a graph, which falls apart where many chunks are alike."""
    library.put(*(chunk(f"{second}", second / 4, start_s=second) for second in range(60)))
    query = Collection.query

    def half(self: Collection, **arguments: Any) -> Any:
        reply: Any = query(self, **arguments)
        return {name: part and [part[0][1::2]] for name, part in reply.items()}

    monkeypatch.setattr(Collection, "query", half)
    assert library.find(*videos, top_k=4) == ["0", "1", "2", "3"]
    assert library.find(*videos, start_s=50.0, end_s=54.0, top_k=6) == ["50", "51", "52", "53"]


def test_a_video_that_is_not_indexed_is_named_with_its_tenant(library: Library) -> None:
    library.put(chunk("x", 0))
    with pytest.raises(UnknownVideo, match="video 'lost' is not indexed for tenant 'acme'; index its transcript first"):
        library.find("talk", "lost")
    with pytest.raises(UnknownVideo, match="video 'talk' is not indexed for tenant 'other'"):
        library.find("talk", tenant="other")


def test_where_a_tenant_has_nothing_that_is_said(library: Library) -> None:
    with pytest.raises(UnknownVideo, match="nothing is indexed for tenant 'acme'; index a transcript first"):
        library.find()


# Changing.


def test_putting_the_same_twice_changes_nothing(library: Library) -> None:
    chunks = [chunk("a", 10), chunk("b", 20)]
    assert library.put(*chunks) == 0
    before = library.everywhere()
    assert library.put(*chunks) == 0
    assert library.everywhere() == before == [["a", "b"]] * 2


def test_only_what_is_new_is_written(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.put(chunk("a", 10), chunk("b", 20))
    written: list[list[str]] = []
    upsert = Collection.upsert

    def note(self: Collection, **arguments: Any) -> None:
        written.append(arguments["documents"])
        upsert(self, **arguments)

    monkeypatch.setattr(Collection, "upsert", note)
    library.put(chunk("a", 10), chunk("b", 20))
    assert written == []
    library.put(chunk("a", 10), chunk("c", 15))
    assert written == [["c is said"]] * 2  # the video's own, and the tenant's
    assert library.everywhere() == [["a", "c"]] * 2


def test_a_shorter_version_leaves_nothing_of_the_longer_one(library: Library) -> None:
    library.put(chunk("a", 10), chunk("b", 20), chunk("c", 30))
    library.put(chunk("elsewhere", 40, video_id="other"), video_id="other")
    assert library.put(chunk("b", 20)) == 2
    assert library.everywhere() == [["b"], ["b", "elsewhere"]]


def test_a_version_without_chunks_leaves_a_video_in_which_nothing_is_found(library: Library) -> None:
    library.put(chunk("a", 10))
    assert library.put() == 1
    assert library.everywhere() == [[], []]
    assert library.find("talk", start_s=0.0) == []


def test_nothing_to_put_does_not_make_a_video_known(library: Library) -> None:
    library.put(video_id="lost")
    with pytest.raises(UnknownVideo):
        library.find("lost")


def test_a_forgotten_video_is_gone_and_the_others_stay(library: Library) -> None:
    library.put(chunk("a", 10), chunk("b", 20))
    library.put(chunk("elsewhere", 40, video_id="other"), video_id="other")
    assert library.store.forget("acme", "talk") == 2
    assert library.find() == ["elsewhere"]
    with pytest.raises(UnknownVideo):
        library.find("talk")
    assert library.store.forget("acme", "talk") == 0


def test_forgetting_what_was_never_known_removes_nothing(library: Library) -> None:
    assert library.store.forget("acme", "talk") == 0


def test_a_long_transcript_reports_its_progress_and_is_kept_whole(library: Library) -> None:
    rng = random.Random(1)
    chunks = [chunk(f"{n}", rng.uniform(0, 90)) for n in range(2_001)]
    calls = []
    library.store.replace("acme", "talk", *map(list, zip(*chunks, strict=True)), on_progress=lambda: calls.append(1))
    assert len(calls) >= 3
    assert library.put() == 2_001
    assert library.everywhere() == [[], []]


class PowerCut(Exception):
    """What ends a worker in the middle."""


def cut_power_at(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, nth: int) -> Callable[[], None]:
    """Raise instead of the `nth` call; returns what puts the power back."""
    calls, method = iter(range(1, 100)), getattr(owner, name)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            raise PowerCut
        return method(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, call)
    return lambda: monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize(("method", "nth"), [("upsert", 1), ("upsert", 2), ("delete", 1), ("delete", 2)])
def test_a_change_that_crashed_is_completed_by_repeating_it(
    library: Library, monkeypatch: pytest.MonkeyPatch, method: str, nth: int
) -> None:
    new = [chunk("new a", 15), chunk("b", 20)]
    library.put(chunk("a", 10), chunk("b", 20), chunk("c", 30))
    power_back = cut_power_at(monkeypatch, Collection, method, nth)
    with pytest.raises(PowerCut):
        library.put(*new)
    power_back()

    library.put(*new)

    assert library.everywhere() == [["new a", "b"]] * 2
    assert library.store.forget("acme", "talk") == 2
    assert library.find() == []


@pytest.mark.parametrize("method", ["delete", "delete_collection"])
def test_a_video_half_forgotten_is_forgotten_by_repeating_it(
    library: Library, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    library.put(chunk("a", 10))
    owner = Collection if method == "delete" else type(library.client)
    power_back = cut_power_at(monkeypatch, owner, method, 1)
    with pytest.raises(PowerCut):
        library.store.forget("acme", "talk")
    power_back()

    library.store.forget("acme", "talk")

    assert library.find() == []
    with pytest.raises(UnknownVideo):
        library.find("talk")


# What does not fit, or does not answer.


def test_vectors_of_another_model_are_refused_with_both_names(library: Library) -> None:
    library.put(chunk("x", 0))
    other = ChromaStore(library.client, embedding_model="model-b")
    for use in (
        lambda: other.search("acme", QUESTION),
        lambda: other.search("acme", QUESTION, video_ids=["talk"]),
        lambda: other.replace("acme", "talk", [], []),
        lambda: other.forget("acme", "talk"),
    ):
        with pytest.raises(StoreUnavailable, match="'model-a', this worker has 'model-b'; set VIDASK_EMBEDDING_MODEL"):
            use()
    assert library.everywhere() == [["x"]] * 2


def test_vectors_of_another_length_are_refused(library: Library) -> None:
    library.put(chunk("x", 0))
    with pytest.raises(StoreUnavailable, match="was the embedding model changed"):
        library.store.search("acme", [1.0, 0.0, 0.0])


def test_what_was_put_is_there_when_the_folder_is_opened_again(settings: Settings) -> None:
    with open_chroma(settings) as client:
        Library(client).put(chunk("x", 0))
    with open_chroma(settings) as client:
        assert Library(client).everywhere() == [["x"]] * 2


def open_in_another_process(folder: Path) -> str:
    """What another worker says when it opens the folder."""
    code = (
        "import sys; from pathlib import Path; from config import Settings; from pipeline.chroma import open_chroma\n"
        "try:\n    with open_chroma(Settings(chroma_path=Path(sys.argv[1]))): print('opened')\n"
        "except Exception as error: print(f'{type(error).__name__}: {error}')"
    )
    command = [sys.executable, "-c", code, str(folder)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=180).stdout.strip()


def test_a_folder_is_for_one_process_at_a_time(settings: Settings) -> None:
    with open_chroma(settings):
        said = open_in_another_process(settings.chroma_path)
    assert said.startswith(f"StoreUnavailable: another worker holds the embedded Chroma in {settings.chroma_path}; ")
    assert "VIDASK_CHROMA_URL" in said
    assert "\n" not in said
    assert open_in_another_process(settings.chroma_path) == "opened"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(
            StoreUnavailable, match=r"file/chroma cannot be written \(Not a directory\); set VIDASK_CHROMA_PATH"
        ),
        open_chroma(Settings(chroma_path=tmp_path / "file" / "chroma")),
    ):
        pass


@pytest.mark.parametrize("url", ["nonsense", "localhost:8000", "ftp://host", "http://", "/tmp/chroma"])
def test_an_address_that_is_none_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"chroma_url: .* is not an address; write http://HOST:PORT") as error:
        open_chroma(Settings(chroma_url=url)).__enter__()
    assert repr(url) in str(error.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_is_down_is_named_with_what_to_do(scheme: str) -> None:
    with reserved_port() as nobody_listens:
        url = f"{scheme}://127.0.0.1:{nobody_listens}"
        with pytest.raises(StoreUnavailable) as error:
            open_chroma(Settings(chroma_url=url)).__enter__()
    assert str(error.value).startswith(f"Chroma at {url} does not answer")
    assert "VIDASK_CHROMA_URL" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_video_that_another_worker_forgot_and_indexed_anew_is_found_as_it_is_now(settings: Settings) -> None:
    with open_chroma(settings) as client:
        _forget_and_index_anew(*(ChromaStore(client, embedding_model="minilm") for _ in range(2)))


def _forget_and_index_anew(one: ChromaStore, another: ChromaStore) -> None:
    old, new = chunk("old", 0.0), chunk("new", 0.0)
    one.replace("default", "talk", [old[0]], [old[1]])
    assert names(one.search("default", QUESTION, video_ids=["talk"])) == ["old"]
    another.forget("default", "talk")
    with pytest.raises(UnknownVideo):
        one.search("default", QUESTION, video_ids=["talk"])
    another.replace("default", "talk", [new[0]], [new[1]])
    assert names(one.search("default", QUESTION, video_ids=["talk"])) == ["new"]
    another.forget("default", "talk")
    another.replace("default", "talk", [old[0]], [old[1]])
    assert names(one.search("default", QUESTION, video_ids=["talk"])) == ["old"], "also where it never looked meanwhile"


def test_what_is_found_stands_in_the_order_in_which_it_is_said_and_knows_how_near_it_is(settings: Settings) -> None:
    late, middle, early = chunk("late", 0.0, 90.0), chunk("middle", 20.0, 50.0), chunk("early", 40.0, 10.0)
    chunks = [late, middle, early, chunk("far away", 170.0, 0.0)]
    with open_chroma(settings) as client:
        store = ChromaStore(client, embedding_model="minilm")
        store.replace("default", "talk", [document for document, _ in chunks], [vector for _, vector in chunks])
        retriever = VideoRetriever(embeddings=AlwaysTheQuestion(size=2), store=store)
        found = retriever.invoke("Why?", tenant="default", top_k=3)
    assert names(found) == ["early", "middle", "late"]
    assert [document.metadata["rank"] for document in found] == [2, 1, 0]
