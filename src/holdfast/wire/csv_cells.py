"""Rows as CSV that a spreadsheet shows and never executes.

A cell whose text begins with `=`, `+`, `-` or `@` is a formula to Excel, LibreOffice and Google Sheets, and one that
begins with a tab or a carriage return is, once they have trimmed it. Labels and models are chosen by others, so such
text gets an apostrophe in front, which a spreadsheet takes as "this is text" and does not show. Numbers of ours go out
as they are: `-0.24` is an amount.

Source: OWASP, "CSV Injection", read in November 2026.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What text must not begin with: the signs, their full-width twins, and blanks that are trimmed away before them."""

Cell = str | int | Decimal | None


def defused(text: str) -> str:
    """Give text as a cell that no spreadsheet takes for a formula."""
    # Blanks before a sign are no protection: some programs trim them.
    return f"'{text}" if text.startswith(DANGEROUS) or text.lstrip().startswith(DANGEROUS) else text


def csv_text(rows: Iterable[Sequence[Cell]]) -> str:
    """Spell rows as RFC 4180 has them: CRLF between lines, quotes where they are needed; None is an empty cell."""
    return "".join(f"{','.join(map(spelled_cell, row))}\r\n" for row in rows)


def spelled_cell(cell: Cell) -> str:
    """Spell one cell; what is given to several lines may be spelled once.

    Text is always quoted: a separator that a program guesses differently (`;`) then splits no cell in two.
    """
    if cell is None:
        return '""'
    if not isinstance(cell, str):
        return str(cell)
    quoted = defused(cell).replace('"', '""')
    return f'"{quoted}"'
