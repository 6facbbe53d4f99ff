"""The settings in force as a list, each with its meaning; what is secret is not told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from holdfast.config import Settings
from holdfast.config.keys import ByTier, Key
from holdfast.wire.admin import AdminSetting

HIDDEN = "***"
_NAMES_ONLY = ("env:", "file:")
"""A credential that is written as where it is found tells nothing."""


def settings_in_force(settings: Settings) -> Iterator[AdminSetting]:
    """List every setting with its value, in the order of the file; of a list of tables, each entry's."""
    for section in fields(settings):
        value = getattr(settings, section.name)
        if isinstance(value, tuple):
            for at, entry in enumerate(value):
                yield from _of_table(entry, f"{section.name}[{at}]")
        else:
            yield from _of_table(value, section.name)


def _of_table(table: Any, path: str) -> Iterator[AdminSetting]:
    for item in fields(table):
        value, name = getattr(table, item.name), f"{path}.{item.name}"
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            for at, entry in enumerate(value):
                yield from _of_table(entry, f"{name}[{at}]")
            continue
        declared: Key | None = item.metadata.get("key")
        yield AdminSetting(
            name=name,
            value=_told(item, value),
            is_default=item.default is not MISSING and value == item.default,
            unit="" if declared is None else declared.unit,
            means="" if declared is None else declared.means,
        )


def _told(item: Field[Any], value: Any) -> Any:
    # What is declared as a secret stays out of `repr`: the same mark counts here.
    if not item.repr:
        return [_hidden(each) for each in value] if isinstance(value, tuple) else _hidden(value)
    return _plain(value)


def _hidden(value: Any) -> str:
    text = str(value)
    return text if not text or text.startswith(_NAMES_ONLY) else HIDDEN


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case ByTier():
            return {tier.value: each for tier, each in value.items()}
        case Enum():
            return value.value
        case str():
            return _without_password(value)
        case Path():
            return str(value)
        case date():
            return value.isoformat()
        case Mapping():
            return {str(_plain(name)): _plain(each) for name, each in value.items()}
        case tuple() | list() | frozenset():
            return [_plain(each) for each in value]
        case _ if is_dataclass(value):
            return {item.name: _told(item, getattr(value, item.name)) for item in fields(value)}
        case _:
            return str(value)


def _without_password(text: str) -> str:
    """An address may hold a password, `https://user:password@host`."""
    if "@" not in text or "://" not in text:
        return text
    url = urlsplit(text)
    return urlunsplit(url._replace(netloc=f"{HIDDEN}@{url.netloc.rpartition('@')[2]}"))
