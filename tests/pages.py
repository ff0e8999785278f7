"""The pages of the documentation, read: their blocks, what stands in code font, their links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]

_READ = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block; one that is indented, and so has no language, has "" for it.

    Attributes:
        at: where it begins, as `README.md:12`.
        output: the ```text block that follows with nothing between.
    """

    at: str
    language: str
    text: str
    output: str = ""


@dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        return [
            Block(f"{self}:{_line(token)}", token.info, token.content, _output(behind))
            for token, behind in pairwise([*self._tokens, Token("end", "", 0)])
            if token.type in ("fence", "code_block")
        ]

    def code(self) -> Iterator[tuple[str, str]]:
        """What stands in code font within the text, each with the place where its paragraph begins."""
        for paragraph, token in self._within("code_inline"):
            yield f"{self}:{_line(paragraph)}", token.content

    def links(self) -> list[str]:
        """Where its links lead to, as they are written."""
        return [unquote(str(token.attrs["href"])) for _, token in self._within("link_open")]

    @cached_property
    def anchors(self) -> set[str]:
        """What its headings are called in links."""
        headings = (behind for token, behind in pairwise(self._tokens) if token.type == "heading_open")
        return {anchor_of("".join(part.content for part in heading.children or ())) for heading in headings}

    @cached_property
    def _tokens(self) -> list[Token]:
        return _READ.parse(self.text)

    def _within(self, kind: str) -> Iterator[tuple[Token, Token]]:
        for paragraph in self._tokens:
            yield from ((paragraph, token) for token in paragraph.children or () if token.type == kind)


def english() -> list[Page]:
    """README.md and all of docs/."""
    return [page for page in every() if not page.path.name.endswith(".zh-CN.md")]


def every() -> list[Page]:
    """The English pages and their translations."""
    return [Page(path) for path in (*sorted(ROOT.glob("README*.md")), *sorted(ROOT.glob("docs/*.md")))]


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 0


def _output(behind: Token) -> str:
    return behind.content if (behind.type, behind.info) == ("fence", "text") else ""


def anchor_of(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
