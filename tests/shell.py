"""Shell text taken apart into its commands, as far as the documentation has such text. Nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from string import Template

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_SEPARATORS = {"&&", "||", "|", ";", "&"}
_REDIRECTIONS = {">", ">>", "<", "2>", ">&"}


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        words: the program and what it is given; empty where variables alone are set.
        variables: what is set for it, by itself or by the lines above it.
    """

    words: list[str]
    variables: dict[str, str] = field(default_factory=dict)


def commands(text: str, kept: dict[str, str]) -> Iterator[Command]:
    """Each command of a script, in its order.

    Args:
        text: the script.
        kept: variables that are set already; those that the script exports are added.

    Raises:
        ValueError: a quotation is not closed.
    """
    for line in _lines(text):
        for words in _separated(line):
            given, rest = _assigned(words, kept)
            if rest[:1] == ["export"] or not rest:
                kept |= given | _assigned(rest[1:], kept)[0]
            yield Command([] if rest[:1] == ["export"] else rest, kept | given)


def _lines(text: str) -> Iterator[list[str]]:
    """The words of each line; one that ends within a quotation, or in a backslash, goes on in the next."""
    pending = ""
    for line in text.replace("\\\n", " ").splitlines(keepends=True):
        try:
            words = _words(pending + line)
        except ValueError:
            pending += line
        else:
            pending = ""
            yield words
    if pending:
        _words(pending)


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    return list(lexer)


def _separated(line: list[str]) -> Iterator[list[str]]:
    """The commands of a line, without what goes to files."""
    words: list[str] = []
    rest = iter(line)
    for word in rest:
        if word in _REDIRECTIONS:
            next(rest, "")
        elif word in _SEPARATORS:
            yield words
            words = []
        else:
            words.append(word)
    if words:
        yield words


def _assigned(words: list[str], known: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The variables that stand in front, and the rest with the values of those known in it."""
    given: dict[str, str] = {}
    for at, word in enumerate(words):
        found = _ASSIGNMENT.fullmatch(word)
        if not found:
            return given, [Template(each).safe_substitute(known | given) for each in words[at:]]
        given[found[1]] = Template(found[2]).safe_substitute(known | given)
    return given, []
