"""What is written down when money moves: postings that sum to zero, by verb.

The customer's side: a hold takes a generation's worst-case price from the customer's account into `held`; capture and
void give it on or back, and each resolves its hold once; compensation gives back some of what was captured.

The provider's side: what an attempt costs goes from the account of its upstream to the one that says why: bought for
the customer (`provider_cost`), possibly bought (`unknown_exposure`), or bought beyond what anybody pays for
(`extra_images`). A record is never edited: an exposure that turns out is resolved by another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.types import Charge

HELD = "held"
REVENUE = "revenue"
COMPENSATION = "compensation"
PROVIDER_COST = "provider_cost"
UNKNOWN_EXPOSURE = "unknown_exposure"
EXTRA_IMAGES = "extra_images"


def customer(key_id: str) -> str:
    """The account of one key: what its owner owes, as a positive number."""
    return f"customer:{key_id}"


def provider(upstream: str) -> str:
    """The account of one upstream: what it takes from us, as a negative number."""
    return f"provider:{upstream}"


class Verb(StrEnum):
    """Kinds of ledger transactions."""

    HOLD = "hold"
    CAPTURE = "capture"
    VOID = "void"
    COMPENSATE = "compensate"
    COST = "cost"
    EXPOSURE = "exposure"
    EXTRA = "extra"
    RESOLVE = "resolve"


RESOLVING = frozenset({Verb.CAPTURE, Verb.VOID})
"""A hold is resolved by one of these, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One line: `micros` more (or, negative, less) on an account."""

    account: str
    micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Postings that belong together."""

    verb: Verb
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        assert sum(posting.micros for posting in self.postings) == 0, f"{self.verb} does not balance"
        accounts = [posting.account for posting in self.postings]
        assert len(set(accounts)) == len(accounts), f"{self.verb} names an account twice"


def hold(key_id: str, micros: int) -> Transaction:
    """Set the worst-case price aside; nothing is bought without it."""
    assert micros >= 0
    return _transaction(Verb.HOLD, (customer(key_id), micros), (HELD, -micros))


def capture(key_id: str, *, held_micros: int, micros: int) -> Transaction:
    """Charge what was delivered, and give the rest of the hold back."""
    assert 0 <= micros <= held_micros, "a capture never exceeds its hold"
    return _transaction(Verb.CAPTURE, (HELD, held_micros), (REVENUE, -micros), (customer(key_id), micros - held_micros))


def void(key_id: str, held_micros: int) -> Transaction:
    """Give the whole hold back."""
    assert held_micros >= 0
    return _transaction(Verb.VOID, (HELD, held_micros), (customer(key_id), -held_micros))


def compensate(key_id: str, *, captured_micros: int, micros: int) -> Transaction:
    """Give back some of what was captured."""
    assert 0 <= micros <= captured_micros, "a compensation never exceeds the capture"
    return _transaction(Verb.COMPENSATE, (COMPENSATION, micros), (customer(key_id), -micros))


def cost(upstream: str, micros: int) -> Transaction:
    """Book what an attempt cost that was bought for the customer."""
    return _bought(Verb.COST, PROVIDER_COST, upstream, micros)


def exposure(upstream: str, micros: int) -> Transaction:
    """Book what an attempt may have cost: nobody can know yet."""
    return _bought(Verb.EXPOSURE, UNKNOWN_EXPOSURE, upstream, micros)


def extra(upstream: str, micros: int) -> Transaction:
    """Book what nobody pays for: what came after the end, or beyond what was asked for."""
    return _bought(Verb.EXTRA, EXTRA_IMAGES, upstream, micros)


def resolve(upstream: str, *, exposed_micros: int, cost_micros: int, extra_micros: int) -> Transaction:
    """Move an exposure to where it belongs, now that it is known; the upstream takes what it really cost."""
    assert min(exposed_micros, cost_micros, extra_micros) >= 0
    moved = (
        (PROVIDER_COST, cost_micros),
        (EXTRA_IMAGES, extra_micros),
        (provider(upstream), exposed_micros - cost_micros - extra_micros),
    )
    return _transaction(Verb.RESOLVE, (UNKNOWN_EXPOSURE, -exposed_micros), *(line for line in moved if line[1]))


def of_attempt(
    upstream: str, charge: Charge, *, was_exposed: bool, is_late: bool, estimated_micros: int, cost_micros: int
) -> tuple[Transaction, ...]:
    """Say what is booked when an attempt ends.

    Args:
        upstream: Where it was sent.
        charge: What the upstream took: `no` books nothing, `unknown` an exposure.
        was_exposed: An earlier end of it was unknown, and was booked so; only a known charge resolves it.
        is_late: Its generation had ended before.
        estimated_micros: List price of the images asked for; what an exposure is booked with.
        cost_micros: List price of what it really made; what is above the estimate was not asked for.
    """
    if charge is Charge.NO:
        assert not was_exposed, "what may have been paid turns out only when its image comes"
        return ()
    if charge is Charge.UNKNOWN:
        assert not was_exposed, "an exposure is booked once"
        return (exposure(upstream, estimated_micros),)
    asked_for = 0 if is_late else min(cost_micros, estimated_micros)
    beyond = cost_micros - asked_for
    if was_exposed:
        made = resolve(upstream, exposed_micros=estimated_micros, cost_micros=asked_for, extra_micros=beyond)
        return (made,)
    if is_late:
        return (extra(upstream, beyond),)
    costs = (cost(upstream, asked_for),)
    return (*costs, extra(upstream, beyond)) if beyond else costs


def _bought(verb: Verb, account: str, upstream: str, micros: int) -> Transaction:
    assert micros >= 0
    return _transaction(verb, (account, micros), (provider(upstream), -micros))


def _transaction(verb: Verb, *lines: tuple[str, int]) -> Transaction:
    return Transaction(verb=verb, postings=tuple(Posting(account=account, micros=micros) for account, micros in lines))
