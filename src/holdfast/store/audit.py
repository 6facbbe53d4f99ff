"""Reading the ledger to prove it: every rule that holds of it, checked against its lines, and who breaks one by name.

Nothing is written, and nothing but the database is needed: it can be run beside a gateway that uses the folder. All of
it is read in one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from types import MappingProxyType
from typing import Any

from holdfast.generation import AttemptState
from holdfast.ledger.postings import COMPENSATION, HELD, UNKNOWN_EXPOSURE, Verb
from holdfast.store.bookkeeping import LedgerSums, ledger_sums
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.usage import ACCOUNTS

_Q = queries("audit")
_U = queries("usage")
PROBLEMS_MAX = 100
"""Of one kind; a broken rule is told by its first examples."""

_COSTS = (frozenset({Verb.COST}), frozenset({Verb.EXTRA}), frozenset({Verb.COST, Verb.EXTRA}))
_RESOLVED = frozenset({Verb.EXPOSURE, Verb.RESOLVE})
BOOKED_AS: Mapping[AttemptState, tuple[frozenset[Verb], ...]] = MappingProxyType(
    {
        AttemptState.SENT: (frozenset(),),
        AttemptState.POLLING: (frozenset(),),
        AttemptState.REJECTED: (frozenset(), _RESOLVED),
        AttemptState.UNKNOWN: (frozenset({Verb.EXPOSURE}),),
        AttemptState.CHARGED_FAILED: (*_COSTS, _RESOLVED),
        AttemptState.SETTLED: (*_COSTS, _RESOLVED),
    }
)
"""What may stand on the provider's side of an attempt, by its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A rule that does not hold."""

    rule: str
    """One word for a program, such as `unresolved`."""
    id: str
    """Of the generation, attempt or transaction, or an account's name."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was read, and what is wrong with it."""

    generations: int
    attempts: int
    transactions: int
    accounts: Mapping[str, int]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a transaction."""

    txn_id: int
    at: str
    verb: str
    drive: int
    attempt_id: str | None
    """None: the customer's side."""
    account: str
    micros: int


def audit(conn: Conn) -> Audit:
    """Check the whole ledger; the transaction, and so the snapshot, is the caller's."""
    counts = conn.execute(_Q["counts"]).fetchone()
    sums = ledger_sums(conn)
    found = [*_of_accounts(conn, sums.accounts, sums.drifted), *_of_usage(conn, sums)]
    for check in (_of_transactions, _of_holds, _of_records, _of_budgets, _of_attempts):
        found += check(conn)
    return Audit(
        generations=counts["generations"],
        attempts=counts["attempts"],
        transactions=counts["transactions"],
        accounts=sums.accounts,
        problems=tuple(found),
    )


def lines_of(conn: Conn, generation_id: str) -> tuple[Line, ...]:
    """Read the lines of one generation, in the order in which they were written."""
    return tuple(
        Line(
            txn_id=row["id"],
            at=row["at"],
            verb=row["kind"],
            drive=row["drive"],
            attempt_id=row["attempt_id"] or None,
            account=row["account"],
            micros=row["micros"],
        )
        for row in conn.execute(_Q["lines_of"], {"id": generation_id})
    )


def _of_accounts(conn: Conn, accounts: Mapping[str, int], drifted: tuple[str, ...]) -> Iterator[Problem]:
    for account in drifted:
        message = f"the balance of {account} is not the sum of its lines"
        yield Problem(rule="drifted", id=account, message=message)
    (held,) = conn.execute(_Q["held_for_open"]).fetchone()
    if accounts.get(HELD, 0) != -held:
        message = f"{HELD} is {accounts.get(HELD, 0)} micro-units, and open generations need {-held}"
        yield Problem(rule="held", id=HELD, message=message)
    (exposed,) = conn.execute(_Q["exposed_now"]).fetchone()
    if accounts.get(UNKNOWN_EXPOSURE, 0) != exposed:
        booked = accounts.get(UNKNOWN_EXPOSURE, 0)
        message = f"{UNKNOWN_EXPOSURE} is {booked} micro-units, and attempts of unknown outcome need {exposed}"
        yield Problem(rule="exposed", id=UNKNOWN_EXPOSURE, message=message)
    (given,) = conn.execute(_Q["given_by_day"]).fetchone()
    if accounts.get(COMPENSATION, 0) != given:
        message = f"{COMPENSATION} is {accounts.get(COMPENSATION, 0)} micro-units, and its days count {given}"
        yield Problem(rule="counted", id=COMPENSATION, message=message)


def _of_usage(conn: Conn, sums: LedgerSums) -> Iterator[Problem]:
    """The days of usage are another telling of the same; an account that has drifted is told of already."""
    rolled = conn.execute(_U["rolled_up"]).fetchone()
    for account, (measure, sign) in ACCOUNTS.items():
        booked = sign * sums.accounts.get(account, 0)
        if account not in sums.drifted and rolled[measure] != booked:
            message = f"the days of usage count {measure} {rolled[measure]}, and {account} has {booked}"
            yield Problem(rule="rolled_up", id=account, message=message)
    if rolled["generations"] != rolled["ended"]:
        message = f"the days of usage count {rolled['generations']} generations, and {rolled['ended']} have ended"
        yield Problem(rule="rolled_up", id="generations", message=message)


def _of_transactions(conn: Conn) -> Iterator[Problem]:
    for row in _rows(conn, _Q["unbalanced"]):
        what = f"transaction {row['id']}, {row['kind']} of {row['generation_id']}"
        message = f"{what}, sums to {row['micros']}" if row["micros"] else f"{what}, has no lines"
        yield Problem(rule="unbalanced", id=str(row["id"]), message=message)


def _of_holds(conn: Conn) -> Iterator[Problem]:
    for row in _rows(conn, _Q["unresolved"]):
        id_ = row["generation_id"]
        yield Problem(
            rule="unresolved", id=id_, message=f"{id_} has ended, and the hold of drive {row['drive']} stands"
        )
    for row in _rows(conn, _Q["resolved_too_early"]):
        id_ = row["id"]
        yield Problem(rule="resolved_too_early", id=id_, message=f"{id_} is open, and its hold is resolved")
    for row in _rows(conn, _Q["never_held"]):
        yield Problem(rule="never_held", id=row["id"], message=f"{row['id']} was accepted without a hold")


def _of_records(conn: Conn) -> Iterator[Problem]:
    for row in _rows(conn, _Q["told_otherwise"]):
        told = f"charged {row['charged_micros']}, given back {row['compensated_micros']}"
        booked = f"captured {row['captured']}, compensated {row['given']}"
        message = f"{row['id']} tells {told}; the ledger has {booked} (micro-units)"
        yield Problem(rule="told_otherwise", id=row["id"], message=message)


def _of_budgets(conn: Conn) -> Iterator[Problem]:
    for row in _rows(conn, _Q["spent_otherwise"]):
        what = f"{row['owner']} is counted with {row['counted']} micro-units ({row['currency']}) on {row['day']}"
        message = f"{what}; the ledger has {row['booked']}"
        yield Problem(rule="spent_otherwise", id=row["owner"], message=message)


def _of_attempts(conn: Conn) -> Iterator[Problem]:
    return islice(_misbooked(conn), PROBLEMS_MAX)


def _misbooked(conn: Conn) -> Iterator[Problem]:
    for id_, rows in groupby(conn.execute(_Q["attempts_with_bookings"]), key=lambda row: row["id"]):
        bookings = list(rows)
        state = AttemptState(bookings[0]["state"])
        verbs = [row["kind"] for row in bookings if row["kind"] is not None]
        if frozenset(verbs) not in BOOKED_AS[state]:
            of = bookings[0]["generation_id"]
            message = f"{id_} of {of} is {state}, and is booked as {', '.join(sorted(verbs)) or 'nothing'}"
            yield Problem(rule="misbooked", id=id_, message=message)


def _rows(conn: Conn, query: str) -> Iterator[Any]:
    yield from conn.execute(query, {"most": PROBLEMS_MAX})
