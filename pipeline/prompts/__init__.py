"""The prompts: text files beside this one, and the messages made of them.

Beside the text that a language model reads, the last message of each prompt carries what it was made of in `additional_kwargs`
(`TASK`), so that a "model" that is none (`pipeline.llm.extractive`) need not read prose.

The excerpts stand before the question, and the pictures of what was found between them: many questions on one video then share the
beginning of their prompts.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from pipeline.documents import is_frame
from vidask.clock import clock
from vidask.models import Message

TASK = "vidask"


@dataclass(frozen=True)
class ContextualizeTask:
    """Rewrite `question` so that it stands without `history`."""

    question: str
    history: Sequence[Message]


@dataclass(frozen=True)
class AnswerTask:
    """Answer `question` from `documents`, which are cited by their position, from 1, and from the text on given pictures."""

    question: str
    documents: Sequence[Document]
    pictures: Sequence[str]


@dataclass(frozen=True)
class GivenPicture:
    """A picture that a question came with: the text on it, and the picture as a JPEG where the model reads such."""

    text: str
    jpeg: bytes | None = None


@dataclass(frozen=True)
class Pictures:
    """What there is to be seen beside a question.

    Attributes:
        shown: of excerpts that are frames, by their number: the frame as a JPEG.
        given: what the question came with, in its order.
    """

    shown: Mapping[int, bytes] = field(default_factory=dict)
    given: Sequence[GivenPicture] = ()


NO_PICTURES = Pictures()


def contextualize_messages(
    question: str, history: Sequence[Message], *, with_pictures: bool = False
) -> list[BaseMessage]:
    """The prompt that asks for a question that stands alone: instructions, the conversation, the question."""
    said = [HumanMessage(turn.content) if turn.role == "user" else AIMessage(turn.content) for turn in history]
    template = _template("contextualize.pictures" if with_pictures else "contextualize.human")
    task = ContextualizeTask(question, history)
    return [
        SystemMessage(_template("contextualize.system")),
        *said,
        HumanMessage(template.format(question=_plain(question)), additional_kwargs={TASK: task}),
    ]


def answer_messages(
    question: str, documents: Sequence[Document], pictures: Pictures = NO_PICTURES
) -> list[BaseMessage]:
    """The prompt that asks for an answer from numbered excerpts and from pictures."""
    parts: list[str | bytes] = []
    if documents:
        excerpts = "\n".join(_excerpt(number, document) for number, document in enumerate(documents, start=1))
        parts.append(_template("answer.excerpts").format(excerpts=excerpts))
    for number, jpeg in pictures.shown.items():
        parts += [_template("answer.shown").format(number=number), jpeg]
    for number, given in enumerate(pictures.given, start=1):
        parts += [_picture(number, given), *([given.jpeg] if given.jpeg else ())]
    parts.append(_template("answer.question").format(question=_plain(question)))
    task = AnswerTask(question, documents, [given.text for given in pictures.given])
    return [SystemMessage(_template("answer.system")), HumanMessage(_content(parts), additional_kwargs={TASK: task})]


def caption_messages(jpeg: bytes, text: str) -> list[BaseMessage]:
    """The prompt that asks what a frame shows; `text` is what was read on it, and may be wrong."""
    asked = _template("caption.human").format(text=_plain(text)) if text else _template("caption.plain")
    return [SystemMessage(_template("caption.system")), HumanMessage(_content([jpeg, asked]))]


def _excerpt(number: int, document: Document) -> str:
    meta = document.metadata
    span = f"{clock(meta['start_s'])}-{clock(meta['end_s'])}"
    shown = ' shown="on screen"' if is_frame(document) else ""
    return f'<excerpt number="{number}" time="{span}"{shown}>{_plain(document.page_content)}</excerpt>'


def _picture(number: int, given: GivenPicture) -> str:
    return f'<picture number="{number}">{_plain(given.text)}</picture>'


def _content(parts: Sequence[str | bytes]) -> str | list[str | dict[Any, Any]]:
    """Text alone stays one text; pictures stand between the pieces of it."""
    if all(isinstance(part, str) for part in parts):
        return "\n\n".join(map(str, parts))
    return [_part(part) for part in parts]


def _part(part: str | bytes) -> dict[str, Any]:
    """Chat templates put nothing between the parts of a message, so each text brings its line breaks."""
    if isinstance(part, str):
        return {"type": "text", "text": f"\n{part}\n"}
    return {"type": "image", "base64": base64.b64encode(part).decode(), "mime_type": "image/jpeg"}


def _plain(text: str) -> str:
    """Without invisible characters, and without the tags that mark where untrusted text ends."""
    return text.translate(_PLAIN)


class _Plain(dict[int, str | None]):
    """What `str.translate` makes of each character, worked out when it first comes: a prompt has thousands."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        invisible = unicodedata.category(char) in ("Cc", "Cf") and char not in "\n\t"
        self[code] = plain = None if invisible else char
        return plain


_PLAIN = _Plain({ord("<"): "‹", ord(">"): "›"})


@cache
def _template(name: str) -> str:
    return files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").strip()
