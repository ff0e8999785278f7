"""What the store keeps of a chunk and hands to the steps after it: a LangChain `Document` with these metadata.

| key | meaning |
| --- | --- |
| `video_id` | the video |
| `kind` | `transcript` |
| `start_s`, `end_s` | when it is said, seconds |
| `cues` | `[[start_s, end_s, offset of the cue's text], …]` |
| `rank` | of what was found for a question: how near it is, 0 the nearest; not kept |
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from langchain_core.documents import Document

from pipeline.chunks import Chunk

TRANSCRIPT = "transcript"


def transcript_documents(video_id: str, chunks: list[Chunk]) -> list[Document]:
    """One document a chunk, with an id that depends on nothing but the video and the chunk."""
    return [_document(video_id, position, chunk) for position, chunk in enumerate(chunks)]


def _document(video_id: str, position: int, chunk: Chunk) -> Document:
    said = f"{video_id}\0{chunk.text}\0{chunk.cues}".encode()
    return Document(
        id=f"{video_digest(video_id)}-{TRANSCRIPT}-{position:06d}-{hashlib.sha256(said).hexdigest()[:16]}",
        page_content=chunk.text,
        metadata={
            "video_id": video_id,
            "kind": TRANSCRIPT,
            "start_s": chunk.start_s,
            "end_s": chunk.end_s,
            "cues": [list(cue) for cue in chunk.cues],
        },
    )


def in_order(found: Sequence[Document]) -> list[Document]:
    """What was found, nearest first, in the order of the videos' ids and of what is said in them; each with its `rank`."""
    for rank, document in enumerate(found):
        document.metadata["rank"] = rank
    return sorted(found, key=lambda document: (document.metadata["video_id"], document.metadata["start_s"]))


def video_digest(video_id: str) -> str:
    """A name for the video that is safe in any id."""
    return hashlib.sha256(video_id.encode()).hexdigest()[:16]
