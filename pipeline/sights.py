"""The pictures that go along with a question: those it came with, and those of the frames that were found for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from langchain_core.documents import Document

from pipeline.documents import is_frame, plain_lines
from pipeline.kept_pictures import KeptPictures
from pipeline.pictures import ReadPicture
from pipeline.prompts import GivenPicture
from vidask.errors import InvalidFrame

#: Of the frames that were found. Each costs a vision model about as much as three excerpts.
MAX_SHOWN = 3
#: Of the text on a given picture.
_MAX_TEXT_CHARS = 2_000
#: Of the text on all given pictures, for the search: an embedding model reads about 1,000 characters.
_MAX_SEARCHED_CHARS = 600


class PictureReader(Protocol):
    """Reads pictures; `pipeline.picture_readers.PictureReaders` does, in processes of their own."""

    async def read(self, data: bytes, *, asked: bool = False) -> ReadPicture:
        """The text on a picture, and copies of it; sooner where somebody has `asked` about it.

        Raises:
            InvalidFrame: it cannot be used.
        """
        ...


async def read_given(pictures: Sequence[bytes], reader: PictureReader, *, to_be_seen: bool) -> list[GivenPicture]:
    """Read the pictures that a question came with; they stay pictures where they are `to_be_seen`.

    Raises:
        InvalidFrame: one cannot be used; says which.
    """
    read = await asyncio.gather(*(_read(number, data, reader) for number, data in enumerate(pictures, start=1)))
    return [GivenPicture(plain_lines(each.text)[:_MAX_TEXT_CHARS], each.jpeg if to_be_seen else None) for each in read]


def searched_for(question: str, given: Sequence[GivenPicture]) -> str:
    """A question with the beginning of the text on its pictures, which often says more of what it is about."""
    each = _MAX_SEARCHED_CHARS // max(1, len(given))
    return "\n".join(filter(None, (question, *(picture.text[:each] for picture in given))))


async def load_shown(
    pictures: KeptPictures, tenant: str, documents: Sequence[Document], *, at_most: int = MAX_SHOWN
) -> dict[int, bytes]:
    """The pictures of the nearest frames among excerpts, by the numbers of these; one that was found twice is loaded once."""
    nearest: dict[str, int] = {}
    for number, document in sorted(enumerate(documents, start=1), key=lambda found: found[1].metadata.get("rank", 0)):
        if is_frame(document) and len(nearest) < at_most:
            nearest.setdefault(document.metadata["picture"], number)

    def load() -> dict[int, bytes]:
        return {
            number: jpeg
            for number, sha256 in sorted((number, sha256) for sha256, number in nearest.items())
            if (jpeg := pictures.load(tenant, documents[number - 1].metadata["video_id"], sha256))
        }

    return await asyncio.to_thread(load) if nearest else {}


async def _read(number: int, data: bytes, reader: PictureReader) -> ReadPicture:
    try:
        return await reader.read(data, asked=True)
    except InvalidFrame as error:
        raise InvalidFrame(f"picture {number}: {error}") from None
