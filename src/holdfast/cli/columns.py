"""Rows of text as a table for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def columns(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), indent: str = "  ") -> list[str]:
    """Make every column as wide as its widest cell; give the lines, without blanks at their ends.

    Args:
        rows: Equally long; the head is one of them.
        right: Columns that are aligned at the right, from 0: figures, as a rule.
        indent: Before each line.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        sized = enumerate(zip(row, widths, strict=True))
        cells = [cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in sized]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines
