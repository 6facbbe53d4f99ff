"""What can be typed after `holdfast`, as values, read off the real argument parser. Values in, values out.

argparse has no public way to ask a parser what it takes; the attributes read here are those that every program which
completes argparse reads, and they have not changed since Python 3.2.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from holdfast.types import Tier

SUGGESTED: Mapping[str, tuple[str, ...]] = {
    "--size": (*(tier.value for tier in Tier), "auto"),
    "--aspect-ratio": ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "21:9"),
}
"""What is offered for a value that is not an enumeration, since pixels are possible too."""


class Kind(StrEnum):
    """What stands in a place."""

    NOTHING = "nothing"
    """A switch: no value at all."""
    WORD = "word"
    """One of `Place.choices`, or, where there are none, something that nobody can list."""
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An option's value, or an argument by position."""

    kind: Kind
    choices: tuple[str, ...] = ()
    repeats: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option under all its names."""

    names: tuple[str, ...]
    value: Place
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """A command, what it takes, and the commands below it."""

    name: str
    means: str
    options: tuple[Option, ...]
    places: tuple[Place, ...]
    commands: tuple[Grammar, ...]

    def walk(self, above: str = "") -> Iterator[tuple[str, Grammar]]:
        """Go through this command and those below it, each with its path: ``""``, ``"keys"``, ``"keys create"``."""
        yield above, self
        for command in self.commands:
            yield from command.walk(f"{above} {command.name}".strip())


def grammar_of(parser: argparse.ArgumentParser, *, name: str = "holdfast", means: str = "") -> Grammar:
    """Read a parser.

    Args:
        parser: With every command declared.
        name: What is typed to get there.
        means: Its help, in one line.
    """
    options, places, commands = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            commands += [grammar_of(own, name=at, means=helps.get(at, "")) for at, own in action.choices.items()]
        elif action.option_strings:
            options.append(
                Option(names=tuple(action.option_strings), value=_place_of(action), means=_help_of(parser, action))
            )
        else:
            places.append(_place_of(action))
    return Grammar(name=name, means=means, options=tuple(options), places=tuple(places), commands=tuple(commands))


def _place_of(action: argparse.Action) -> Place:
    if action.nargs == 0:
        return Place(kind=Kind.NOTHING)
    suggested = next((SUGGESTED[name] for name in action.option_strings if name in SUGGESTED), ())
    choices = tuple(map(str, action.choices)) if action.choices is not None else suggested
    return Place(
        kind=Kind.WORD if choices else _kind_of(action),
        choices=choices,
        repeats=action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction),
    )


def _kind_of(action: argparse.Action) -> Kind:
    """Tell paths by how the value is read (`Path`, or a function that gives one), or by what help calls it."""
    shown = str(action.metavar or "")
    if shown == "DIR":
        return Kind.FOLDER
    returned = getattr(action.type, "__annotations__", {}).get("return")
    is_path = action.type is Path or returned in (Path, "Path")
    return Kind.FILE if is_path or "FILE" in shown.split("|") else Kind.WORD


def _help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    # `%(default)s` and its kind are filled in as `--help` does.
    return parser._get_formatter()._expand_help(action) if action.help else ""
