"""The settings as a list, for the reference page and for `--help`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from holdfast.config.environment import PREFIX
from holdfast.config.keys import ByTier, Key
from holdfast.config.tree import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDoc:
    """All that the reference page says of one setting."""

    section: str
    """`server`; of a list of tables `upstreams`, of a table inside one `routes.upstreams`."""
    name: str
    """Dotted: `server.port`."""
    kind: str
    """`text`, `whole number`, or the words that are allowed."""
    unit: str
    default: str
    """As TOML spells it; `required` when it must be written."""
    means: str
    source: str
    """Why the default is what it is."""
    environment: str | None
    """Name of the variable that sets it; None inside lists of tables."""


def describe() -> list[SettingDoc]:
    """List every setting with unit, default, meaning and reason, in the order of the file."""
    hints = get_type_hints(Settings)
    documents: list[SettingDoc] = []
    for item in fields(Settings):
        hint = hints[item.name]
        listed = get_origin(hint) is tuple
        documents += _section(get_args(hint)[0] if listed else hint, item.name, listed=listed)
    return documents


def _section(cls: Any, path: str, *, listed: bool) -> Iterator[SettingDoc]:
    hints = get_type_hints(cls)
    for item in fields(cls):
        hint = hints[item.name]
        name = f"{path}.{item.name}"
        declared = cast("Key", item.metadata["key"])
        yield SettingDoc(
            section=path,
            name=name,
            kind=_kind(hint),
            unit=declared.unit,
            default=_default(item),
            means=declared.means,
            source=declared.source,
            environment=None if listed else f"{PREFIX}{path.upper()}__{item.name.upper()}",
        )
        if get_origin(hint) is tuple and is_dataclass(get_args(hint)[0]):
            yield from _section(get_args(hint)[0], name, listed=True)


def _kind(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return " · ".join(member.value for member in hint)
    if get_origin(hint) is tuple:
        return "list of tables" if is_dataclass(get_args(hint)[0]) else "list of text"
    if get_origin(hint) is not None:
        return "table of whole numbers"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", ByTier: "by size"}
    return names.get(hint, "day")


def _default(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "required"
    match item.default:
        case bool() as switch:
            return str(switch).lower()
        case int() as number:
            return str(number)
        case float() as number:
            return f"{number:g}" if number < 100000 else f"{number:.0f}"
        case str() | Path() as text:
            return f'"{text}"'
        case tuple():
            return "[]"
        case other:
            return str(other)
