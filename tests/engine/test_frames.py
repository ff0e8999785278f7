"""Captions and pictures with a real engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from langchain_core.runnables import RunnableConfig

from config import Settings
from pipeline.frames import PreparedFrames, prepare_frames
from pipeline.llm import open_llm
from pipeline.llm.vision import takes_images
from pipeline.llm.vllm import VLLMChatModel
from pipeline.loop import EventLoopThread
from pipeline.pictures import ReadPicture
from pipeline.prompts import GivenPicture, Pictures
from pipeline.steps import aget_response
from tests.drawing import jpeg, slide
from tests.engine.conftest import VLLM_CONFIG
from tests.frames import Words, on_slide, sha256
from tests.support import wait_for
from vidask.errors import InvalidJob, InvalidSettings
from vidask.models import FrameRef, IndexFramesJob, Sampling

SLIDES = [jpeg(slide(f"Slide {number}", ["Trees ask questions"], size=(224, 112))) for number in range(24)]
INDEXING: RunnableConfig = {"metadata": {"request_id": "job-7", "priority": 9}}


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[VLLMChatModel]:
    settings = Settings(model_path=str(tiny_model), engine_config={**VLLM_CONFIG, "max_model_len": 2048})
    with closing(EventLoopThread("answers")) as loop, open_llm(settings, loop) as llm:
        assert isinstance(llm, VLLMChatModel)
        yield llm


class Unread:
    """Hands pictures on as they are, without looking for text."""

    async def read(self, data: bytes, *, asked: bool = False) -> ReadPicture:  # noqa: ARG002
        return ReadPicture(text="", jpeg=data, small=data, width=224, height=112)


async def captions(llm: VLLMChatModel, slides: Sequence[bytes]) -> PreparedFrames:
    blobs = {sha256(data): data for data in slides}

    async def fetch(frame: FrameRef) -> bytes:
        return blobs[frame.sha256 or ""]

    frames = tuple(FrameRef(time_s=float(at), sha256=digest) for at, digest in enumerate(blobs))
    job = IndexFramesJob(video_id="talk", frames=frames)
    return await prepare_frames(job, fetch=fetch, readers=Unread(), llm=llm, embeddings=Words(), config=INDEXING)


def test_the_engine_knows_that_its_model_reads_pictures(llm: VLLMChatModel) -> None:
    assert takes_images(llm)


def test_the_frames_of_a_job_are_captioned_in_the_same_steps_of_the_engine(llm: VLLMChatModel) -> None:
    llm.engine.stats.peak_running = 0
    report = llm.engine.loop.run(captions(llm, SLIDES)).superseded()
    assert report.problems == ()
    assert llm.engine.stats.peak_running > VLLM_CONFIG["max_num_seqs"] // 2


def test_a_frame_reaches_the_model_as_a_picture(llm: VLLMChatModel) -> None:
    def prompt_tokens(width: int) -> int:
        before = llm.engine.stats.prompt_tokens
        llm.engine.loop.run(captions(llm, [jpeg(slide("Trees", size=(width, 112)))]))
        return llm.engine.stats.prompt_tokens - before

    narrow, wide = prompt_tokens(112), prompt_tokens(448)
    assert wide - narrow == (448 - 112) * 112 // 28**2, "the model reads 28 by 28 pixels as one token"


def test_cancelling_an_import_stops_the_engine(llm: VLLMChatModel) -> None:
    job = llm.engine.loop.submit(captions(llm, [jpeg(slide(f"Long {at}", size=(112, 112))) for at in range(64)]))
    wait_for("captions are being written", lambda: llm.engine.stats.running > 0)
    job.cancel()
    wait_for("the engine is idle", lambda: llm.engine.stats.running == 0, limit_s=10)


def test_an_answer_sees_the_frames_that_were_found_and_the_pictures_that_were_given(llm: VLLMChatModel) -> None:
    def prompt_tokens(pictures: Pictures) -> int:
        answering = aget_response(
            "Why?", [on_slide("Trees")], llm=llm, sampling=Sampling(max_tokens=1), pictures=pictures
        )
        return llm.engine.loop.run(answering).usage.prompt_tokens

    alone = prompt_tokens(Pictures())
    shown = prompt_tokens(Pictures({1: SLIDES[0]}))
    given = prompt_tokens(Pictures({1: SLIDES[0]}, [GivenPicture("", data) for data in SLIDES[:8]]))
    patches = 224 * 112 // 28**2
    assert shown - alone > patches
    assert given - shown > 8 * patches


def test_more_pictures_than_fit_are_refused_with_what_to_do(llm: VLLMChatModel) -> None:
    large = jpeg(slide("Trees", size=(448, 448)))
    pictures = Pictures(given=[GivenPicture("", large)] * 8)
    with pytest.raises(InvalidJob) as error:
        llm.engine.loop.run(aget_response("Why?", [], llm=llm, pictures=pictures))
    assert "8 pictures" in str(error.value)
    assert "2,048" in str(error.value)
    assert "send fewer" in str(error.value)
    assert "\n" not in str(error.value)


def test_more_pictures_than_vllm_config_allows_are_refused_with_the_setting(
    llm: VLLMChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert llm.engine.max_images >= 11
    monkeypatch.setattr(llm.engine, "max_images", 2)
    with pytest.raises(
        InvalidJob, match=r"^3 pictures go along, limit_mm_per_prompt in VLLM_CONFIG allows 2; send fewer"
    ):
        llm.engine.loop.run(
            aget_response("Why?", [], llm=llm, pictures=Pictures(given=[GivenPicture("", SLIDES[0])] * 3))
        )


def test_a_picture_that_the_engine_cannot_open_fails_its_frame_alone(llm: VLLMChatModel) -> None:
    report = llm.engine.loop.run(captions(llm, [*SLIDES[:2], b"no picture"])).superseded()
    assert [problem.time_s for problem in report.problems] == [2.0]


def test_vision_that_the_model_lacks_or_is_not_to_use(llm: VLLMChatModel) -> None:
    from pipeline.llm.vllm_backend import _takes_images

    class Blind:
        takes_images = False

    assert not _takes_images(Settings(llm_vision=False), llm.engine, "tiny")
    with pytest.raises(InvalidSettings, match="llm_vision: true, but 'tiny' reads text alone"):
        _takes_images(Settings(llm_vision=True), Blind(), "tiny")  # pyright: ignore[reportArgumentType]
