"""The README in other languages says what the English one says: section by section, link by link, block by block."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = (ROOT / "README.md").read_text("utf-8")
LANGUAGES = {"fr": "Français", "zh": "中文"}
# ASCII letters are names and code in Chinese; in French, what was left in English has none of these.
MARKS = {"fr": re.compile(r"[éèêàçùôî]|\b(?:le|la|les|des|du|une|votre)\b"), "zh": re.compile(r"[\u4e00-\u9fff]")}
FENCED = re.compile(r"^```\w+\n.*?^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLLOWS = re.compile(r"^<!-- README\.md as it was: (.*) -->$", re.MULTILINE)


def read(language: str) -> str:
    """Read a translation."""
    return (ROOT / f"README.{language}.md").read_text("utf-8")


def sections(text: str) -> list[str]:
    """Cut a text at its headings; the first part is what stands before the second of them."""
    text = FOLLOWS.sub("", text)
    starts = [found.start() for found in re.finditer(r"^#+ ", FENCED.sub(lambda code: "\0" * len(code[0]), text), re.M)]
    return [text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def prose(section: str) -> str:
    """Leave out the blocks of code, and the line that leads to the other languages."""
    return re.sub(r"^.*中文.*$", "", INDENTED.sub("", FENCED.sub("", section)), flags=re.MULTILINE)


def digests(text: str) -> str:
    """Name the state of each section, shortly."""
    return " ".join(hashlib.sha256(section.encode()).hexdigest()[:8] for section in sections(text))


def structure(section: str) -> dict[str, object]:
    """Give all of a section that no translation changes."""
    told = prose(section)
    words = LINK.sub("](", re.sub(r"`[^`\n]+`", "", told))
    return {
        "level": len(section) - len(section.lstrip("#")),
        "fenced blocks": FENCED.findall(section),
        "lines of code": INDENTED.findall(FENCED.sub("", section)),
        "items": len(re.findall(r"^- \*\*", told, re.MULTILINE)),
        "rows": len(re.findall(r"^\|", told, re.MULTILINE)),
        "pictures": re.findall(r"!\[[^]]*\]\(([^)]+)\)", told),
        "links": Counter(LINK.findall(told)) + Counter(re.findall(r"<(https?://[^>]+)>", told)),
        "code": Counter(re.findall(r"`[^`\n]+`", told)),
        "numbers": Counter(re.findall(r"\d[\d.]*(?<!\.)", words)),
    }


PAIRS = [
    (language, number)
    for language in LANGUAGES
    for number in range(max(len(sections(ENGLISH)), len(sections(read(language)))))
]


def test_the_sections_are_told_apart() -> None:
    """The tests below would pass on one section without anything in it."""
    assert len(sections(ENGLISH)) >= 4
    whole = [structure(section) for section in sections(ENGLISH)]
    assert all(any(section[name] for section in whole) for name in whole[0])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_section_is_there(language: str) -> None:
    """And no other."""
    assert len(sections(read(language))) == len(sections(ENGLISH))


@pytest.mark.parametrize(("language", "number"), PAIRS)
def test_a_section_has_what_the_english_one_has(language: str, number: int) -> None:
    """Code, links, pictures, rows, items and figures: what a reader acts on is the same in every language."""
    there, here = structure(sections(ENGLISH)[number]), structure(sections(read(language))[number])
    assert {name: each for name, each in here.items() if each != there[name]} == {
        name: each for name, each in there.items() if here[name] != each
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_left_in_english(language: str) -> None:
    """Each paragraph, item and row with words in it is written in its language, and none is the English one."""
    english = set(prose(ENGLISH).splitlines())
    for block in re.split(r"\n\n|\n(?=[-|] ?)", prose(FOLLOWS.sub("", read(language)))):
        words = re.sub(r"`[^`]+`|\]\([^)]*\)|[^\w]", "", block)
        if len(words) < 40 or "Apache" in block:
            continue
        assert MARKS[language].search(block), block
        assert block not in english


def test_chinese_is_chinese() -> None:
    """Its marks are its own, and Latin words stand apart from it by a space."""
    text = re.sub(r"`[^`\n]+`|\]\([^)]*\)|<[^>]*>|!?\[|\*\*", "", prose(FOLLOWS.sub("", read("zh"))))
    assert re.findall(r"[\u4e00-\u9fff][,;:?!](?!\w)", text) == []
    assert re.findall(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", text) == []


def test_french_is_set_as_french_is() -> None:
    """A mark of two parts has a space before it at which no line ends."""
    text = re.sub(r"`[^`\n]+`|\]\([^)]*\)|<[^>]*>", "x", prose(FOLLOWS.sub("", read("fr"))))
    assert re.findall(r".{20}(?<![\u00a0\u202f])[;?!](?!\[).{9}|.{20} :.{9}", text) == []


@pytest.mark.parametrize("language", [None, *LANGUAGES])
def test_each_leads_to_the_others(language: str | None) -> None:
    """In the third line, where everybody looks."""
    text = ENGLISH if language is None else read(language)
    line = text.splitlines()[2]
    for other, name in {None: "English", **LANGUAGES}.items():
        file = "README.md" if other is None else f"README.{other}.md"
        assert (name if other == language else f"[{name}]({file})") in line
    assert line.count("](") == len(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_was_written_from_the_english_of_today(language: str) -> None:
    """Words can change where nothing above does: whoever changes a section looks at it in all, and says so."""
    (found,) = FOLLOWS.findall(read(language)) or ("",)
    then, now = found.split(), digests(ENGLISH).split()
    headings = [section.splitlines()[0] for section in sections(ENGLISH)]
    changed = [heading for at, heading in enumerate(headings) if then[at : at + 1] != now[at : at + 1]]
    assert changed == [], (
        f"README.md has changed there since README.{language}.md was written. Bring it along, and end it with:\n"
        f"<!-- README.md as it was: {' '.join(now)} -->"
    )
