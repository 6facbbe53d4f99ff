"""What is written down when money moves: postings that sum to zero, by verb.

A hold takes a generation's worst-case price from the customer's account into `held`; capture and void give it on or
back; each resolves its hold once. A record is never edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HELD = "held"
REVENUE = "revenue"


def customer(key_id: str) -> str:
    """The account of one key: what its owner owes, as a positive number."""
    return f"customer:{key_id}"


class Verb(StrEnum):
    """Kinds of ledger transactions."""

    HOLD = "hold"
    CAPTURE = "capture"
    VOID = "void"


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


def _transaction(verb: Verb, *lines: tuple[str, int]) -> Transaction:
    return Transaction(verb=verb, postings=tuple(Posting(account=account, micros=micros) for account, micros in lines))
