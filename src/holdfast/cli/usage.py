"""`holdfast usage`: what was used and what it cost, by the roll-ups of a data folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.columns import columns
from holdfast.cli.exits import Exit
from holdfast.cli.usage_reconcile import add_reconcile, run_reconcile

if TYPE_CHECKING:
    from holdfast.wire.usage import UsageReport, UsageRow


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("usage", help="show what was used and what it cost, or compare a provider's list")
    parser.add_argument("action", nargs="?", choices=["reconcile"], help="compare a provider's list of charges")
    parser.add_argument("file", nargs="?", metavar="FILE", type=Path, help="for reconcile: its export, CSV or JSON")
    parser.add_argument(
        "--by",
        default="day",
        metavar="WHAT",
        help="break it down by key, model, size, day, upstream or outcome; several with commas (day)",
    )
    parser.add_argument("--since", metavar="DAY", help="first day (UTC), such as 2026-11-01")
    parser.add_argument("--until", metavar="DAY", help="last day (UTC); today")
    parser.add_argument("--days", metavar="N", help="without --since: so many days up to the last one (30)")
    parser.add_argument("--key", metavar="ID", help="only this key's, by its id: key_…")
    parser.add_argument("--model", help="only this model's")
    parser.add_argument("--size", help="only this size's: 1K, 2K or 4K")
    parser.add_argument("--upstream", help="only what went through this upstream")
    parser.add_argument("--outcome", help="only what ended so: succeeded, cancelled, the code of a failure, or open")
    parser.add_argument("--csv", action="store_true", help="print it as CSV, for spreadsheets")
    add_reconcile(parser)


def run(args: argparse.Namespace) -> int:
    """Read the folder's days, and print them."""
    from holdfast.cli.database import dsn_of
    from holdfast.clock import SystemClock
    from holdfast.config import load

    if args.action is not None:
        return run_reconcile(args)
    from holdfast.store.reading import snapshot
    from holdfast.store.usage_report import usage_report
    from holdfast.wire.usage import decode_usage_query, render_usage, usage_csv

    settings = load(args.config, os.environ)
    names = ("by", "since", "until", "days", "model", "size", "upstream", "outcome")
    asked = {name: getattr(args, name) or "" for name in names} | {"key_id": args.key or ""}
    query = decode_usage_query(asked, today=SystemClock().now().date())
    data: Path = args.data or settings.store.data
    with snapshot(data, dsn_of(settings)) as conn:
        report = usage_report(conn, query)
    if args.csv:
        print(usage_csv(report), end="")
    elif args.json:
        print(render_usage(report).decode())
    else:
        print("\n".join(table(report)))
    return Exit.OK


def table(report: UsageReport) -> list[str]:
    """Lay a report out for a terminal, with its sums below; amounts are aligned at the right."""
    head = f"{report.since} to {report.until} (UTC)"
    if not report.rows:
        return [f"{head}: nothing was used."]
    names = [by.value for by in report.by]
    measures = ("generations", "images", "charged", "given back", "cost", "extra", "unknown")
    rows = [(*names, *measures), *(_line(row, names) for row in report.rows)]
    if len(report.rows) > 1:
        rows += [_sum_line(currency, report.rows, len(names)) for currency in sorted({r.currency for r in report.rows})]
    told = [] if report.is_whole else ["More lines than can be shown: choose fewer days, or break it down by less."]
    return [head, *columns(rows, right=range(len(names), len(rows[0]))), *told]


def _line(row: UsageRow, names: Sequence[str]) -> tuple[str, ...]:
    fields = {"key": row.label or row.key_id, "model": row.model, "size": row.size, "day": row.day}
    fields |= {"upstream": row.upstream or "(none)", "outcome": row.outcome}
    return (*(_printable(fields[name] or "") for name in names), *_measures([row], row.currency))


def _sum_line(currency: str, rows: Sequence[UsageRow], names: int) -> tuple[str, ...]:
    shown = ("all", *[""] * (names - 1)) if names else ()
    return (*shown, *_measures([row for row in rows if row.currency == currency], currency))


def _measures(rows: Sequence[UsageRow], currency: str) -> tuple[str, ...]:
    from holdfast.money import spell

    amounts = ("charged_micros", "compensated_micros", "cost_micros", "extra_micros", "unknown_micros")
    sums = (sum(getattr(row, name) for row in rows) for name in amounts)
    return (
        str(sum(row.generations for row in rows)),
        str(sum(row.images for row in rows)),
        *(spell(each, currency) for each in sums),
    )


def _printable(text: str) -> str:
    """A label is somebody's choice: what moves a terminal's cursor is shown, not sent."""
    return "".join(character if character.isprintable() else "�" for character in text)
