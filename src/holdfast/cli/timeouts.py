"""`holdfast timeouts`: every limit that a generation lives under, with its reason and its source."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from holdfast.types import Tier

if TYPE_CHECKING:
    from holdfast.policy.deadlines import TimeoutRow

WIDTH = 110


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("timeouts", help="show every timeout with its reason")
    parser.add_argument("--size", choices=[tier.value for tier in Tier], help="only this size class")
    parser.add_argument(
        "--network", choices=["intranet", "home", "international", "peak"], help="instead of deadlines.network"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from holdfast.config import Network, load
    from holdfast.policy.deadlines import explain

    deadlines = load(args.config, os.environ).deadlines
    if args.network is not None:
        deadlines = replace(deadlines, network=Network(args.network))
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
