"""The jobs a producer can ask for and the results it gets: pydantic models, JSON on the wire.

Limits stand here once and are checked twice: by the producer before anything is queued, and by the worker that reads the job.
Fields that a newer producer adds are ignored; a job of another major version is refused.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from vidask import keys

SCHEMA_VERSION = "1.0"

MAX_QUESTION_CHARS = 8_000
MAX_HISTORY_MESSAGES = 100
MAX_MESSAGE_CHARS = 32_000
MAX_VIDEO_IDS = 50
MAX_TOP_K = 50
MAX_TRANSCRIPT_CHARS = 10_000_000
MAX_SEGMENTS = 100_000
MAX_SEGMENT_CHARS = 20_000
#: 1,000 hours. Longer than any video, short enough that a time in milliseconds is not taken for seconds.
MAX_TIME_S = 3_600_000.0
MAX_FRAMES = 256
MAX_FRAME_BYTES = 8 * 2**20
MAX_ASKED_FRAMES = 8
MAX_PATH_CHARS = 1_024
MAX_TEMPERATURE = 2.0
MAX_TOKENS = 4_096
#: A row that has not ended is not kept for longer.
MAX_DEADLINE_S = keys.QUEUED_TTL_S

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired", "quarantined"]
TranscriptFormat = Literal["srt", "vtt", "ass", "ssa", "whisper"]


def _not_blank(text: str) -> str:
    if not text.strip():
        msg = "is empty"
        raise ValueError(msg)
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        msg = "holds control characters or line breaks; remove them"
        raise ValueError(msg)
    return text


Tenant = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
VideoId = Annotated[str, Field(max_length=256), AfterValidator(_not_blank), AfterValidator(_printable)]
JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Seconds = Annotated[float, Field(ge=0.0, le=MAX_TIME_S, allow_inf_nan=False)]
MessageText = Annotated[str, Field(max_length=MAX_MESSAGE_CHARS)]
SegmentText = Annotated[str, Field(max_length=MAX_SEGMENT_CHARS)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MediaPath = Annotated[str, Field(max_length=MAX_PATH_CHARS), AfterValidator(_not_blank), AfterValidator(_printable)]


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Message:
    """One turn of the conversation so far."""

    role: Literal["user", "assistant"]
    content: MessageText


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Segment:
    """Something said between two times of a video, in seconds from its start."""

    start_s: Seconds
    end_s: Seconds
    text: SegmentText

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end_s < self.start_s:
            msg = f"ends at {self.end_s:g} s before it starts at {self.start_s:g} s; swap the two"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Progress:
    """How far a job is: frames done, of all its frames. A job of another kind is one thing, done or not.

    A job that is started anew, because its worker was lost, begins at 0 again.
    """

    done: int
    total: int


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class JobModel(_Model):
    """What every job carries."""

    schema_version: str = SCHEMA_VERSION
    tenant: Tenant = "default"

    @field_validator("schema_version")
    @classmethod
    def _same_major_version(cls, version: str) -> str:
        if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            msg = (
                f"{version!r} is not understood here, {SCHEMA_VERSION} is; bring client and worker to the same release"
            )
            raise ValueError(msg)
        return version


class Sampling(_Model):
    """How the answer is written: what a caller may choose of the language model's settings.

    Attributes:
        temperature: 0 to 2; at 0 the likeliest word is taken each time.
        top_p: above 0, up to 1; only the likeliest words that together are this probable are drawn from.
        max_tokens: 1 to 4,096; where the answer is cut off.
        seed: makes drawing repeatable, where the model's server can.
    """

    temperature: Annotated[float, Field(ge=0.0, le=MAX_TEMPERATURE, allow_inf_nan=False)] = 0.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = 512
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class FrameRef(_Model):
    """A picture of a video at a time: by the SHA-256 under which its bytes were uploaded, or by its path.

    Attributes:
        time_s: seconds from the video's start.
        sha256: of the bytes, in hex.
        path: below the worker's media root, with "/" between its parts.
    """

    time_s: Seconds
    sha256: Sha256 | None = None
    path: MediaPath | None = None

    @model_validator(mode="after")
    def _hash_or_path(self) -> Self:
        if (self.sha256 is None) == (self.path is None):
            msg = "give a frame's sha256 or its path, and not both"
            raise ValueError(msg)
        return self


class AskJob(JobModel):
    """A question about videos, with the conversation before it, and pictures that it may be about.

    Without `video_ids` all of the tenant's videos are searched. `start_s` and `end_s` keep what overlaps that stretch.
    `deadline_s` counts from the moment the job is accepted, by Redis's clock; without it a job may take as long as it takes.
    """

    question: Annotated[str, Field(max_length=MAX_QUESTION_CHARS), AfterValidator(_not_blank)]
    history: Annotated[tuple[Message, ...], Field(max_length=MAX_HISTORY_MESSAGES)] = ()
    video_ids: Annotated[tuple[VideoId, ...], Field(max_length=MAX_VIDEO_IDS)] = ()
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 6
    sampling: Sampling = Sampling()
    frames: Annotated[tuple[FrameRef, ...], Field(max_length=MAX_ASKED_FRAMES)] = ()
    deadline_s: Annotated[float, Field(gt=0.0, le=MAX_DEADLINE_S, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _range_runs_forward(self) -> Self:
        if self.start_s is not None and self.end_s is not None and self.end_s < self.start_s:
            msg = f"the time range ends at {self.end_s:g} s before it starts at {self.start_s:g} s; swap the two"
            raise ValueError(msg)
        return self


class IndexTranscriptJob(JobModel):
    """A transcript to index: subtitle text in one of the formats, or segments; never both."""

    video_id: VideoId
    text: Annotated[str, Field(max_length=MAX_TRANSCRIPT_CHARS), AfterValidator(_not_blank)] | None = None
    format: TranscriptFormat | None = None
    segments: Annotated[tuple[Segment, ...], Field(max_length=MAX_SEGMENTS)] | None = None

    @model_validator(mode="after")
    def _text_or_segments(self) -> Self:
        if (self.text is None) == (self.segments is None):
            msg = "give the transcript as text or as segments, and not as both"
            raise ValueError(msg)
        return self


class IndexFramesJob(JobModel):
    """Frames of a video to index. They take the place of all that are indexed from `from_s` on, and before `until_s`.

    A frame is shown until the next one begins. A long list comes in parts, one job each.

    Attributes:
        frames: 1 to 256, in the order of their times, all within the stretch.
        from_s: where the stretch begins, seconds.
        until_s: where it ends; None is the video's end.
        ends_s: when the last of these frames goes, seconds; where that is not known it is indexed for its moment alone.
        batch: what the parts of one list share. None of them takes another's place.
    """

    video_id: VideoId
    frames: Annotated[tuple[FrameRef, ...], Field(min_length=1, max_length=MAX_FRAMES)]
    from_s: Seconds = 0.0
    until_s: Seconds | None = None
    ends_s: Seconds | None = None
    batch: JobId | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [frame.time_s for frame in self.frames]
        for before, after in pairwise(times):
            check_order(before, after)
        if times[0] < self.from_s or (self.until_s is not None and times[-1] >= self.until_s):
            msg = f"frames from {times[0]:g} s to {times[-1]:g} s are not all from from_s on and before until_s; widen the stretch"
            raise ValueError(msg)
        if self.ends_s is not None and self.ends_s < times[-1]:
            msg = f"the last frame, at {times[-1]:g} s, would go at {self.ends_s:g} s; the end comes after it"
            raise ValueError(msg)
        return self


def check_order(before_s: float, after_s: float) -> None:
    """Raise ValueError where a frame does not come after the one before it."""
    if after_s <= before_s:
        msg = f"a frame at {after_s:g} s follows one at {before_s:g} s; sort frames by time, one for each time"
        raise ValueError(msg)


class ForgetJob(JobModel):
    """A video of which nothing is to be kept."""

    video_id: VideoId


class Citation(_Model):
    """Where in a video an answer comes from, what is said or what is shown; `number` is its `[n]` in the answer's text."""

    number: int
    video_id: str
    start_s: float
    end_s: float
    text: str
    kind: Literal["transcript", "frame"] = "transcript"


class Usage(_Model):
    """Tokens that the language model read and wrote; both 0 where no model was used."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Answer(_Model):
    """The answer to a question.

    Attributes:
        text: the answer, with its sources as `[n]`.
        standalone_question: the question as it was searched for, made understandable without the history.
        citations: the sources, by their first mention in the text.
        usage: tokens of all steps together.
        timings_s: seconds by step: `queued`, `contextualize`, `retrieve`, `respond`.
        model: name of the language model, `extractive` where sentences were quoted.
    """

    text: str
    standalone_question: str
    citations: tuple[Citation, ...] = ()
    usage: Usage = Usage()
    timings_s: dict[str, float] = {}
    model: str


class IndexReport(_Model):
    """What indexing a transcript did.

    Attributes:
        segments: cues read.
        chunks: chunks the transcript now has.
        removed: chunks of an earlier version that are gone.
        superseded: true where a newer job for the same video had already been applied, and nothing was changed.
        warnings: cues that had to be mended, by number; the first few.
    """

    video_id: str
    segments: int
    chunks: int
    removed: int = 0
    superseded: bool = False
    warnings: tuple[str, ...] = ()
    timings_s: dict[str, float] = {}


class FrameProblem(_Model):
    """A frame that was not indexed, or without the caption that it should have, by its time, and why."""

    time_s: float
    error: str


class FramesReport(_Model):
    """What indexing frames did.

    Attributes:
        frames: frames given.
        indexed: frames that can be found now.
        captioned: of these, frames that the vision model has described.
        empty: frames with nothing to read on them, and not described.
        removed: frames of an earlier list that are gone.
        superseded: true where newer frames of the same video had already been applied, and nothing was changed.
        problems: frames that cannot be used, and those that the vision model refused to describe, which are found by their text.
        notes: what is to be known of the whole, like that there is no vision model.
    """

    video_id: str
    frames: int
    indexed: int
    captioned: int = 0
    empty: int = 0
    removed: int = 0
    superseded: bool = False
    problems: tuple[FrameProblem, ...] = ()
    notes: tuple[str, ...] = ()
    timings_s: dict[str, float] = {}


class ForgetReport(_Model):
    """What forgetting a video did: the number of chunks and frames removed, 0 where it was not known."""

    video_id: str
    removed: int
    superseded: bool = False
