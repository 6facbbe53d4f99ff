"""Luck that depends on the seed, the order and the number of its call, and on nothing else.

A generator with a state would give a policy that sends once more another world from then on. A counter that is mixed
gives each call of each order its own numbers, at a twentieth of what seeding a generator costs.

Source: SplitMix64; Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (OOPSLA 2014).
"""

from __future__ import annotations

from typing import NamedTuple

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ORDERS = 0xD1342543DE82EF95
"""Odd, so that no two orders of a seed share their stream; from the tables of Steele and Vigna (2021)."""
_32 = 1.0 / (1 << 32)
_21 = 1.0 / (1 << 21)


class Luck(NamedTuple):
    """What chance has in store for one call; uniform samples in [0, 1)."""

    fate: float
    """Whether it fails, and how."""
    latency: float
    which: float
    """Which of several ways, and whether a hint comes along."""
    hint: float
    jitter: float
    """Whoever repeats draws it; it is here so that both policies draw the same."""


def _mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def luck_of(seed: int, order: int, call: int) -> Luck:
    """Draw the luck of the n-th call for an order.

    Args:
        seed: Of the run; any integer.
        order: Number of the generation, from 0.
        call: How many calls were made for it before, by anybody.
    """
    at = (_mixed(seed & _MASK) + order * _ORDERS + call * 2 * _GOLDEN) & _MASK
    first, second = _mixed(at), _mixed((at + _GOLDEN) & _MASK)
    return Luck(
        (first >> 32) * _32,
        (first & 0xFFFFFFFF) * _32,
        (second >> 43) * _21,
        (second >> 22 & 0x1FFFFF) * _21,
        (second & 0x1FFFFF) * _21,
    )
