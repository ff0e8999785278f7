"""What slides are worth without a vision model: how many are read a second, and whether their titles are found.

The slides are those of a course; below each title stand some sentences of its lecture. A question quotes three words of a title.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from langchain_core.embeddings import Embeddings

from benchmarks.figures import Figure, ratio
from benchmarks.search import LECTURES
from config import Settings
from pipeline.chroma import open_chroma
from pipeline.embeddings import GatheredEmbeddings, load_embeddings
from pipeline.frames import prepare_frames
from pipeline.kept_pictures import KeptPictures
from pipeline.llm.extractive import ExtractiveChatModel
from pipeline.llm.words import sentences
from pipeline.picture_readers import PictureReaders
from pipeline.retriever import VideoRetriever
from pipeline.store import ChromaStore
from pipeline.transcripts import parse_transcript
from tests.drawing import jpeg, slide
from vidask import read_subtitles
from vidask.models import FrameRef, IndexFramesJob

_SIZE = (1280, 720)
_ROUNDS = 5
_TOP_K = 6
_LINE_CHARS = 55
#: To a title, each with words of its own.
_QUESTIONS = 4
_LONG = 4
#: By lecture. Each fits into one line, and has three long words at least.
_TITLES = {
    "01-decision-trees": """
        Asking one question after another
        Which split separates classes best
        Gini impurity in plain numbers
        Entropy measures mixed labels
        Information gain of every split
        Growing the tree until leaves are pure
        Deep trees memorise training noise
        Pruning branches after training
        Limiting depth before training
        Minimum samples in every leaf
        Numbers, categories and thresholds
        Missing values at prediction time
        Bagging many different trees
        Random forests choose few features
        Boosting corrects earlier mistakes
        Which features matter most
    """,
    "02-gradient-descent": """
        Rolling downhill in small steps
        Choosing a good learning rate
        Steps too large diverge quickly
        Batches, minibatches, single examples
        Stochastic gradients are noisy
        Momentum remembers earlier steps
        Adaptive rates for each weight
        Saddle points and flat valleys
        Local minima in many dimensions
        Scaling inputs before descent
        Warming up, then cooling down
        Stopping early on validation loss
        Convex functions have one minimum
        Checking gradients numerically
        Clipping gradients that explode
        Second derivatives and curvature
    """,
    "03-neural-networks": """
        From one neuron to many layers
        Weighted sums plus a bias
        Activation functions bend lines
        Rectified units stay cheap
        Vanishing signals in deep stacks
        Backpropagation applies the chain rule
        Initial weights break symmetry
        Dropout silences random neurons
        Normalising each layer's inputs
        Skip connections carry identity
        Convolutions share their filters
        Pooling shrinks feature maps
        Embedding words as vectors
        Attention looks everywhere at once
        Softmax turns scores into odds
        Cross entropy punishes confidence
    """,
}


@dataclass(frozen=True)
class _Slide:
    title: str
    image: bytes


def figures() -> Iterator[Figure]:
    chance = random.Random(11)  # noqa: S311
    slides = list(_drawn(chance))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidask-bench-")))
        readers = stack.enter_context(closing(PictureReaders()))
        rates = [_slides_a_second(readers, slides) for _ in range(_ROUNDS + 1)][1:]  # in the first the processes start
        yield ratio(f"ocr_slides_a_second_with_{readers.processes}_processes", rates, ">=", 1.0 * readers.processes)
        yield ratio("ocr_slides_a_second_with_two_processes_over_one", _two_over_one(slides)[1:], ">=", 1.5)
        store = ChromaStore(
            stack.enter_context(open_chroma(Settings(chroma_path=folder / "chroma"))), embedding_model="minilm"
        )
        embeddings = stack.enter_context(closing(GatheredEmbeddings(load_embeddings())))
        asyncio.run(_index(slides, readers, embeddings, store, KeptPictures(folder / "pictures")))
        ranks = list(_ranks(slides, VideoRetriever(embeddings=embeddings, store=store), chance))
    nearest = f"of {len(slides)} slides; {sum(rank == 0 for rank in ranks) / len(ranks):.3g} as the nearest of all"
    yield Figure("ocr_titles_found", sum(rank < _TOP_K for rank in ranks) / len(ranks), ">=", 0.95, nearest)


def _drawn(chance: random.Random) -> Iterator[_Slide]:
    for lecture, titles in _TITLES.items():
        said = _said(lecture)
        for title in titles.strip().splitlines():
            begin, lines = chance.randrange(len(said)), chance.randint(2, 6)
            yield _drawn_slide(title.strip(), said[begin : begin + lines], chance)


def _said(lecture: str) -> list[str]:
    """The sentences of a lecture that fit into a line of a slide."""
    [path] = LECTURES.glob(f"{lecture}.*")
    cues = parse_transcript(read_subtitles(path)).segments
    return [said for said in sentences(" ".join(cue.text for cue in cues)) if len(said) <= _LINE_CHARS]


def _drawn_slide(title: str, lines: Sequence[str], chance: random.Random) -> _Slide:
    ink, paper = chance.choice((("black", "white"), ("#f0f0f0", "#1c2840"), ("#203060", "#fff8e0")))
    return _Slide(title, jpeg(slide(title, lines, size=_SIZE, ink=ink, paper=paper), quality=80))


def _slides_a_second(readers: PictureReaders, slides: Sequence[_Slide]) -> float:
    async def read() -> None:
        await asyncio.gather(*(readers.read(each.image) for each in slides))

    begun = time.perf_counter()
    asyncio.run(read())
    return len(slides) / (time.perf_counter() - begun)


def _two_over_one(slides: Sequence[_Slide]) -> list[float]:
    """Whether processes stay out of each other's way; takes two cores."""
    with closing(PictureReaders(1)) as one, closing(PictureReaders(2)) as two:
        return [_slides_a_second(two, slides) / _slides_a_second(one, slides) for _ in range(_ROUNDS + 1)]


async def _index(
    slides: Sequence[_Slide], readers: PictureReaders, embeddings: Embeddings, store: ChromaStore, kept: KeptPictures
) -> None:
    images = {hashlib.sha256(each.image).hexdigest(): each.image for each in slides}
    frames = tuple(FrameRef(time_s=15.0 * number, sha256=sha256) for number, sha256 in enumerate(images))

    async def fetch(frame: FrameRef) -> bytes:
        return images[str(frame.sha256)]

    job = IndexFramesJob(video_id="lecture", frames=frames)
    prepared = await prepare_frames(job, fetch=fetch, readers=readers, llm=ExtractiveChatModel(), embeddings=embeddings)
    prepared.store(store, kept)


def _ranks(slides: list[_Slide], retriever: VideoRetriever, chance: random.Random) -> Iterator[int]:
    """For each question, how many slides are nearer to it; `_TOP_K` where the title was not found as it stands."""
    for each in slides * _QUESTIONS:
        words = [word for word in re.findall(r"\w+", each.title) if len(word) >= _LONG]
        quoted = " ".join(words[at] for at in sorted(chance.sample(range(len(words)), 3)))
        found = retriever.invoke(f"What is on the slide about {quoted}?", tenant="default", top_k=_TOP_K)
        ranks = [document.metadata["rank"] for document in found if each.title in document.page_content]
        yield min(ranks, default=_TOP_K)
