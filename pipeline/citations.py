"""Citations: the `[n]` of an answer, checked against what was retrieved, with the times they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.documents import Document

from pipeline.chunks import span
from pipeline.documents import FRAME, TRANSCRIPT, is_frame, quotable
from vidask.models import Citation

_NUMBER = re.compile(r"\s?\[(\d+)\]")
_MAX_DIGITS = 4
#: Up to the last character that no removal can touch: white space, brackets and digits go, or close up to be looked at again.
_CERTAIN = re.compile(r"(?s).*[^\s\[\]\d]")
#: A quotation, and the number right behind it.
_QUOTED = re.compile(r"(?:“([^“”]+)”|\"([^\"]+)\"|「([^「」]+)」)\s?\[(\d{1,4})\]")


def check(text: str, documents: Sequence[Document]) -> tuple[str, tuple[Citation, ...]]:
    """Remove numbers that nothing was retrieved for; returns the text, and a citation for each number left, by first mention.

    A number that stands behind a word-for-word quotation is cited with the times of the quoted words, any other with those
    of its whole excerpt.
    """
    text = _only_known(text, len(documents))
    numbers = dict.fromkeys(int(number) for number in _NUMBER.findall(text))
    return text, tuple(_citation(number, documents[number - 1], text) for number in numbers)


class CitationFilter:
    """`check` for text that comes in pieces: what is handed out is, all together, `check(text.strip(), documents)[0]`.

    White space, digits and brackets are held back until another character, or the end, shows that no more can change.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self._last = len(documents)
        self._begun = False
        self._held: list[str] = []

    def feed(self, delta: str) -> str:
        """Take the next piece; returns what is certain by now and was not returned before."""
        if not self._begun:
            delta = delta.lstrip()
            self._begun = bool(delta)
        certain = _CERTAIN.match(delta)
        if certain is None:
            self._held.append(delta)
            return ""
        ready = "".join((*self._held, certain[0]))
        self._held = [delta[certain.end() :]]
        return _only_known(ready, self._last)

    def end(self) -> str:
        """What was held back, now that nothing follows."""
        return _only_known("".join(self._held).rstrip(), self._last)


def _only_known(text: str, last: int) -> str:
    """Without the numbers that nothing was retrieved for; what is left of "[9[9]]" is looked at again."""

    def known(match: re.Match[str]) -> str:
        return match[0] if len(match[1]) <= _MAX_DIGITS and 1 <= int(match[1]) <= last else ""

    while (checked := _NUMBER.sub(known, text)) != text:
        text = checked
    return text


def _citation(number: int, document: Document, answer: str) -> Citation:
    quotes = ["".join(quote) for *quote, cited in _QUOTED.findall(answer) if int(cited) == number]
    start_s, end_s, text = _narrowed(document, quotes)
    return Citation(
        number=number,
        video_id=document.metadata["video_id"],
        start_s=start_s,
        end_s=end_s,
        text=text,
        kind=FRAME if is_frame(document) else TRANSCRIPT,
    )


def _narrowed(document: Document, quotes: Sequence[str]) -> tuple[float, float, str]:
    """The stretch of the excerpt that the quotations cover, or all of it."""
    said = quotable(document)
    places = [(at, at + len(quote)) for quote in quotes if (at := said.find(quote)) >= 0]
    if not places:
        return document.metadata["start_s"], document.metadata["end_s"], said
    begin, end = min(at for at, _ in places), max(to for _, to in places)
    start_s, end_s = span(document.metadata["cues"], len(said), begin, end)
    return start_s, end_s, said[begin:end]
