"""A preview of rules of compensation, as JSON. Pure: no I/O, clock or randomness."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

DAYS_MAX = 31


class PreviewWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules, as `[[compensation]]` has them, and how far back they are applied."""

    compensation: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=100)]
    days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX)] = 7


class RuleEffectRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule would have done."""

    rule: str
    generations: int
    given_micros: int
    withheld_micros: int
    """What its cap would have kept back."""


class DayEffectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A day (UTC), then and now."""

    day: str
    charged_micros: int
    given_micros: int
    would_give_micros: int


class PreviewReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    since: str
    until: str
    currency: str
    generations: int
    """Those that were charged for."""
    charged_micros: int
    given_micros: int
    would_give_micros: int
    rules: list[RuleEffectRow]
    days: list[DayEffectRow]
