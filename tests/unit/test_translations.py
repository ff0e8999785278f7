"""The Chinese pages say what the English ones say: the same headings, code, tables, names, numbers and links, each in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from tests.pages import ROOT, anchor_of, every

TRANSLATED = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("deploy-vllm", "migrate", "troubleshooting")),
]
CHINESE = ".zh-CN.md"

_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass
class Section:
    """A heading and what stands below it; texts whose order counts come with where they stand."""

    place: str
    level: str
    title: str
    code: list[tuple[str, str]] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)
    spans: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)

    def add(self, node: SyntaxTreeNode, page: str, line: int) -> None:
        if node.type == "fence":
            lines = enumerate([f"```{node.info}", *node.content.splitlines()], line)
            self.code += [(f"{page}:{number}", text) for number, text in lines]
        elif node.type == "tr":
            self.rows.append((f"{page}:{line}", f"{len(node.children)} cells, {_spans(node.children[0])}"))
        elif node.type == "code_inline":
            self.spans.add(node.content)
        elif node.type == "text":
            self.numbers.update(re.findall(r"\d[\d.,]*\d|\d", node.content))
        elif node.type == "link":
            self.links.add(unquote(str(node.attrs["href"])))


def _spans(cell: SyntaxTreeNode) -> list[str]:
    """Sorted, since another language may have another order of words."""
    return sorted(node.content for node in cell.walk() if node.type == "code_inline")


def sections_of(page: Path) -> list[Section]:
    sections = [Section(page.name, "", "")]
    for node in SyntaxTreeNode(_MARKDOWN.parse(page.read_text())).walk(include_self=False):
        line = node.map[0] + 1 if node.map else 0
        if node.type == "heading":
            sections.append(Section(f"{page.name}:{line}", node.markup, node.children[0].content))
        sections[-1].add(node, page.name, line)
    return sections


def chinese_of(english: Path) -> Path:
    return english.with_name(english.stem + CHINESE)


def english_of(page: Path) -> Path:
    return page.with_name(page.name.replace(CHINESE, ".md"))


def differences(english: Path) -> Iterator[str]:
    """What to translate, or to take out, in the Chinese page: a line each, with where it is."""
    chinese = chinese_of(english)
    pages = sections_of(english), sections_of(chinese)
    headings = ([(section.place, section.level) for section in page] for page in pages)
    if unlike := list(_first_unlike("heading", *headings)):
        yield from unlike  # which section belongs to which cannot be said then
        return
    for ours, theirs in zip(*pages, strict=True):
        yield from _first_unlike("code", ours.code, theirs.code)
        yield from _first_unlike("table row", ours.rows, theirs.rows)
        where = f"{theirs.place}: “{theirs.title}”"
        yield from _unlike(f"{where}: code span", ours.spans, theirs.spans)
        yield from _unlike(f"{where}: number", ours.numbers, theirs.numbers)
        links = ({leads_to(href, page) for href in s.links} for s, page in ((ours, english), (theirs, chinese)))
        yield from _unlike(f"{where}: link to", *links)


def _first_unlike(what: str, english: list[tuple[str, str]], chinese: list[tuple[str, str]]) -> Iterator[str]:
    """The first one alone: behind a line that is missing, all others differ."""
    for (place, ours), (other_place, theirs) in zip_longest(english, chinese, fillvalue=("the other page", "nothing")):
        if ours != theirs:
            yield f"{place}: {what} {ours!r}; {other_place}: {theirs!r}"
            return


def _unlike(what: str, english: set[str], chinese: set[str]) -> Iterator[str]:
    yield from (f"{what} {text!r} is in the English page alone" for text in sorted(english - chinese))
    yield from (f"{what} {text!r} is in the Chinese page alone" for text in sorted(chinese - english))


def leads_to(href: str, page: Path) -> str:
    """Where a link leads a Chinese reader: the page, in Chinese where it is there, and the number of the heading."""
    link = urlsplit(href)
    if link.scheme:
        return href
    target = (page.parent / link.path).resolve() if link.path else page
    if english_of(target) == english_of(page) and not link.fragment:
        return "the other language"
    if not target.exists():
        return f"{href}, which does not exist"
    heading = _heading(link.fragment, target) if link.fragment else "top"
    if page == english_of(page) and chinese_of(target).exists():
        target = chinese_of(target)
    return f"{target.name}, {heading}"


def _heading(anchor: str, page: Path) -> str:
    """The place of the heading that a link leads to, which is the same in both languages."""
    anchors = [anchor_of(section.title) for section in sections_of(page)]
    return f"heading {anchors.index(anchor)}" if anchor in anchors else f"#{anchor}, which does not exist"


@pytest.mark.parametrize("english", TRANSLATED, ids=lambda page: page.stem)
def test_the_chinese_page_is_the_english_one_in_chinese(english: Path) -> None:
    found = list(differences(english))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("english", TRANSLATED, ids=lambda page: page.stem)
def test_each_page_leads_to_the_other_language_below_its_title(english: Path) -> None:
    for page, other in (english, chinese_of(english)), (chinese_of(english), english):
        title = sections_of(page)[1]
        assert other.name in title.links, f"{title.place}: no link to {other.name} below the title"


def test_no_chinese_page_is_unknown_here() -> None:
    found = {page.path for page in every() if page.path.name.endswith(CHINESE)}
    assert found == {chinese_of(page) for page in TRANSLATED}


ENGLISH_PAGE = """\
# Workers

Within 15 s, set `VIDASK_REDIS_URL` and [the rest](#settings), as in [the guide](guide.md).

```sh
celery -A app worker
```

## Settings

| variable | default |
| --- | --- |
| `VIDASK_LEASE_S` | `15.0` |
"""
CHINESE_PAGE = """\
# 工作进程

请在 15 秒内设置 `VIDASK_REDIS_URL` 和[其余各项](#设置)，参见[指南](guide.zh-CN.md)。

```sh
celery -A app worker
```

## 设置

| 变量 | 默认值 |
| --- | --- |
| `VIDASK_LEASE_S` | `15.0` |
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """An English page, its translation beside it, and the guide that both name."""
    for name, text in ("page", ENGLISH_PAGE), ("page.zh-CN", CHINESE_PAGE), ("guide", ""), ("guide.zh-CN", ""):
        (tmp_path / f"{name}.md").write_text(text)
    return tmp_path / "page.md"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("# Workers", "# The workers", []),
        ("## Settings", "### Settings", ["page.md:9: heading '###'; page.zh-CN.md:9: '##'"]),
        ("app worker", "app beat", ["page.md:6: code 'celery -A app beat'; page.zh-CN.md:6: 'celery -A app worker'"]),
        ("```sh", "```console", ["page.md:5: code '```console'; page.zh-CN.md:5: '```sh'"]),
        (
            "| `15.0` |\n",
            "| `15.0` |\n| `VIDASK_NEW` | none |\n",
            [
                "page.md:14: table row \"2 cells, ['VIDASK_NEW']\"; the other page: 'nothing'",
                "page.zh-CN.md:9: “设置”: code span 'VIDASK_NEW' is in the English page alone",
            ],
        ),
        (
            "`VIDASK_REDIS_URL`",
            "`VIDASK_URL`",
            [
                "page.zh-CN.md:1: “工作进程”: code span 'VIDASK_URL' is in the English page alone",
                "page.zh-CN.md:1: “工作进程”: code span 'VIDASK_REDIS_URL' is in the Chinese page alone",
            ],
        ),
        (
            "15 s",
            "20 s",
            [
                "page.zh-CN.md:1: “工作进程”: number '20' is in the English page alone",
                "page.zh-CN.md:1: “工作进程”: number '15' is in the Chinese page alone",
            ],
        ),
        (
            "#settings",
            "#workers",
            [
                "page.zh-CN.md:1: “工作进程”: link to 'page.zh-CN.md, heading 1' is in the English page alone",
                "page.zh-CN.md:1: “工作进程”: link to 'page.zh-CN.md, heading 2' is in the Chinese page alone",
            ],
        ),
    ],
    ids=["words", "heading", "command", "kind of code", "table", "name", "number", "link"],
)
def test_a_change_of_the_english_page_alone_is_told(before: str, after: str, told: list[str], page: Path) -> None:
    page.write_text(ENGLISH_PAGE.replace(before, after))
    assert list(differences(page)) == told


def test_a_chinese_page_leads_to_chinese_pages_and_headings(page: Path) -> None:
    chinese_of(page).write_text(CHINESE_PAGE.replace("guide.zh-CN.md", "guide.md").replace("#设置", "#选项"))
    assert list(differences(page)) == [
        "page.zh-CN.md:1: “工作进程”: link to 'guide.zh-CN.md, top' is in the English page alone",
        "page.zh-CN.md:1: “工作进程”: link to 'page.zh-CN.md, heading 2' is in the English page alone",
        "page.zh-CN.md:1: “工作进程”: link to 'guide.md, top' is in the Chinese page alone",
        "page.zh-CN.md:1: “工作进程”: link to 'page.zh-CN.md, #选项, which does not exist' is in the Chinese page alone",
    ]
