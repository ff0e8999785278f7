"""What a pipeline is made of, handed on in one piece to all in a worker that works with some of it."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from pipeline.kept_pictures import KeptPictures
from pipeline.llm.vision import first_that_sees
from pipeline.sights import PictureReader
from pipeline.store import ChromaStore


@dataclass(frozen=True)
class Parts:
    """One of each in a worker's process.

    Attributes:
        embeddings: of what is said, read or asked.
        store: where it is found.
        llms: language models; the first answers, each other where those before it do not.
        readers: read pictures.
        pictures: the copies that are kept of them.
    """

    embeddings: Embeddings
    store: ChromaStore
    llms: tuple[BaseChatModel, ...]
    readers: PictureReader
    pictures: KeptPictures

    @property
    def captioning_llm(self) -> BaseChatModel:
        """The first that takes pictures; where none does, the first."""
        return first_that_sees(self.llms)
