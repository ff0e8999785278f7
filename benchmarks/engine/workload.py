"""The questions and the videos of every part: made of the example lectures' sentences, the same at each call.

Six of ten questions have a conversation before them, so they are rewritten first. A model without trained weights rewrites all of
them into the same words, and for one video the same excerpts would then be found for all: each of these has a video of its own, so
that the prompts of two questions share no more than the system part, and the prefix cache helps nobody more than it would in life.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.llm.words import sentences
from pipeline.transcripts import parse_transcript
from vidask import Client, Job, Message, Sampling, Segment, read_subtitles

LECTURES = Path(__file__).parents[2] / "examples" / "lectures"

#: Passages a question reads: together with what surrounds them about 2,500 tokens.
TOP_K = 21
ANSWER_TOKENS = 140
REWRITING_TOKENS = 32
WARM_UP_QUESTIONS = 16

_SENTENCES_A_VIDEO = 160
_SECONDS_A_SENTENCE = 5.0
_TURNS = 3


@dataclass(frozen=True)
class Question:
    """What is asked, and what a plain Celery task gets as JSON."""

    question: str
    history: tuple[Message, ...]
    video_id: str

    def ask(self, client: Client, *, max_tokens: int = ANSWER_TOKENS) -> Job[Any]:
        """Put it on the queue."""
        return client.ask(
            self.question,
            video_ids=[self.video_id],
            history=self.history,
            top_k=TOP_K,
            sampling=Sampling(max_tokens=max_tokens, temperature=0.0),
        )

    def as_json(self) -> dict[str, Any]:
        """For a task's arguments."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Question:
        """What `as_json` gave."""
        history = tuple(Message(**turn) for turn in fields["history"])
        return cls(fields["question"], history, fields["video_id"])


def questions(n: int) -> list[Question]:
    """`n` questions to measure with."""
    return _questions("", n)


def warm_up_questions() -> list[Question]:
    """Others, about other videos, for what only the first questions pay."""
    return _questions("warm-", WARM_UP_QUESTIONS)


def video_ids(n: int) -> list[str]:
    """The videos that `questions(n)` and the warm-up ask about."""
    return list(dict.fromkeys(question.video_id for question in [*questions(n), *warm_up_questions()]))


def transcript(video_id: str) -> list[Segment]:
    """What is said in a video: the lectures' sentences in an order of its own."""
    said = random.Random(video_id).choices(lecture_sentences(), k=_SENTENCES_A_VIDEO)  # noqa: S311
    return [
        Segment(start_s=at * _SECONDS_A_SENTENCE, end_s=(at + 1) * _SECONDS_A_SENTENCE, text=sentence)
        for at, sentence in enumerate(said)
    ]


@cache
def lecture_sentences() -> Sequence[str]:
    """All that is said in the example lectures."""
    said = (parse_transcript(read_subtitles(path)).segments for path in sorted(LECTURES.iterdir()))
    return [sentence for cues in said for sentence in sentences(" ".join(cue.text for cue in cues))]


def _questions(prefix: str, n: int) -> list[Question]:
    made: list[Question] = []
    followed = [number for number in range(n) if _has_history(number)]
    for number in range(n):
        chance = random.Random(f"{prefix}{number}")  # noqa: S311
        video = number if _has_history(number) else chance.choice(followed or [number])
        made.append(_question(chance, f"{prefix}video-{video}", with_history=_has_history(number)))
    return made


def _has_history(number: int) -> bool:
    return number % 10 < 6


def _question(chance: random.Random, video_id: str, *, with_history: bool) -> Question:
    if not with_history:
        return Question(f"Why is it said that {_said(chance, 1)[:100]}?", (), video_id)
    turns: list[Message] = []
    for _ in range(_TURNS):
        turns += [Message("user", f"What about this: {_said(chance, 1)}"), Message("assistant", _said(chance, 4))]
    return Question(f"And why is that so? ({chance.randrange(10**6)})", tuple(turns), video_id)


def _said(chance: random.Random, n: int) -> str:
    return " ".join(chance.choices(lecture_sentences(), k=n))
