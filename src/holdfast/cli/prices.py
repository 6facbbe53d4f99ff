"""`holdfast prices`: what everybody pays and every upstream takes, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.columns import columns
from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.policy.price_table import Finding, Row
    from holdfast.types import Tariff


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("prices", help="list prices and costs, or check that nothing is missing or lost")
    parser.add_argument("action", choices=["check", "list"], help="look for mistakes, or show all of them")
    parser.add_argument("--model", metavar="MODEL", help="only this one")
    parser.add_argument(
        "--on", metavar="DAY", type=_day, help="prices of that day (UTC), 2026-12-01; otherwise today's"
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-12-01") from exc


def run(args: argparse.Namespace) -> int:
    """Look, and print; `check` ends with 3 if calls are refused or a price never counts."""
    from holdfast.cli.database import dsn_of
    from holdfast.clock import SystemClock
    from holdfast.config import load, with_provider_keys
    from holdfast.policy.price_table import Weight, findings, rows_of

    settings = with_provider_keys(load(args.config, os.environ), os.environ)
    known = {*(price.model for price in settings.prices), *(route.model for route in settings.routes)}
    if args.model is not None and args.model not in known:
        raise Stop(
            Exit.NO_SUCH_MODEL, f"{args.model} has neither a price nor a route; known: {', '.join(sorted(known))}."
        )
    today = args.on or SystemClock().now().date()
    groups = _groups(args.data or settings.store.data, dsn_of(settings))
    if args.action == "list":
        rows = [row for row in rows_of(settings, today, groups or ()) if args.model in (None, row.model)]
        print(_listed_json(rows, today, settings.money.currency) if args.json else "\n".join(listed(rows)))
        return Exit.OK
    found = [each for each in findings(settings, today, groups) if args.model in (None, each.model)]
    if args.json:
        print(json.dumps({"day": today.isoformat(), "findings": [asdict(each) for each in found]}, indent=2))
    else:
        print("\n".join(verdict(found, today)))
    return Exit.SETTINGS if any(each.weight is Weight.ERROR for each in found) else Exit.OK


def _groups(data: Path, dsn: str | None) -> Sequence[Tariff] | None:
    """Read the groups of keys; None: there is no data folder yet."""
    from holdfast.store.keyring import groups
    from holdfast.store.lock import Paths
    from holdfast.store.reading import snapshot
    from holdfast.types import Tariff

    if dsn is None and not Paths(root=data).database.is_file():
        return None
    with snapshot(data, dsn) as conn:
        return [Tariff(group=row.label, margin_share=row.margin_share) for row in groups(conn)]


def verdict(found: Sequence[Finding], today: date) -> list[str]:
    """Tell what was found, the worst first."""
    if not found:
        return [f"Every model that is served has its prices on {today.isoformat()}, and none is below its cost."]
    return [f"{each.weight}: {each.message.rstrip('.')}." for each in found]


def listed(rows: Sequence[Row]) -> list[str]:
    """Lay the table out, one line for each image: list price, what is paid, what upstreams take."""
    from holdfast.money import amount

    if not rows:
        return ["No price holds on that day."]
    head = ("model", "image", "list", "customer", "groups", "costs", "from", "source")
    cells = [
        (
            row.model,
            row.key,
            amount(row.list_micros),
            amount(row.unit_micros),
            _several(row.groups),
            _several(row.costs),
            row.valid_from.isoformat(),
            row.source,
        )
        for row in rows
    ]
    return columns([head, *cells], indent="")


def _several(amounts: Mapping[str, int]) -> str:
    from holdfast.money import amount

    return ", ".join(f"{name} {amount(micros)}" for name, micros in amounts.items()) or "-"


def _listed_json(rows: Sequence[Row], today: date, currency: str) -> str:
    named = [
        {**asdict(row), "valid_from": row.valid_from.isoformat(), "valid_until": row.valid_until.isoformat()}
        for row in rows
    ]
    return json.dumps({"day": today.isoformat(), "currency": currency, "prices": named}, indent=2)
