"""`holdfast usage reconcile`: a provider's list of charges against our attempts; it can resolve what is unknown."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from holdfast.policy.reconcile import Resolution
    from holdfast.types import ListedCharge
    from holdfast.wire.reconcile import FindingRow, ReconcileReport, Unresolved

OPERATOR = "operator"
"""Whom the log of changes names for a command on this machine."""
LEFT_TOLD_MAX = 20
"""Of those that cannot be resolved; under `--json` all are told."""
_MEANINGS = {
    "agrees": "agree",
    "amount_differs": "are listed at another amount than we booked",
    "not_listed": "count as charged here, and are not listed",
    "not_ours": "lines belong to no attempt of ours",
    "charged_after_all": "are listed, and were taken for free here",
    "unknown_charged": "were unknown, and are listed: charged",
    "unknown_free": "were unknown, and are not listed: free",
}


def add_reconcile(parser: argparse.ArgumentParser) -> None:
    """Declare what only the comparison takes."""
    group = parser.add_argument_group("reconcile (with --upstream; --since and --until: which days the list covers)")
    group.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help="what a column is, where its name is unusual: reference=…, time=…, model=…, amount=…; several times",
    )
    group.add_argument(
        "--per-unit", metavar="N", default="1", help="how many of its amounts are one unit of the currency (1)"
    )
    group.add_argument(
        "--resolve",
        choices=["named", "all"],
        help="write down what turns out about attempts of unknown outcome: those that the list names, or also those "
        "paired by time and those that it does not list",
    )


def run_reconcile(args: argparse.Namespace) -> int:
    """Compare, print, and write down what is to be."""
    from decimal import Decimal, InvalidOperation

    import msgspec

    from holdfast.cli.database import dsn_of
    from holdfast.config import load
    from holdfast.policy.reconcile import resolutions
    from holdfast.store.reading import snapshot
    from holdfast.store.reconciling import compare
    from holdfast.wire.exports import columns_of, decode_export

    if args.file is None or not args.upstream:
        raise Stop(Exit.USAGE, "Write holdfast usage reconcile FILE --upstream NAME.")
    try:
        per_unit = Decimal(args.per_unit)
    except InvalidOperation as exc:
        raise Stop(Exit.USAGE, f"--per-unit is {args.per_unit[:40]!r}; write a number such as 500000.") from exc
    settings = load(args.config, os.environ)
    data: Path = args.data or settings.store.data
    lines = decode_export(_read(args.file), columns=columns_of(args.column), per_unit=per_unit)
    since, until = _span(args, lines)
    dsn = dsn_of(settings)
    with snapshot(data, dsn) as conn:
        compared = compare(conn, args.upstream, lines, since, until)
    report = compared.report
    if args.resolve is not None:
        found = resolutions(compared.findings, only_named=args.resolve == "named")
        resolved, left = _resolve(data, dsn, found)
        report = msgspec.structs.replace(report, resolved=resolved, unresolved=left)
    if args.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(told(report, settings.money.currency)))
    return Exit.OK


def _read(file: Path) -> bytes:
    from holdfast.wire.exports import EXPORT_BYTES_MAX

    with file.open("rb") as opened:
        # One byte more than it may be: whoever reads it says that it is too large.
        return opened.read(EXPORT_BYTES_MAX + 1)


def _span(args: argparse.Namespace, lines: Sequence[ListedCharge]) -> tuple[datetime, datetime]:
    """Take the days that were named, else the time from the list's first line to its last."""
    from holdfast.store.reconciling import span_of
    from holdfast.wire.usage import decode_usage_query

    if not args.since and not args.until:
        return span_of(lines)
    if not (args.since and args.until):
        raise Stop(Exit.USAGE, "Give both --since and --until: the days that the list covers.")
    asked = {"since": args.since, "until": args.until}
    query = decode_usage_query(asked, today=datetime.now(UTC).date())
    first = datetime.combine(query.since, datetime.min.time(), UTC)
    return first, datetime.combine(query.until, datetime.min.time(), UTC) + timedelta(days=1)


def _resolve(data: Path, dsn: str | None, found: Sequence[Resolution]) -> tuple[int, tuple[Unresolved, ...]]:
    """Write it: into a folder that no gateway has, else through the gateway that has it.

    Returns how many were resolved, and those that cannot be yet.
    """
    from holdfast.cli.keys_at import Gateway, place_of
    from holdfast.clock import SystemClock, rfc3339
    from holdfast.store.lock import DataFolder
    from holdfast.store.opening import open_beside
    from holdfast.store.reconcile import resolve_noted
    from holdfast.wire.reconcile import Unresolved

    if not found:
        return 0, ()
    place = place_of(data, makes=False, dsn=dsn)
    if isinstance(place, Gateway):
        left: list[Unresolved] = []
        for each in found:
            try:
                place.ask("POST", f"/attempts/{each.attempt_id}/resolve", {"micros": each.micros})
            except Stop as stop:
                # Of this one; a gateway that does not answer says so of none.
                if stop.details.get("holdfast_code") != "invalid_request":
                    raise
                left.append(Unresolved(attempt_id=each.attempt_id, why=stop.message))
        return len(found) - len(left), tuple(left)
    clock = SystemClock()
    with (
        DataFolder(data) as folder,
        closing(open_beside(folder.paths.database, clock.new_id("own"), dsn)) as store,
    ):
        resolved, unresolved = store.write_sync(resolve_noted, found, actor=OPERATOR, at=rfc3339(clock.now()))
    return len(resolved), unresolved


def told(report: ReconcileReport, currency: str) -> list[str]:
    """Tell a comparison: the counts, then what does not agree."""
    head = f"{report.lines} lines, {report.attempts} attempts at {report.upstream}, {report.since} to {report.until}:"
    counts = [f"  {count} {_MEANINGS[found]}" for found, count in report.counts.items() if count]
    lines = [head, *counts] if counts else [f"{head} nothing to compare."]
    if report.findings:
        rows = [
            ("found", "attempt", "booked", "line", "reference", "listed"),
            *(_line(x, currency) for x in report.findings),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    if not report.is_whole:
        lines.append("More than can be listed: choose fewer days.")
    if report.resolved:
        lines += ["", f"Resolved {report.resolved} of unknown outcome."]
    if report.unresolved:
        lines += ["", f"Not resolved: {len(report.unresolved)}."]
        lines += [f"  {each.why}" for each in report.unresolved[:LEFT_TOLD_MAX]]
    return lines


def _line(row: FindingRow, currency: str) -> tuple[str, ...]:
    from holdfast.money import spell

    return (
        row.found,
        row.attempt_id or "",
        "" if row.booked_micros is None else spell(row.booked_micros, currency),
        "" if row.line is None else str(row.line),
        # A provider's word: what moves a terminal's cursor is shown, not sent.
        "".join(character if character.isprintable() else "�" for character in row.reference or ""),
        "" if row.listed_micros is None else spell(row.listed_micros, currency),
    )
