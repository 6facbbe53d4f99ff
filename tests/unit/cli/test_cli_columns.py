"""Tables for a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.columns import columns

ROWS = [("name", "figure", "rest"), ("a", "1", "x"), ("a longer one", "1,000", "")]
CELLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)


def test_figures_stand_at_the_right() -> None:
    """And no line ends in blanks."""
    assert columns(ROWS, right={1}) == [
        "  name          figure  rest",
        "  a                  1  x",
        "  a longer one   1,000",
    ]


def test_without_an_indent() -> None:
    """For what is the whole output."""
    assert columns(ROWS, right=range(3), indent="")[1] == "           a       1     x"


def test_nothing_is_no_lines() -> None:
    """A table without rows has none."""
    assert columns([]) == []


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6), st.sets(st.integers(0, 2)))
def test_every_cell_is_there_and_lines_are_as_wide_as_they_must_be(
    rows: list[tuple[str, str, str]], right: set[int]
) -> None:
    """In its order."""
    lines = columns(rows, right=right)
    width = 2 + sum(max(map(len, column)) for column in zip(*rows, strict=True)) + 4
    assert max(map(len, lines)) <= width
    assert [line.split() for line in lines] == [[cell for cell in row if cell] for row in rows]
