"""What a run leaves behind: one line of JSON for each cell, and the exchanges of each front in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cells import CLIENTS, Cell, Scenario
from fronts import FRONTS
from playing import Outcome
from reasons import reason_of

FOLDER = Path(__file__).resolve().parent / "results"
CLIENT_TITLES = {client.name: client.title for client in CLIENTS}
FRONT_TITLES = {front.name: front.title for front in FRONTS}


def row_of(outcome: Outcome) -> dict[str, Any]:
    """Write a cell down."""
    cell, shown, verdict = outcome.cell, outcome.shown, outcome.verdict
    reason = None if verdict.is_green else reason_of(cell, shown, verdict)
    return {
        "front": cell.front,
        "client": cell.client,
        "scenario": str(cell.scenario),
        "direct": cell.is_direct,
        "green": verdict.is_green,
        "told": verdict.told,
        "wrong": list(verdict.wrong),
        "reason": reason.name if reason is not None else None,
        "message": shown.message[:120],
        "protocol": shown.protocol,
        "took_s": round(outcome.took_s, 2),
        "charges": outcome.books.purchases,
        "requests": outcome.books.requests,
        "calls": outcome.calls,
        "connections": outcome.connections,
        "before": list(outcome.before),
    }


def record_of(outcomes: Iterable[Outcome], **facts: Any) -> dict[str, Any]:
    """Put a run together."""
    took_s = round(facts.pop("took_s"))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"at": at, "took_s": took_s, **facts, "cells": [row_of(outcome) for outcome in outcomes]}


def write(record: Mapping[str, Any], exchanges: Mapping[Cell, str], folder: Path) -> None:
    """Leave it in a folder: `matrix.json`, and `exchanges/FRONT.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in record["cells"])
    head = json.dumps({name: value for name, value in record.items() if name != "cells"}, indent=1, ensure_ascii=False)
    # One cell on a line: what changed between two runs is then readable.
    text = f'{head.removesuffix("}").rstrip()},\n "cells": [\n{rows}\n]}}\n'
    assert json.loads(text) == record
    (folder / "matrix.json").write_text(text, "utf-8")
    (folder / "exchanges").mkdir(exist_ok=True)
    told = {_key_of_row(row): row for row in record["cells"]}
    pages: dict[str, list[str]] = {}
    for cell, exchange in exchanges.items():
        row = told[key_of(cell)]
        page = pages.setdefault(cell.front, [f"# {FRONT_TITLES[cell.front]}: what went over the wire\n", _HEAD])
        page.append(_section(row, exchange))
    for front, parts in pages.items():
        (folder / "exchanges" / f"{front}.md").write_text("\n".join(parts), "utf-8")


def _section(row: Mapping[str, Any], exchange: str) -> str:
    return f"## {heading_of(row)}\n\n{sign_of(row)}, {row['took_s']:.1f} s\n\n```text\n{exchange}\n```\n"


def key_of(cell: Cell) -> tuple[str, str, str, bool]:
    """Name a cell, whichever time it was played."""
    return cell.front, cell.client, str(cell.scenario), cell.is_direct


def _key_of_row(row: Mapping[str, Any]) -> tuple[str, str, str, bool]:
    return row["front"], row["client"], row["scenario"], row["direct"]


def puzzling(record: Mapping[str, Any]) -> list[Cell]:
    """List the cells of a run that are red without a reason, for the time they would be played next."""
    return [
        Cell(row["front"], row["client"], Scenario(row["scenario"]), go=len(row["before"]) + 2)
        for row in record["cells"]
        if not row["green"] and row["reason"] is None and not row["direct"]
    ]


def replace(record: dict[str, Any], outcomes: Iterable[Outcome], folder: Path) -> None:
    """Put cells that were played again in the place of what they were, which each keeps a note of."""
    rows = {_key_of_row(row): row for row in record["cells"]}
    for outcome in outcomes:
        row = rows[key_of(outcome.cell)]
        before = [*row["before"], row["told"]]
        row.update(row_of(outcome) | {"before": [*before, *outcome.before]})
        file = folder / "exchanges" / f"{outcome.cell.front}.md"
        head, heading, rest = file.read_text("utf-8").partition(f"## {heading_of(row)}\n")
        assert heading, "every cell has its exchange"
        _, following, others = rest.partition("\n## ")
        section = _section(row, outcome.exchange)
        file.write_text(f"{head}{section}{following}{others}", "utf-8")
    write(record, {}, folder)


_HEAD = (
    "Between the client and the outermost proxy; seconds since the connection was opened. → is the client's. Bodies\n"
    "and long heads are cut short, keys and signatures are redacted. Where TLS is spoken only sizes can be seen. ␊ is\n"
    "a line feed.\n"
)


def heading_of(row: Mapping[str, Any]) -> str:
    """Name a cell within its front: the heading that links lead to."""
    direct = "without holdfast " if row["direct"] else ""
    return f"{row['client']} {direct}{row['scenario']}"


def anchor_of(row: Mapping[str, Any]) -> str:
    """Give the part of a link that leads to that heading."""
    return heading_of(row).replace(" ", "-")


def sign_of(row: Mapping[str, Any]) -> str:
    """Say how a cell ended, readable without colour."""
    return f"{'ok' if row['green'] else 'RED'}: {row['told']}"


def read(folder: Path = FOLDER) -> dict[str, Any]:
    """Give a run that was left behind."""
    return dict(json.loads((folder / "matrix.json").read_text("utf-8")))
