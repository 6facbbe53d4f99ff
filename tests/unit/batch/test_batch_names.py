"""Files of a batch have names that are possible, different, and nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.batch.names import NAME_BYTES_MAX, numbered, slug, stems_of, strangers
from holdfast.batch.prompts import Line
from holdfast.errors import RequestError


def a_line(number: int = 1, prompt: str = "a cat on a mat", **rest: object) -> Line:
    """Ask for something."""
    return Line(number=number, prompt=prompt, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "stem"),
    [
        ("{line}", "007"),
        ("{line}-{slug}", "007-a-cat-on-a-mat"),
        ("{slug}", "a-cat-on-a-mat"),
        ("x {model} {size}", "x m-1 default"),
    ],
)
def test_a_template_is_filled(template: str, stem: str) -> None:
    """Numbers are as wide as the widest, so that a folder sorts."""
    assert stems_of([a_line(7, model="m/1"), a_line(100, "a dog", size="1K")], template)[7] == stem


def test_a_lines_own_output_wins() -> None:
    """Without a picture's suffix, which is that of what comes."""
    lines = [a_line(1, output="cat.PNG"), a_line(2, output="dog.v2")]
    assert stems_of(lines, "{line}") == {1: "cat", 2: "dog.v2"}


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{lien}", "Did you mean {line}?"),
        ("{zzz}", "There are: {line}"),
        ("{", "Fields are written {line}"),
        ("{line:03}", "write {line} alone"),
        ("{line!r}", "write {line} alone"),
        ("a/{line}", "no file's name"),
        ("../{line}", "no file's name"),
        (".{line}", "begins with a dot"),
        (" ", "is empty"),
        ("x" * (NAME_BYTES_MAX + 1), "longer than 200 bytes"),
    ],
)
def test_a_template_that_names_nothing_is_refused(template: str, told: str) -> None:
    """With what to write instead."""
    with pytest.raises(RequestError) as caught:
        stems_of([a_line()], template)
    assert told in caught.value.message


@pytest.mark.parametrize("output", ["../x.png", "/etc/x", "a\\b", "", ".png", "x\n", "con:"])
def test_an_output_outside_the_folder_is_refused(output: str) -> None:
    """A file of prompts may come from somebody else."""
    with pytest.raises(RequestError, match="Line 1: output"):
        stems_of([a_line(output=output)], "{line}")


@pytest.mark.parametrize(
    "lines",
    [
        [a_line(1, output="x.png"), a_line(2, output="X.jpg")],
        [a_line(1, output="a", n=2), a_line(2, output="a-1")],
    ],
)
def test_two_lines_with_one_name_are_refused(lines: list[Line]) -> None:
    """The second would replace what the first paid for; both are named."""
    with pytest.raises(RequestError, match="Lines 1 and 2 would both write"):
        stems_of(lines, "{line}")


def test_a_template_without_a_number_may_fit_two_lines() -> None:
    """Then it says what to add."""
    with pytest.raises(RequestError, match=r"Put \{line\} into --name"):
        stems_of([a_line(1), a_line(2)], "{slug}")


def test_several_images_are_numbered() -> None:
    """From 0, as the API numbers them."""
    assert (numbered("x", 1), numbered("x", 3)) == (["x"], ["x-0", "x-1", "x-2"])


def test_files_of_others_are_found() -> None:
    """Only where a line that was never sent would write, and only pictures."""
    lines = [a_line(1), a_line(2), a_line(3, n=2), a_line(4)]
    names = ["1.png", "2.JPG", "3-1.webp", "4.txt", "notes", "5.png"]
    assert strangers(lines, stems_of(lines, "{line}"), {1}, names) == ["2.JPG", "3-1.webp"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A cat, on a MAT!", "a-cat-on-a-mat"),
        ("Бабушка и кот", "бабушка-и-кот"),
        ("!!!", "image"),
        ("x" * 100, "x" * 40),
        ("word " * 20, "word-word-word-word-word-word-word-word"),
    ],
)
def test_a_slug_is_short_and_plain(prompt: str, expected: str) -> None:
    """Whole words, as long as they fit."""
    assert slug(prompt) == expected


@given(st.lists(st.text(min_size=1, max_size=200).filter(str.strip), min_size=1, max_size=12))
def test_names_are_always_possible_and_different(prompts: list[str]) -> None:
    """Whatever is asked: no separators, no dots in front, no two alike, and within what file systems take."""
    lines = [a_line(number, prompt) for number, prompt in enumerate(prompts, 1)]
    stems = list(stems_of(lines, "{line}-{slug}").values())
    assert len({stem.casefold() for stem in stems}) == len(lines)
    assert all("/" not in stem and not stem.startswith(".") for stem in stems)
    assert all(len(stem.encode()) <= NAME_BYTES_MAX for stem in stems)
