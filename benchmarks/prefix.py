"""How much of a question's prompt an engine's prefix cache can have already, for many questions on one video.

Counted in characters, which is exact and needs no engine; a cache that forgets nothing is assumed.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from langchain_core.documents import Document

from benchmarks.figures import Figure
from config import Settings
from pipeline.chroma import open_chroma
from pipeline.embeddings import load_embeddings
from pipeline.indexing import PreparedTranscript
from pipeline.llm.words import sentences
from pipeline.prompts import answer_messages
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from pipeline.transcripts import parse_transcript
from vidask import read_subtitles
from vidask.models import IndexTranscriptJob

_LECTURE = Path(__file__).parents[1] / "examples" / "lectures" / "01-decision-trees.srt"
_QUESTIONS = 80
_TOP_K = 6
#: About as many characters as a block of the cache has tokens: 16 of them.
_BLOCK = 64


def figures() -> Iterator[Figure]:
    text, embeddings = read_subtitles(_LECTURE), load_embeddings()
    said = sentences(" ".join(cue.text for cue in parse_transcript(text).segments))
    random.Random(0).shuffle(said)  # noqa: S311
    asked = [f"Why is it said that {sentence[:80]}?" for sentence in said[:_QUESTIONS]]
    with (
        tempfile.TemporaryDirectory(prefix="vidask-bench-") as folder,
        open_chroma(Settings(chroma_path=Path(folder))) as client,
    ):
        store = ChromaStore(client, embedding_model="minilm")
        PreparedTranscript(IndexTranscriptJob(video_id="talk", text=text), embeddings).store(store)
        retriever = VideoRetriever(embeddings=embeddings, store=store)
        found = [retriever.invoke(question, tenant="default", video_ids=["talk"], top_k=_TOP_K) for question in asked]
    nearest_first = [sorted(documents, key=lambda document: document.metadata["rank"]) for documents in found]
    note = f"{_share(asked, nearest_first):.2f} with the nearest excerpt first"
    yield Figure("prompt_share_that_began_an_earlier_prompt", _share(asked, found), ">=", 0.6, note)


def _share(asked: Sequence[str], found: Sequence[Sequence[Document]]) -> float:
    known: set[str] = set()
    begun_alike = characters = 0
    for question, documents in zip(asked, found, strict=True):
        prompt = "\n".join(message.text for message in answer_messages(question, documents))
        beginnings = [prompt[:end] for end in range(_BLOCK, len(prompt), _BLOCK)]
        begun_alike += _BLOCK * next((n for n, text in enumerate(beginnings) if text not in known), len(beginnings))
        characters += len(prompt)
        known.update(beginnings)
    return begun_alike / characters
