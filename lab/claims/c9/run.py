"""C9: `httpx.Timeout(read=600.0)` and nothing else is a working configuration."""

from __future__ import annotations

import importlib
from typing import Any

from clients import versions
from judgement import Judgement, figures_table

CLAIM = "`httpx.Timeout(read=600.0)` and nothing else is a working configuration"
METHOD = "The line is run, and the ones that people mean by it."
LIMITS = "These versions."
LINES = (
    "Timeout(read=600.0)",
    "Timeout(None, read=600.0)",
    "Timeout(10.0, read=600.0)",
    "Timeout(connect=10.0, read=600.0, write=30.0, pool=10.0)",
)


async def measure(wait_s: float) -> dict[str, Any]:
    """Run each line with each of the two libraries."""
    del wait_s
    rows = [
        {"library": library, "line": line, "raised": _raised(library, line)}
        for library in ("httpx", "httpx2")
        for line in LINES
    ]
    return {"rows": rows, "versions": versions("httpx", "httpx2")}


def _raised(library: str, line: str) -> str:
    module = importlib.import_module(library)
    try:
        eval(line, {"Timeout": module.Timeout})
    except (TypeError, ValueError) as exc:
        return f"{type(exc).__name__}: {exc}"
    return ""


def judge(figures: dict[str, Any]) -> Judgement:
    """False if the line raises."""
    first = next(row for row in figures["rows"] if row["library"] == "httpx" and row["line"] == LINES[0])
    return Judgement(
        word="false" if first["raised"] else "true",
        why=f"It raises {first['raised'].partition(':')[0]}: a default or all four must be named."
        if first["raised"]
        else "It is accepted.",
        advice=f"Write `httpx.{LINES[3]}`.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return figures_table(
        ("library", "line", "raises"),
        [(row["library"], f"`{row['line']}`", row["raised"] or "nothing") for row in figures["rows"]],
    )
