"""`holdfast whatif`: the same load under several policies, played in virtual time and compared."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.main import named_path

if TYPE_CHECKING:
    from holdfast.whatif.book import Figures
    from holdfast.whatif.policies import Policy
    from holdfast.whatif.scenario import Incident

COUNT = 100_000
COUNT_MAX = 10_000_000
"""Each order is remembered by its time to the image: 80 MB a policy."""
POLICIES = ("published-retries", "holdfast")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("whatif", help="play a scenario under several policies, and compare them")
    parser.add_argument(
        "scenario",
        metavar="SCENARIO",
        help="a name that is shipped, such as overloaded or peak-2026-01-17, or a TOML file",
    )
    parser.add_argument(
        "--policy",
        action="append",
        metavar="FILE",
        help="a holdfast.toml, a file of a client's loop (docs/how-to/explain-and-whatif.md), or a name that is "
        f"shipped; may be repeated; else {' and '.join(POLICIES)}",
    )
    parser.add_argument(
        "--n", type=int, default=COUNT, help=f"orders ({COUNT:,}), at the scenario's rate: fewer of them end sooner"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed brings the same orders and the same luck")
    parser.add_argument("--plot", metavar="FILE", type=named_path, help="draw it into this file, SVG")


def run(args: argparse.Namespace) -> int:
    """Play, and print."""
    from holdfast.whatif.beside import play_all
    from holdfast.whatif.files import load_policy, load_scenario

    if not 1 <= args.n <= COUNT_MAX:
        raise Stop(Exit.USAGE, f"--n must be from 1 to {COUNT_MAX:,}, not {args.n:,}.")
    incident = load_scenario(args.scenario)
    named = args.policy or POLICIES
    policies = _told_apart([load_policy(each) for each in named])
    currency = _currency(policies)
    figures = play_all(incident, policies, scenario=args.scenario, named=named, count=args.n, seed=args.seed)
    if args.plot is not None:
        _draw(args.plot, incident, figures, args.seed, currency)
    _print(incident, figures, args, currency)
    return Exit.OK


def _told_apart(policies: list[Policy]) -> list[Policy]:
    """Give policies of one name numbers."""
    from dataclasses import replace

    names = [policy.name for policy in policies]
    return [
        policy if names.count(policy.name) == 1 else replace(policy, name=f"{policy.name} ({at})")
        for at, policy in enumerate(policies, 1)
    ]


def _currency(policies: list[Policy]) -> str:
    from holdfast.whatif.policies import currency_of

    currencies = sorted({currency_of(policy) for policy in policies})
    if len(currencies) > 1:
        told = f"The policies have prices in {' and '.join(currencies)}: amounts could not be compared."
        raise Stop(Exit.SETTINGS, f"{told} Set money.currency alike.")
    return currencies[0]


def _draw(file: Path, incident: Incident, figures: list[Figures], seed: int, currency: str) -> None:
    from holdfast.whatif.render import heading
    from holdfast.whatif.svg import draw

    title = heading(incident, figures[0].generations, seed, max(each.seconds for each in figures))
    try:
        file.write_text(draw(figures, title=title, currency=currency), "utf-8")
    except OSError as error:
        raise Stop(Exit.USAGE, f"--plot: {file} cannot be written: {error.strerror}.") from error


def _print(incident: Incident, figures: list[Figures], args: argparse.Namespace, currency: str) -> None:
    from holdfast.whatif import render

    if args.json:
        print(json.dumps(render.document(incident, figures, seed=args.seed, currency=currency), indent=2))
        return
    print(render.heading(incident, args.n, args.seed, max(each.seconds for each in figures)))
    print()
    print("\n".join(render.table(figures, currency)))
    print()
    print("\n".join(render.plot(figures)))
    if args.plot is not None:
        print(f"\ndrawn into {args.plot}")
