"""What the store keeps of a chunk or a frame and hands to the steps after it: a LangChain `Document` with these metadata.

| key | meaning |
| --- | --- |
| `video_id` | the video |
| `kind` | `transcript` or `frame` |
| `start_s`, `end_s` | when it is said, or shown, seconds; a frame of which nobody knows how long it is shown ends where it starts |
| `cues` | `[[start_s, end_s, offset of the cue's text], …]`; of a frame one, which is all of it |
| `picture` | of a frame: the SHA-256 of the picture |
| `rank` | of what was found for a question: how near it is, 0 the nearest; not kept |

An id says the kind, and of a frame the time in milliseconds: what a change takes the place of is known without reading it. It ends
with a digest of all that is kept: what has the same id is not written again, so whoever keeps more of it puts that into its id.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence

from langchain_core.documents import Document

from pipeline.chunks import Chunk

TRANSCRIPT = "transcript"
FRAME = "frame"
#: Between the lines of a frame where they are quoted.
STROKE = " / "

#: Stands between a frame's caption and its text, where it has both.
_ON_SCREEN = "On the screen:"
_BULLET = re.compile(r"^\s*[-–—•·*▪●◦○■►]\s+")
#: Of the text on one frame. A screen full of code has more; an excerpt that long would push five others out of a prompt.
_MAX_TEXT_CHARS = 2_000


def transcript_documents(video_id: str, chunks: list[Chunk]) -> list[Document]:
    """One document a chunk, with an id that depends on nothing but the video and the chunk."""
    return [_document(video_id, position, chunk) for position, chunk in enumerate(chunks)]


def _document(video_id: str, position: int, chunk: Chunk) -> Document:
    said = f"{video_id}\0{chunk.text}\0{chunk.cues}".encode()
    return Document(
        id=f"{digest(video_id)}-{TRANSCRIPT}-{position:06d}-{hashlib.sha256(said).hexdigest()[:16]}",
        page_content=chunk.text,
        metadata={
            "video_id": video_id,
            "kind": TRANSCRIPT,
            "start_s": chunk.start_s,
            "end_s": chunk.end_s,
            "cues": [list(cue) for cue in chunk.cues],
        },
    )


def frame_content(caption: str, text: str) -> str:
    """What is searched for and read of a frame; empty where there is neither caption nor text."""
    text = text[:_MAX_TEXT_CHARS]
    return "\n".join(filter(None, (caption, _ON_SCREEN if caption and text else "", text)))


def frame_document(video_id: str, *, start_s: float, end_s: float, picture: str, caption: str, text: str) -> Document:
    """A frame as it is searched for and read: its caption, then the text on it, line by line; either may be empty.

    Args:
        video_id: the video.
        start_s: when it comes, seconds.
        end_s: when the next one comes, seconds.
        picture: its SHA-256.
        caption: what it shows, in one line.
        text: what stands on it, in plain lines.
    """
    content = frame_content(caption, text)
    shown = f"{video_id}\0{start_s!r}\0{end_s!r}\0{picture}\0{content}".encode()
    return Document(
        id=f"{digest(video_id)}-{FRAME}-{_milliseconds(start_s):010d}-{hashlib.sha256(shown).hexdigest()[:16]}",
        page_content=content,
        metadata={
            "video_id": video_id,
            "kind": FRAME,
            "start_s": start_s,
            "end_s": end_s,
            "cues": [[start_s, end_s, 0]],
            "picture": picture,
        },
    )


def plain_lines(text: str) -> str:
    """The text on a picture without empty lines and without the marks before items of a list, which say nothing."""
    return "\n".join(line for each in text.splitlines() if (line := _BULLET.sub("", each).strip()))


def is_frame(document: Document) -> bool:
    """Whether it was shown, and not said."""
    return document.metadata.get("kind") == FRAME


def lines_of(frame: Document) -> list[str]:
    """The caption, where there is one, and each line of the text on a frame."""
    return [line for line in frame.page_content.splitlines() if line != _ON_SCREEN]


def quotable(document: Document) -> str:
    """What is quoted from it, in one line: of a frame its lines with strokes between them."""
    return STROKE.join(lines_of(document)) if is_frame(document) else document.page_content


def is_transcript_id(id_: str) -> bool:
    """Whether the document of this id is part of a transcript."""
    return id_.split("-")[1] == TRANSCRIPT


def frame_ids_within(from_s: float, until_s: float | None) -> Callable[[str], bool]:
    """Whether the document of an id is a frame that comes from `from_s` on, and before `until_s`; None is the video's end."""
    first_ms = _milliseconds(from_s)
    last_ms = math.inf if until_s is None else _milliseconds(until_s)

    def within(id_: str) -> bool:
        _, kind, at_ms, *_ = id_.split("-")
        return kind == FRAME and first_ms <= int(at_ms) < last_ms

    return within


def in_order(found: Sequence[Document]) -> list[Document]:
    """What was found, nearest first, in the order of the videos' ids and of what is said or shown in them; each with its `rank`."""
    for rank, document in enumerate(found):
        document.metadata["rank"] = rank
    return sorted(found, key=_place)


def _place(document: Document) -> tuple[str, float, str]:
    """The id decides where a slide comes with the first word on it, so that prompts begin alike."""
    return document.metadata["video_id"], document.metadata["start_s"], document.id or ""


def _milliseconds(time_s: float) -> int:
    return round(time_s * 1000)


def digest(name: str) -> str:
    """What stands for a video or a tenant where not every name may stand: in ids, collections' names, paths."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
