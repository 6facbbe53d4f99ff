"""`holdfast keys`: makes, lists, changes, rotates and revokes keys and groups, whether a gateway runs or not."""

from __future__ import annotations

import argparse
import json
import os
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.columns import columns
from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.cli.keys_at import Place
    from holdfast.config import Settings

NONE = "none"
"""Takes a limit away."""
SURFACES = ("openai", "gemini", "generations", "chat")
SCOPES = (*SURFACES, "admin")
SIZES = ("1K", "2K", "4K")
_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MICROS = Decimal(1_000_000)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and those below it."""
    from holdfast.cli.main import add_globals

    parser = subparsers.add_parser("keys", help="make, list, change, rotate and revoke API keys")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = verbs.add_parser("create", help="make a key; it is shown once")
    create.add_argument("label", metavar="LABEL", help="for people: what it is for")
    _add_terms(create)
    change = verbs.add_parser("change", help="change what a key may; `none` takes a limit away")
    _add_key(change)
    change.add_argument("--label", help="another label")
    _add_terms(change)
    verbs.add_parser("list", help="list keys")
    rotate = verbs.add_parser("rotate", help="give a key another secret, which is shown once")
    _add_key(rotate)
    rotate.add_argument(
        "--overlap", metavar="TIME", type=seconds, help="how long the one before is valid too: 30m, 24h (usual), 7d, 0s"
    )
    revoke = verbs.add_parser("revoke", help="take a key back, for good")
    _add_key(revoke)
    verbs.add_parser("groups", help="list groups of keys")
    group = verbs.add_parser("group", help="make a group of keys, or change the one with this label or id")
    group.add_argument("label", metavar="LABEL", help="for people; an id names one that exists")
    group.add_argument(
        "--margin",
        metavar="SHARE",
        type=share,
        default=argparse.SUPPRESS,
        help="added to list prices: 0.2 is a fifth; none",
    )
    _add_budget(group)
    for each in verbs.choices.values():
        each.add_argument("--base-url", help="of a gateway elsewhere; else the one that has the data folder, or none")
        each.add_argument("--api-key", help="an admin's, for --base-url; else HOLDFAST_API_KEY")
        add_globals(each, default=argparse.SUPPRESS)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="its id, key_…; never the key itself")


def _add_terms(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--scope", action="append", choices=(*SCOPES, NONE), help="a surface it may ask on, or admin; again for more")
    add("--model", action="append", metavar="NAME", help="a model or alias it may ask for, * for any characters; again")
    add("--size", action="append", choices=(*SIZES, NONE), help="a size it may ask for; again for more")
    add("--rate", metavar="N", type=count, default=argparse.SUPPRESS, help="generations accepted in a minute")
    add("--concurrency", metavar="N", type=count, default=argparse.SUPPRESS, help="generations open at once")
    _add_budget(parser)
    add(
        "--purchases",
        metavar="N",
        type=count,
        default=argparse.SUPPRESS,
        help="most calls for one image that may be charged",
    )
    add("--group", metavar="GROUP", help="a group of keys, by id or label")
    add("--join", choices=("all", "retries", "keyed", "off"), help="which of its repeats join")
    add("--tls", action=argparse.BooleanOptionalAction, help="refuse it where it comes in clear")
    add("--expires", metavar="WHEN", help="90d from now, or a moment: 2027-01-31, 2027-01-31T12:00:00Z")


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        action="append",
        metavar="AMOUNT/PERIOD",
        type=budget,
        help="10/day, 200/month, none/day; both may be",
    )


# Reading the command line


def count(text: str) -> int | None:
    """Read a number, or `none`.

    Raises:
        ArgumentTypeError: It is neither.
    """
    if text == NONE:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0, and not none")
    return int(text)


def seconds(text: str) -> int:
    """Read how long something lasts.

    Raises:
        ArgumentTypeError: It is no time.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 30m, 24h or 7d")
    return int(found[1]) * _UNIT_S[found[2]]


def share(text: str) -> float | None:
    """Read a margin, or `none`.

    Raises:
        ArgumentTypeError: It is no number.
    """
    if text == NONE:
        return None
    try:
        return float(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; 0.2 adds a fifth") from exc


def budget(text: str) -> tuple[str, int | None]:
    """Read an amount by day or month, as the column it is for and micro-units.

    Raises:
        ArgumentTypeError: It is no amount, or of no such period.
    """
    amount, _, period = text.partition("/")
    if period not in ("day", "month"):
        raise argparse.ArgumentTypeError(f"{text!r} names no period; write 10/day or 200/month")
    column = f"spend_micros_per_{period}"
    if amount == NONE:
        return column, None
    micros = int(Decimal(amount) * _MICROS) if _AMOUNT.fullmatch(amount) else 0
    if not micros:
        raise argparse.ArgumentTypeError(f"{amount!r} is no amount above 0 with at most six decimals")
    return column, micros


def ends_at(text: str, now: datetime) -> str | None:
    """Read when something ends: a time from now, or a moment, which is judged where it is taken."""
    if text == NONE:
        return None
    if _DURATION.fullmatch(text):
        return (now + timedelta(seconds=seconds(text))).isoformat()
    return text


def terms_of(args: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """Write down what is stated of a key, as the admin API takes it."""
    document: dict[str, Any] = dict(args.budget or ())
    simple = {"rate_per_min": "rate", "concurrency": "concurrency", "purchases_max": "purchases"}
    for name, option in simple.items():
        if hasattr(args, option):
            document[name] = getattr(args, option)
    for name, option in {"models": "model", "sizes": "size"}.items():
        if (words := getattr(args, option)) is not None:
            document[name] = None if NONE in words else words
    if args.scope is not None:
        document["is_admin"] = "admin" in args.scope
        document["surfaces"] = [each for each in args.scope if each in SURFACES] or None
    stated = {"group_id": args.group, "join": args.join, "label": args.label}
    document |= {name: None if value == NONE else value for name, value in stated.items() if value is not None}
    if args.tls is not None:
        document["tls_required"] = args.tls
    if args.expires is not None:
        document["expires_at"] = ends_at(args.expires, now)
    return document


# Doing it


def run(args: argparse.Namespace) -> int:
    """Do what is asked, and print what came of it."""
    from holdfast.config import load

    settings = load(args.config, os.environ)
    place = _place(args, settings)
    document = perform(place, args, datetime.now(UTC))
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(told(args.verb, document, settings.money.currency)))
    return Exit.OK


def _place(args: argparse.Namespace, settings: Settings) -> Place:
    from holdfast.cli.database import dsn_of
    from holdfast.cli.keys_at import Gateway, place_of

    if args.base_url is None:
        data: Path = args.data or settings.store.data
        return place_of(data, makes=args.verb == "create", dsn=dsn_of(settings))
    from holdfast.cli.api_key import find_api_key
    from holdfast.cli.asked import base_of
    from holdfast.cli.generate import key_files

    base_url = base_of(args.base_url).removesuffix("/v1")
    key = find_api_key(args.api_key, os.environ, base_url, key_files(settings))
    return Gateway(base_url, lambda: key.value)


def perform(place: Place, args: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """Ask for what was typed."""
    match args.verb:
        case "create":
            return place.ask("POST", "/keys", terms_of(args, now))
        case "change":
            terms = terms_of(args, now)
            if not terms:
                raise Stop(Exit.USAGE, "Say what is to change, such as --rate 60. See holdfast keys change --help.")
            return place.ask("PATCH", f"/keys/{_id(args.key)}", terms)
        case "list":
            return place.ask("GET", "/keys?limit=1000")
        case "rotate":
            wish = {} if args.overlap is None else {"overlap_s": args.overlap}
            return place.ask("POST", f"/keys/{_id(args.key)}/rotate", wish)
        case "revoke":
            return place.ask("POST", f"/keys/{_id(args.key)}/revoke")
        case "groups":
            return place.ask("GET", "/key-groups")
    return _group(place, args)


def _group(place: Place, args: argparse.Namespace) -> dict[str, Any]:
    terms: dict[str, Any] = dict(args.budget or ())
    if hasattr(args, "margin"):
        terms["margin_share"] = args.margin
    known = place.ask("GET", "/key-groups")["data"]
    same = next((each["id"] for each in known if args.label in (each["id"], each["label"])), None)
    if same is None:
        return place.ask("POST", "/key-groups", {"label": args.label, **terms})
    return place.ask("PATCH", f"/key-groups/{same}", terms)


def _id(text: str) -> str:
    """Read the id of a key; the key itself is not shown again to a terminal's history."""
    if not re.fullmatch(r"key_[0-9A-Za-z]{1,40}", text):
        raise Stop(Exit.USAGE, "KEY is the id of a key, key_…, as holdfast keys list shows it.")
    return text


# Printing


def told(verb: str, document: dict[str, Any], currency: str) -> list[str]:
    """Say what came of it."""
    if verb == "list":
        more = ["There are more; the admin API lists them by pages."] if document["has_more"] else []
        return [*_table([_key_cells(each, currency) for each in document["data"]]), *more]
    if verb in ("groups", "group"):
        groups = document["data"] if verb == "groups" else [document]
        return _table([_group_cells(each, currency) for each in groups])
    lines = _table([_key_cells(document, currency)])
    if document.get("key"):
        lines += ["", f"The key, shown this once: {document['key']}"]
    if verb == "rotate" and len(document["secrets"]) > 1:
        lines.append(f"The one before is valid until {document['secrets'][1]['expires_at']}.")
    return lines


def _key_cells(key: dict[str, Any], currency: str) -> dict[str, str]:
    rights = ["admin"] if key["is_admin"] else []
    for name in ("surfaces", "models", "sizes"):
        rights += key[name] or ()
    limits = [f"{key[name]}{unit}" for name, unit in _LIMITS.items() if key[name] is not None]
    limits += _budget_words(key, currency)
    limits += ["TLS"] if key["tls_required"] else []
    ends = "" if key["state"] != "valid" or key["expires_at"] is None else f" until {key['expires_at']}"
    return {
        "id": key["id"],
        "label": key["label"],
        "state": key["state"] + ends,
        "may": " ".join(rights) or "all",
        "limits": ", ".join(limits) or "none",
        "group": key["group_id"] or "",
    }


_LIMITS = {"rate_per_min": "/min", "concurrency": " at once", "purchases_max": " purchases"}


def _group_cells(group: dict[str, Any], currency: str) -> dict[str, str]:
    margin = "as set" if group["margin_share"] is None else f"{group['margin_share']:+g}"
    return {
        "id": group["id"],
        "label": group["label"],
        "margin": margin,
        "limits": ", ".join(_budget_words(group, currency)) or "none",
    }


def _budget_words(of: dict[str, Any], currency: str) -> list[str]:
    from holdfast.money import spell

    amounts = {period: of[f"spend_micros_per_{period}"] for period in ("day", "month")}
    return [f"{spell(micros, currency)}/{period}" for period, micros in amounts.items() if micros is not None]


def _table(rows: Sequence[dict[str, str]]) -> list[str]:
    if not rows:
        return ["There are none."]
    return columns([tuple(rows[0]), *(tuple(row.values()) for row in rows)], indent="")
