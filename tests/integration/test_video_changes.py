"""In which order changes to a video were asked for is what counts, not in which order workers come to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.by_hand import WorkerByHand, worker_by_hand
from vidask import Client, Frame, Segment
from worker.claims import Claim
from worker.videos import Videos

FRAMES, TRANSCRIPT = "index_frames", "index_transcript"


class Video:
    """One video, whose changes are asked for, and then worked on in another order. What was applied is in `done`."""

    def __init__(self, client: Client, hand: WorkerByHand) -> None:
        self.done: list[str] = []
        self._client = client
        self._hand = hand
        self._videos = Videos(hand.ledger.redis)
        self._claims: dict[str, tuple[Claim, str | None]] = {}

    def frames(self, *names: str, plain_celery: bool = False) -> None:
        """Ask for frames in as many parts as there are names. Those of plain Celery have no batch."""
        job = self._client.index_frames("talk", [Frame(float(at), b"x") for at in range(256 * len(names))])
        for name, job_id in zip(names, job.job_ids, strict=True):
            self._claims[name] = self._claim(job_id, FRAMES), "" if plain_celery else job.id

    def transcript(self, name: str) -> None:
        job = self._client.index_transcript("talk", segments=[Segment(0.0, 1.0, "So.")])
        self._claims[name] = self._claim(job.id, TRANSCRIPT), None

    def forget(self, name: str) -> None:
        self._claims[name] = self._claim(self._client.forget("talk").id, "forget"), None

    def work_on(self, *names: str) -> None:
        for name in names:
            claim, batch = self._claims[name]
            if claim.kind == "forget":
                self._videos.forget("acme", self._id, claim, apply=self._forgot(name), superseded=lambda: None)
            else:
                apply = self._applied(name)
                self._videos.index("acme", self._id, claim, apply=apply, superseded=lambda: None, batch=batch)

    @property
    def _id(self) -> str:
        return f"talk of {self._client.tenant}"

    def _claim(self, job_id: str, kind: str) -> Claim:
        claim = self._hand.claims.claim(job_id, kind=kind, worker="by hand", payload="", tenant="")
        assert claim is not None
        return claim

    def _applied(self, name: str) -> Callable[[Any], None]:
        def apply(keep_lock: Callable[[], object]) -> None:
            keep_lock()
            self.done.append(name)

        return apply

    def _forgot(self, name: str) -> Callable[[frozenset[str]], None]:
        return lambda kinds: self.done.extend(sorted(f"{name} {kind}" for kind in kinds))


@pytest.fixture
def video(idle_client: Client, idle_redis_url: str) -> Iterator[Video]:
    with worker_by_hand(idle_redis_url) as hand:
        yield Video(idle_client, hand)


def test_what_is_said_and_what_is_shown_are_independent(video: Video) -> None:
    video.frames("slides")
    video.transcript("words")
    video.work_on("words", "slides")
    assert video.done == ["words", "slides"]


def test_older_frames_come_too_late(video: Video) -> None:
    video.frames("old 1", "old 2")
    video.frames("new 1", "new 2")
    video.work_on("old 1", "new 2", "old 2", "new 1")
    assert video.done == ["old 1", "new 2", "new 1"]


def test_the_parts_of_one_list_come_in_any_order(video: Video) -> None:
    video.frames("1", "2", "3")
    video.work_on("3", "1", "2")
    assert video.done == ["3", "1", "2"]


def test_a_part_that_comes_out_of_order_lets_nothing_older_in(video: Video) -> None:
    video.frames("old")
    video.frames("1", "2")
    video.work_on("2", "1", "old")
    assert video.done == ["2", "1"]


def test_frames_of_plain_celery_are_no_ones_part(video: Video) -> None:
    video.frames("1", "2")
    video.frames("old", plain_celery=True)
    video.frames("new", plain_celery=True)
    video.work_on("1", "new", "2", "old")
    assert video.done == ["1", "new"]


def test_what_comes_after_forgetting_but_is_older_is_not_indexed(video: Video) -> None:
    video.frames("1", "2")
    video.transcript("words")
    video.forget("forget")
    video.work_on("2", "forget", "1", "words")
    assert video.done == ["2", "forget index_frames", "forget index_transcript"]


def test_forgetting_that_comes_late_spares_what_is_newer_and_nothing_else(video: Video) -> None:
    video.frames("slides")
    video.forget("forget")
    video.transcript("words")
    video.work_on("slides", "words", "forget")
    assert video.done == ["slides", "words", "forget index_frames"]


def test_forgetting_that_comes_after_everything_newer_does_nothing(video: Video) -> None:
    video.forget("older")
    video.forget("forget")
    video.frames("slides")
    video.transcript("words")
    video.work_on("slides", "words", "forget", "older")
    assert video.done == ["slides", "words"]


def test_of_two_that_forget_the_older_one_comes_too_late(video: Video) -> None:
    video.forget("older")
    video.forget("newer")
    video.work_on("newer", "older")
    assert video.done == ["newer index_frames", "newer index_transcript"]
