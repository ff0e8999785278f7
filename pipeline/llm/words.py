"""Words that carry meaning, brought to a common form: enough to compare a question with what was said, in any language."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+(?=[^\s\da-z])|(?<=[。！？])")
#: Endings, and what stands in their place; the first that fits counts.
_ENDINGS = (
    ("ings", ""), ("ing", ""), ("edly", ""), ("ied", "y"), ("ed", ""), ("ers", ""), ("er", ""),
    ("ies", "y"), ("sses", "ss"), ("ss", "ss"), ("us", "us"), ("is", "is"), ("es", ""), ("s", ""), ("ly", ""),
)  # fmt: skip

#: Words that say how a sentence is built, not what it is about. Chinese ones are single characters, which bigrams leave behind.
STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "after",
        "again",
        "all",
        "also",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "being",
        "but",
        "by",
        "can",
        "cannot",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "done",
        "for",
        "from",
        "get",
        "give",
        "had",
        "happen",
        "happens",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "it's",
        "its",
        "just",
        "let",
        "me",
        "more",
        "most",
        "much",
        "my",
        "no",
        "not",
        "now",
        "of",
        "off",
        "on",
        "one",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "own",
        "same",
        "say",
        "said",
        "she",
        "should",
        "so",
        "some",
        "such",
        "tell",
        "than",
        "that",
        "that's",
        "the",
        "their",
        "them",
        "then",
        "there",
        "there's",
        "these",
        "they",
        "thing",
        "things",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "up",
        "us",
        "use",
        "used",
        "using",
        "very",
        "was",
        "way",
        "we",
        "were",
        "what",
        "what's",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whose",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, as they stand there."""
    return [part for piece in _SENTENCE_END.split(text) if (part := piece.strip())]


def terms(text: str) -> list[str]:
    """The words of a text that carry meaning, stemmed; of Chinese, Japanese and Korean the pairs of characters."""
    return [term for word in words(text) for term in _terms_of(word)]


def words(text: str) -> list[str]:
    """The words of a text that carry meaning, as they stand there."""
    return [word for word in _WORD.findall(text) if word.lower() not in STOP_WORDS]


def _terms_of(word: str) -> Iterator[str]:
    if _CJK.search(word):
        yield from (word[at : at + 2] for at in range(max(len(word) - 1, 1)))
    else:
        yield stem(word.lower())


def stem(word: str) -> str:
    """A word without its ending: `overfits`, `overfitting` and `overfit` become one, `studies` and `study` as well."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 - len(instead):
            word = word.removesuffix(ending) + instead
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        return word[:-1]
    return word.removesuffix("e") if len(word) > 4 else word
