"""Which settings a running gateway takes over when they are read anew, and which wait for the next start. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from holdfast.config.tree import Settings

TAKEN_OVER = (
    "upstreams",
    "routes",
    "prices",
    "compensation",
    "retry",
    "queue",
    "joining",
    "deadlines",
    "chat",
    "passthrough",
    "money.margin",
)
"""Sections, and single keys, that hold from the moment they are read. All others are bound to what is made once: the
sockets, the data folder, connections that are open."""


def renewed(now: Settings, read: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Put together what holds from now on.

    Args:
        now: The settings in force.
        read: What was read anew, checked as a whole.

    Returns:
        The settings to go on with, and the keys that differ and need a restart, in the order of the reference.
    """
    # Prices are amounts in the currency, and that is bound to the accounts.
    fixed = {"prices"} if now.money.currency != read.money.currency else set()
    changes: dict[str, Any] = {}
    waiting: list[str] = []
    for section in (each.name for each in fields(Settings)):
        before: Any = getattr(now, section)
        after: Any = getattr(read, section)
        if section in TAKEN_OVER and section not in fixed:
            changes[section] = after
        elif is_dataclass(type(before)):
            differing = [
                each.name for each in fields(before) if getattr(before, each.name) != getattr(after, each.name)
            ]
            taken = [name for name in differing if f"{section}.{name}" in TAKEN_OVER]
            changes[section] = replace(before, **{name: getattr(after, name) for name in taken})
            waiting += (f"{section}.{name}" for name in differing if name not in taken)
        elif before != after:
            waiting.append(section)
    return replace(now, **changes), tuple(waiting)


def changed_sections(now: Settings, then: Settings) -> Sequence[str]:
    """Name the sections in which two trees differ."""
    return [each.name for each in fields(Settings) if getattr(now, each.name) != getattr(then, each.name)]
