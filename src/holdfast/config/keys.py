"""How one setting is declared: its default with unit, meaning and reason beside it, read by parser and docs alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from holdfast.types import Tier

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a setting's declaration says beyond name, type and default."""

    means: str
    """What it does, as a sentence without a full stop."""
    unit: str
    """`seconds`, `bytes`, `micro-units`; empty for words and switches."""
    source: str
    """Why the default is what it is: who else uses the number, or what measured it."""
    at_least: float | None = None
    at_most: float | None = None


def key(
    default: T,
    means: str,
    *,
    unit: str = "",
    source: str,
    at_least: float | None = None,
    at_most: float | None = None,
    secret: bool = False,
) -> T:
    """Declare a setting that has a default. A secret one stays out of `repr`."""
    declared = Key(means=means, unit=unit, source=source, at_least=at_least, at_most=at_most)
    # `field` gives a Field, which the dataclass decorator turns into the default: to type checkers it is the default.
    return field(default=default, repr=not secret, metadata={"key": declared})


def required(means: str, *, source: str) -> Any:
    """Declare a setting that must be written."""
    return field(metadata={"key": Key(means=means, unit="", source=source)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ByTier:
    """One number for each size class; in TOML `{ "1K" = 300, "2K" = 300, "4K" = 600 }`."""

    k1: float
    k2: float
    k4: float

    def __getitem__(self, tier: Tier) -> float:
        match tier:
            case Tier.K1:
                return self.k1
            case Tier.K2:
                return self.k2
            case Tier.K4:
                return self.k4

    def items(self) -> Iterator[tuple[Tier, float]]:
        """Give each size class with its number, smallest class first."""
        for tier in Tier:
            yield tier, self[tier]

    def __str__(self) -> str:
        return "{ " + ", ".join(f'"{tier}" = {value:g}' for tier, value in self.items()) + " }"
