"""`holdfast compensation preview`: what other rules would have given back of what was charged in the last days."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.columns import columns
from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from holdfast.policy.preview import Preview

DAYS_MAX = 31


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("compensation", help="show what other rules of compensation would have given back")
    parser.add_argument("action", choices=["preview"], help="apply rules to what was charged; nothing is changed")
    parser.add_argument("rules", metavar="RULES", type=Path, help="a TOML file with [[compensation]] entries")
    parser.add_argument("--days", metavar="N", default="7", help=f"so many days back from now, at most {DAYS_MAX} (7)")


def run(args: argparse.Namespace) -> int:
    """Read the rules and the folder, and print what would have been."""
    from holdfast.cli.database import dsn_of
    from holdfast.clock import SystemClock, rfc3339
    from holdfast.config import load, load_compensation
    from holdfast.policy.compensation import rules_of
    from holdfast.policy.preview import preview
    from holdfast.store.past import past_charges
    from holdfast.store.reading import snapshot

    days = args.days
    if not (days.isascii() and days.isdigit() and len(days) <= 2 and 1 <= int(days) <= DAYS_MAX):
        raise Stop(Exit.USAGE, f"--days is {days[:40]!r}; write a whole number from 1 to {DAYS_MAX}.")
    settings = load(args.config, os.environ)
    rules = rules_of(load_compensation(args.rules, settings.routes))
    data: Path = args.data or settings.store.data
    until: datetime = SystemClock().now().astimezone(UTC)
    since = until - timedelta(days=int(days))
    with snapshot(data, dsn_of(settings)) as conn:
        made = preview(past_charges(conn, since, until), rules)
    currency = settings.money.currency
    if args.json:
        between = {"since": rfc3339(since), "until": rfc3339(until), "currency": currency}
        print(json.dumps({**between, **asdict(made)}, indent=2))
    else:
        print("\n".join(told(made, days=int(days), currency=currency)))
    return Exit.OK


def told(made: Preview, *, days: int, currency: str) -> list[str]:
    """Tell a preview: altogether, by rule and by day."""
    from holdfast.money import spell

    span = "the last day" if days == 1 else f"the last {days} days"
    if not made.generations:
        return [f"Nothing was charged in {span}."]
    change = made.would_give_micros - made.given_micros
    more = "as much" if not change else f"{spell(abs(change), currency)} {'more' if change > 0 else 'less'}"
    lines = [
        f"In {span} {made.generations} generations were charged {spell(made.charged_micros, currency)}; "
        f"{spell(made.given_micros, currency)} were given back.",
        f"These rules would have given back {spell(made.would_give_micros, currency)}: {more}.",
    ]
    if made.rules:
        rows = [("rule", "generations", "given back", "kept by its cap")]
        rows += [
            (one.rule, str(one.generations), spell(one.given_micros, currency), spell(one.withheld_micros, currency))
            for one in made.rules
        ]
        lines += ["", *columns(rows, right=range(1, len(rows[0])))]
    rows = [("day", "charged", "given back", "would be")]
    for day in made.days:
        amounts = (day.charged_micros, day.given_micros, day.would_give_micros)
        first, second, third = (spell(each, currency) for each in amounts)
        rows.append((day.day, first, second, third))
    return [*lines, "", *columns(rows, right=range(1, len(rows[0])))]
