"""`holdfast timeouts`: every limit that a generation lives under, with its reason and its source.

With `--client`, a program instead: the limits that this client has to be given, where it takes them.
"""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from holdfast.cli.exits import Exit, Stop
from holdfast.types import Tier

if TYPE_CHECKING:
    from holdfast.config import Settings
    from holdfast.policy.deadlines import TimeoutRow
    from holdfast.recipes.catalog import Client

WIDTH = 110


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("timeouts", help="show every timeout with its reason")
    parser.add_argument("--size", choices=[tier.value for tier in Tier], help="only this size class")
    parser.add_argument(
        "--network", choices=["intranet", "home", "international", "peak"], help="instead of deadlines.network"
    )
    parser.add_argument(
        "--client", metavar="CLIENT", help="print a program for this client instead, such as requests, go or curl"
    )
    parser.add_argument(
        "--without-holdfast", action="store_true", help="with --client: a program that calls an API itself"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table, or a program.

    Raises:
        Stop: There is no recipe for a client of this name; those there are stand in the message.
    """
    from holdfast.config import Network, load
    from holdfast.policy.deadlines import explain

    settings = load(args.config, os.environ)
    deadlines = settings.deadlines
    if args.network is not None:
        deadlines = replace(deadlines, network=Network(args.network))
    if args.client is not None:
        return _print_recipe(_client_of(args.client), replace(settings, deadlines=deadlines), args)
    if args.without_holdfast:
        raise Stop(Exit.USAGE, "--without-holdfast says which program to print: name a client with --client.")
    tiers = [Tier(args.size)] if args.size else list(Tier)
    tables = {tier: explain(tier, deadlines) for tier in tiers}
    if args.json:
        rows = [{"size": tier.value, **asdict(row)} for tier in tiers for row in tables[tier]]
        print(json.dumps({"network": deadlines.network.value, "timeouts": rows}, indent=2))
    else:
        print(f"network: {deadlines.network.value}")
        for tier in tiers:
            print("\n".join(table(tier, tables[tier])))
    return 0


def table(tier: Tier, rows: list[TimeoutRow]) -> list[str]:
    """Lay one size's limits out as lines."""
    indent = " " * 24
    lines = ["", tier.value]
    for row in rows:
        told = textwrap.wrap(f"{row.reason} ({row.source})", WIDTH - len(indent))
        lines.append(f"  {row.name:<12}{row.seconds:>6g} s  {told[0]}")
        lines += [indent + more for more in told[1:]]
    return lines


def _client_of(name: str) -> Client:
    from holdfast.recipes.catalog import BY_NAME

    client = BY_NAME.get(name.lower())
    if client is None:
        raise Stop(Exit.USAGE, f"There is no recipe for {name[:40]!r}. There are: {', '.join(BY_NAME)}.")
    return client


def _print_recipe(client: Client, settings: Settings, args: argparse.Namespace) -> int:
    from holdfast.recipes.catalog import RUNS
    from holdfast.recipes.numbers import numbers
    from holdfast.recipes.render import render

    tier, through = Tier(args.size or Tier.K1), not args.without_holdfast
    table = numbers(tier, settings.deadlines, through_holdfast=through, heartbeat=settings.heartbeat)
    program = render(client, tier, table, through_holdfast=through)
    if not args.json:
        print(program, end="")
        return 0
    told = {
        "client": client.name,
        "size": tier.value,
        "network": settings.deadlines.network.value,
        "holdfast": through,
        "language": client.language.value,
        "package": client.package,
        "run": RUNS[client.language],
        "timers": client.timers,
        "limits": list(client.limits),
        "numbers": {name: asdict(number) for name, number in table.items()},
        "program": program,
    }
    print(json.dumps(told, indent=2, ensure_ascii=False))
    return 0
