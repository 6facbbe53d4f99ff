"""A file of prompts is understood line by line, and what cannot be asked is told with its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.batch import prompts
from holdfast.batch.prompts import (
    FILE_BYTES_MAX,
    PROMPT_CHARACTERS_MAX,
    Defaults,
    Line,
    decode_text,
    is_json_lines,
    parse_prompts,
)
from holdfast.errors import RequestError

NOTHING = Defaults()


def parsed(text: str, name: str = "p.txt", defaults: Defaults = NOTHING) -> list[Line]:
    """Read a file."""
    return parse_prompts(text, name, defaults)


def test_each_line_of_text_is_a_prompt() -> None:
    """Blank lines are passed over and still counted, as an editor counts them."""
    lines = parsed("a cat\n\n  a dog \r\n# 3 red balls")
    assert [(line.number, line.prompt) for line in lines] == [(1, "a cat"), (3, "a dog"), (4, "# 3 red balls")]


def test_options_of_the_command_hold_for_every_line() -> None:
    """A text file says nothing but prompts."""
    line = parsed("a cat", defaults=Defaults(model="m", size="4K", aspect_ratio="16:9", n=3))[0]
    assert (line.model, line.size, line.aspect_ratio, line.n) == ("m", "4K", "16:9", 3)


def test_a_json_line_says_what_is_different() -> None:
    """What it leaves out comes from the command."""
    rows = [{"prompt": "a cat", "size": "2K", "n": 2, "output": "cat.png"}, {"prompt": "a dog", "model": "other"}]
    lines = parsed("\n".join(map(json.dumps, rows)), "p.jsonl", Defaults(model="m", size="1K", aspect_ratio="3:2"))
    assert lines[0] == Line(number=1, prompt="a cat", model="m", size="2K", n=2, output="cat.png")
    assert lines[1] == Line(number=2, prompt="a dog", model="other", size="1K", aspect_ratio="3:2")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.jsonl", "a cat", True),
        ("P.NDJSON", "a cat", True),
        ("p.txt", '{"prompt": "a cat"}', False),
        ("standard input", '\ufeff \n{"prompt": "a cat"}', True),
        ("prompts", "a {curly} cat", False),
    ],
)
def test_the_kind_of_file_is_known_by_suffix_or_by_sight(name: str, text: str, expected: bool) -> None:
    """A text file may hold braces; a pipe has no suffix."""
    assert is_json_lines(name, text) is expected


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", "not JSON"),
        ("[1]", "no object"),
        ('{"prompt": ""}', "prompt is empty"),
        ('{"size": "1K"}', "prompt is empty"),
        ('{"prompt": "a cat", "sise": "1K"}', "'size'"),
        ('{"prompt": "a cat", "zzz": 1}', "There are: prompt"),
        ('{"prompt": 3}', "prompt must be a string"),
        ('{"prompt": "a cat", "n": "3"}', "n must be a number"),
        ('{"prompt": "a cat", "n": true}', "n must be a number"),
        ('{"prompt": "a cat", "n": 11}', "1 to 10, not 11"),
        ('{"prompt": "a cat", "n": 0}', "1 to 10, not 0"),
        ('{"prompt": "a cat", "size": "9K"}', "9K"),
        ('{"prompt": "a cat", "size": "2048x512"}', "2048x512"),
        ('{"prompt": "a cat", "size": "4K", "aspect_ratio": "7:5"}', "7:5"),
        (json.dumps({"prompt": "x" * (PROMPT_CHARACTERS_MAX + 1)}), "32,000 characters"),
    ],
)
def test_a_line_that_cannot_be_asked_is_named(row: str, told: str) -> None:
    """Before anything is sent, with what is wrong with it."""
    with pytest.raises(RequestError) as caught:
        parsed(f'{{"prompt": "a dog"}}\n\n{row}', "p.jsonl")
    assert caught.value.message.startswith("p.jsonl, line 3: ")
    assert told in caught.value.message


def test_a_prompt_is_not_repeated_in_a_message() -> None:
    """Messages end in logs."""
    with pytest.raises(RequestError) as caught:
        parsed('{"prompt": "a secret marker", "size": "9K"}', "p.jsonl")
    assert "marker" not in caught.value.message


@pytest.mark.parametrize("text", ["", "\n \r\n"])
def test_a_file_without_prompts_is_refused(text: str) -> None:
    """An empty pipe is a mistake, not a success."""
    with pytest.raises(RequestError, match="holds no prompt"):
        parsed(text)


def test_more_lines_than_are_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; blank lines are none."""
    monkeypatch.setattr(prompts, "LINES_MAX", 3)
    assert len(parsed("a\n\nb\nc\n\n")) == 3
    with pytest.raises(RequestError, match="more than 3 prompts"):
        parsed("a\nb\nc\nd")


def test_what_is_no_utf8_is_told_with_its_line() -> None:
    """A file of another encoding would draw something else."""
    with pytest.raises(RequestError, match=r"p\.txt, line 2: this is not UTF-8"):
        decode_text("a cat\nein Bär".encode("latin-1"), "p.txt")
    assert decode_text("\ufeffa cat".encode(), "p.txt") == "a cat"


def test_a_file_too_large_is_refused() -> None:
    """Before it is decoded."""
    with pytest.raises(RequestError, match="larger than 64 MB"):
        decode_text(bytes(FILE_BYTES_MAX + 1), "p.txt")


def test_a_fingerprint_is_of_the_wish_alone() -> None:
    """A line that moves, or whose file is called otherwise, wishes the same."""
    line = Line(number=1, prompt="a cat", size="1K")
    assert line.fingerprint() == Line(number=9, prompt="a cat", size="1K", output="x").fingerprint()
    others = [
        Line(number=1, prompt="a dog", size="1K").fingerprint(),
        Line(number=1, prompt="a cat", size="2K").fingerprint(),
        Line(number=1, prompt="a cat", size="1K", n=2).fingerprint(),
        Line(number=1, prompt="a cat", size="1K", model="m").fingerprint(),
        line.fingerprint(["ab"]),
    ]
    assert len({line.fingerprint(), *others}) == 6


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), min_size=1, max_size=20))
def test_json_lines_bring_back_what_was_written(texts: list[str]) -> None:
    """Whatever characters a prompt has: line feeds, U+2028, quotes."""
    wanted = [text.strip() for text in texts if text.strip()]
    text = "\n".join(json.dumps({"prompt": each}) for each in wanted)
    if wanted:
        assert [line.prompt for line in parsed(text, "p.jsonl")] == wanted
