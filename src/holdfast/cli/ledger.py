"""`holdfast ledger`: proves that the books of a data folder hold, or shows those of one generation."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.columns import columns
from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.store.audit import Audit, Line
    from holdfast.store.records import GenerationRow


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("ledger", help="check the ledger of a data folder, or show a generation's lines")
    parser.add_argument("action", choices=["check", "show"], help="check all of it, or show one generation's")
    parser.add_argument("generation", nargs="?", metavar="GENERATION", help="for show: its id, gen_…")


def run(args: argparse.Namespace) -> int:
    """Read, and print; `check` ends with 1 if anything is wrong."""
    from holdfast.cli.database import dsn_of
    from holdfast.config import load

    if (args.action == "show") is (args.generation is None):
        raise Stop(Exit.USAGE, f"Write holdfast ledger {'show GENERATION' if args.action == 'show' else 'check'}.")
    settings = load(args.config, os.environ)
    data: Path = args.data or settings.store.data
    if args.action == "show":
        return _show(data, dsn_of(settings), args.generation, as_json=args.json)
    return _check(data, dsn_of(settings), settings.money.currency, as_json=args.json)


def _check(data: Path, dsn: str | None, currency: str, *, as_json: bool) -> int:
    from holdfast.store.audit import audit
    from holdfast.store.reading import snapshot

    with snapshot(data, dsn) as conn:
        found = audit(conn)
    if as_json:
        print(json.dumps({"holds": not found.problems, "currency": currency, **asdict(found)}, indent=2))
    else:
        print("\n".join(verdict(found, currency)))
    return Exit.GENERATION_FAILED if found.problems else Exit.OK


def _show(data: Path, dsn: str | None, generation_id: str, *, as_json: bool) -> int:
    from holdfast.store.audit import lines_of
    from holdfast.store.generations import get_generation
    from holdfast.store.reading import snapshot

    with snapshot(data, dsn) as conn:
        row, lines = get_generation(conn, generation_id), lines_of(conn, generation_id)
    if row is None:
        raise Stop(Exit.USAGE, f"There is no generation {generation_id} in {data}.")
    if as_json:
        known = {"generation_id": row.id, "state": row.state, "late": bool(row.late), "currency": row.currency}
        money = {"charged_micros": row.charged_micros, "compensated_micros": row.compensated_micros}
        print(json.dumps({**known, **money, "lines": [asdict(line) for line in lines]}, indent=2))
    else:
        print("\n".join(story(row, lines)))
    return Exit.OK


def verdict(found: Audit, currency: str) -> list[str]:
    """Say whether the books hold, who breaks them, and how the accounts stand."""
    from holdfast.money import spell

    read = f"generations: {found.generations}, attempts: {found.attempts}, transactions: {found.transactions}"
    if found.problems:
        return [f"The ledger does not hold ({read}):", *(f"  {problem.message}" for problem in found.problems)]
    rows = [(account, spell(micros, currency)) for account, micros in found.accounts.items()]
    return [f"The ledger holds ({read}).", *columns(rows, right={1})]


def story(row: GenerationRow, lines: Sequence[Line]) -> list[str]:
    """Tell what became of the money of one generation, line by line."""
    from holdfast.money import spell

    cost = f"charged {spell(row.charged_micros, row.currency)}"
    if row.compensated_micros:
        cost += f", given back {spell(row.compensated_micros, row.currency)}"
    late = ", late" if row.late else ""
    rows = [("at", "verb", "account", "amount", "attempt")]
    for line in lines:
        amount = spell(line.micros, row.currency)
        rows.append((line.at, line.verb, line.account, amount, line.attempt_id or ""))
    return [f"{row.id}: {row.model} {row.tier}, {row.state}{late}; {cost}", *columns(rows, right={3})]
