"""Indexing frames: fetch, read, describe, embed, store.

All frames are on their way at once, as far as memory allows: the engine's batches are made of the frames of all jobs. Each is
embedded as soon as it is described, while the engine describes others.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig

from pipeline.documents import frame_content, frame_document, frame_ids_within, is_frame, plain_lines
from pipeline.kept_pictures import KeptPictures
from pipeline.llm.sampling import sampling_arguments
from pipeline.llm.vision import takes_images
from pipeline.pictures import ReadPicture
from pipeline.prompts import caption_messages
from pipeline.reading import Ask
from pipeline.sights import PictureReader
from pipeline.store import ChromaStore
from vidask.clock import clock
from vidask.errors import InvalidFrame, InvalidJob
from vidask.models import FrameProblem, FrameRef, FramesReport, IndexFramesJob, Sampling

#: The bytes of a frame. Raises `InvalidFrame` where they are not to be had.
Fetch = Callable[[FrameRef], Awaitable[bytes]]

#: Why a picture cannot be used, in a sentence. Not the error, whose traceback would keep the picture in memory.
Problem = str

#: Frames whose files, up to 8 MiB each, are in memory; no process that reads is to wait for the next.
_READ_AT_ONCE = 64
#: Enough for three sentences. The prompt shows more of a text than a sentence can take up.
_CAPTION = Sampling(max_tokens=120)
_MAX_HINT_CHARS = 2_000

_NO_CAPTIONS = (
    "the language model does not see pictures, so frames are found by the text on them alone; for captions, name a vision model "
    "(VLLM_MODEL_PATH, or a server's with VIDASK_LLM_VISION=true) and index again"
)


class Places:
    """Bounds how many frames are on their way at once, in all jobs that share it and an event loop.

    Args:
        pictures: between their file and their caption.
    """

    def __init__(self, pictures: int = 64) -> None:
        self.being_described = asyncio.Semaphore(pictures)
        self.being_read = asyncio.Semaphore(_READ_AT_ONCE)


@dataclass(frozen=True)
class Seen:
    """What is known of a picture.

    Attributes:
        sha256: of its file.
        caption: what it shows, in one line; empty without a vision model.
        text: what stands on it, line by line.
        small: the copy to be kept, a JPEG.
        refused: why the model would not describe it, where it would not.
        vector: of caption and text; empty where there is neither.
    """

    sha256: str
    caption: str
    text: str
    small: bytes
    refused: Problem = ""
    vector: Sequence[float] = ()


async def prepare_frames(
    job: IndexFramesJob,
    *,
    fetch: Fetch,
    readers: PictureReader,
    llm: BaseChatModel,
    embeddings: Embeddings,
    places: Places | None = None,
    on_progress: Callable[[int], object] = lambda _: None,
    config: RunnableConfig | None = None,
) -> PreparedFrames:
    """Do all that takes long. Cancelling this stops the model.

    A frame that cannot be used fails alone; one that the model refuses is found by its text. A picture that comes several times is
    read and described once.

    Args:
        job: up to 256 frames.
        fetch: gets the bytes of a frame.
        readers: read them.
        llm: describes them, where it reads pictures.
        embeddings: of what is to be found of them; asked for each by itself, so better ones that gather (`GatheredEmbeddings`).
        places: shared with other jobs; of this job's own where there are none.
        on_progress: is called with the number of frames that are done, after each; does not wait.
        config: handed on to the model (`pipeline.llm.vllm`).

    Raises:
        InvalidFrame: not one frame can be used.
        ModelUnavailable, ModelDied: the model failed.
    """
    begun = time.perf_counter()
    seeing = _Seeing(fetch, readers, llm, embeddings, places or Places(), config)
    seen = await _all(job.frames, seeing.see, on_progress)
    _check_any(job, seen)
    timings_s = {"describe": time.perf_counter() - begun}
    return PreparedFrames(job, seen, () if seeing.captions else (_NO_CAPTIONS,), timings_s)


class PreparedFrames:
    """Frames that are read, described and embedded. `store` then makes them the only ones of the video in their stretch."""

    def __init__(
        self,
        job: IndexFramesJob,
        seen: Sequence[Seen | Problem],
        notes: tuple[str, ...],
        timings_s: dict[str, float],
    ) -> None:
        self._job = job
        self._seen = seen
        self._documents = _documents(job, seen)
        self._vectors = [each.vector for each in seen if isinstance(each, Seen) and each.vector]
        self._notes = notes
        self._timings_s = timings_s

    def store(
        self, store: ChromaStore, pictures: KeptPictures, keep_lock: Callable[[], object] = lambda: None
    ) -> FramesReport:
        """Take the place of the video's frames in this stretch; `keep_lock` is called now and then meanwhile."""
        begun = time.perf_counter()
        tenant, video_id = self._job.tenant, self._job.video_id
        small = {seen.sha256: seen.small for seen in self._seen if isinstance(seen, Seen)}
        for sha256 in {document.metadata["picture"] for document in self._documents}:
            pictures.keep(tenant, video_id, sha256, small[sha256])
        removed = store.replace(
            tenant,
            video_id,
            self._documents,
            self._vectors,
            replaced=frame_ids_within(self._job.from_s, self._job.until_s),
            on_progress=keep_lock,
        )
        shown = {document.metadata["picture"] for document in store.documents(tenant, video_id) if is_frame(document)}
        pictures.forget_all_but(tenant, video_id, shown)
        return self._report(indexed=len(self._documents), removed=removed, store=time.perf_counter() - begun)

    def superseded(self) -> FramesReport:
        """The report of frames that came after newer ones, and changed nothing."""
        return self._report(indexed=0, superseded=True)

    def _report(self, *, indexed: int, removed: int = 0, superseded: bool = False, **timings_s: float) -> FramesReport:
        usable = [seen for seen in self._seen if isinstance(seen, Seen)]
        return FramesReport(
            video_id=self._job.video_id,
            frames=len(self._job.frames),
            indexed=indexed,
            captioned=sum(bool(seen.caption) for seen in usable) if indexed else 0,
            empty=sum(not (seen.caption or seen.text) for seen in usable),
            removed=removed,
            superseded=superseded,
            problems=tuple(
                FrameProblem(time_s=frame.time_s, error=problem)
                for frame, seen in zip(self._job.frames, self._seen, strict=True)
                if (problem := _problem(seen))
            ),
            notes=self._notes,
            timings_s={name: round(seconds, 6) for name, seconds in (self._timings_s | timings_s).items()},
        )


class _Seeing:
    """From a frame's place to what is known of it.

    Attributes:
        captions: whether the model describes pictures.
    """

    def __init__(
        self,
        fetch: Fetch,
        readers: PictureReader,
        llm: BaseChatModel,
        embeddings: Embeddings,
        places: Places,
        config: RunnableConfig | None,
    ) -> None:
        self.captions = takes_images(llm)
        self._fetch = fetch
        self._readers = readers
        self._llm = llm
        self._embeddings = embeddings
        self._places = places
        self._config = config

    async def see(self, frame: FrameRef) -> Seen | Problem:
        """What is known of the frame's picture, or why it cannot be used."""
        async with self._places.being_described:
            seen = await self._describe(frame)
        if isinstance(seen, Problem) or not (content := frame_content(seen.caption, seen.text)):
            return seen
        [vector] = await self._embeddings.aembed_documents([content])
        return replace(seen, vector=vector)

    async def _describe(self, frame: FrameRef) -> Seen | Problem:
        try:
            sha256, picture = await self._read(frame)
        except InvalidJob as error:
            return str(error)
        text = plain_lines(picture.text)
        try:
            return Seen(sha256, await self._caption(picture.jpeg, text), text, picture.small)
        except InvalidJob as error:
            refused = f"not described: {error}"
            return Seen(sha256, "", text, picture.small, refused) if text else refused

    async def _read(self, frame: FrameRef) -> tuple[str, ReadPicture]:
        async with self._places.being_read:
            data = await self._fetch(frame)
            sha256 = frame.sha256 or await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
            return sha256, await self._readers.read(data)

    async def _caption(self, jpeg: bytes, text: str) -> str:
        if not self.captions:
            return ""
        messages = caption_messages(jpeg, text[:_MAX_HINT_CHARS])
        reply = await Ask(self._llm, messages, self._config, sampling_arguments(self._llm, _CAPTION)).whole()
        return " ".join(reply.text.split())


def _problem(seen: Seen | Problem) -> Problem:
    return seen if isinstance(seen, Problem) else seen.refused


async def _all(
    frames: Sequence[FrameRef],
    see: Callable[[FrameRef], Awaitable[Seen | Problem]],
    on_progress: Callable[[int], object],
) -> list[Seen | Problem]:
    """Each frame's, with one look at each picture. The first error that is not a frame's own ends the others."""
    done = 0

    async def look(frame: FrameRef, times: int) -> Seen | Problem:
        nonlocal done
        seen = await see(frame)
        done += times
        on_progress(done)
        return seen

    pictures = [(frame.sha256, frame.path) for frame in frames]
    first = dict(zip(reversed(pictures), reversed(frames), strict=True))
    times = Counter(pictures)
    try:
        async with asyncio.TaskGroup() as group:
            looks = {picture: group.create_task(look(first[picture], times[picture])) for picture in times}
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [looks[picture].result() for picture in pictures]


def _check_any(job: IndexFramesJob, seen: Sequence[Seen | Problem]) -> None:
    """Where nothing can be used, the frames of before stay: a job that changed a video into nothing would be no success."""
    if not any(isinstance(each, Seen) for each in seen):
        at = clock(job.frames[0].time_s)
        raise InvalidFrame(f"0 of {len(seen)} frames can be used; the first, at {at}: {seen[0]}")


def _documents(job: IndexFramesJob, seen: Sequence[Seen | Problem]) -> list[Document]:
    """Of the frames of which there is something to say; each is shown until the next one, whatever that is."""
    times = [frame.time_s for frame in job.frames]
    ends = [*times[1:], times[-1] if job.ends_s is None else job.ends_s]
    return [
        frame_document(
            job.video_id, start_s=start_s, end_s=end_s, picture=each.sha256, caption=each.caption, text=each.text
        )
        for start_s, end_s, each in zip(times, ends, seen, strict=True)
        if isinstance(each, Seen) and each.vector
    ]
