"""What a function locks before it reads what it decides by, and what it counts as late as it can.

SQLite has one writer: there both do nothing of their own. On PostgreSQL many transactions run at once (READ COMMITTED),
so each function takes the lock of what it changes **first**, in a statement of its own: whatever it reads after that
was committed by whoever had the lock before. Locks are the database's advisory ones, by name, and end with the
transaction. They are taken in this order, so that two transactions do not wait for each other; where they do all the
same (a repeat finds one generation after the other), the database ends one of them, which is run again.

- `identity` (key, and idempotency key or fingerprint), by `enter`: of a hundred equal POSTs one buys, and the others
  find what it bought.
- `quota` (key), by `enter` for a key that has limits, where several processes accept
- `credential` (upstream, place), by `begin_attempt` after the generation's, where several processes send with it
- `generation`, by `enter` for what it found, `begin_attempt`, `end_attempt`, `pass_deadline`, `ask_cancel`,
  `cancel_unwatched`, `mark_received`, `mark_due`, `bury`, `ask_erase`, `give_up_pause`, `resolve_exposures` and
  `resolve_noted`: one decision at a time about its attempts, parts, money and end.
- `budget` (key or group), by `spend` where there is a limit: a month's sum is not passed by two holds that do not see
  each other.
- `compensation` (day), by `bill_of` where something is given back: a day's cap is not passed.
- `webhooks` (key), by what makes, rotates or deletes endpoints: as many as are allowed, and one default.
- `audit`, by `expire`: what is deleted of the log of changes is noted once.
- `delivery`, by `end_try` and `redeliver`: one try is counted once.
- `keys`, by all of `keyring` and `insert_key`: an administrator stays, and a label is one group's.
- `latency`, by `put_sketches`: what one has learnt is not written over what another has.
- `sessions` (key), by `open_session`: a key has no more of them than it may.
- `overflow`, by `begin`, `finish` and `remove`: together they take no more room than is given, and what is called whole
  has all its pieces.

A transaction begins along with the first lock that it takes, and what was read ahead (`later.read_ahead`) is forgotten
with each: whatever is decided by is read after it.

No lock is needed by what is one statement that decides and writes: `keep_handle`, `take_over`, `leave`, `come_back`,
`expose`, the sweeping of webhooks, the log of changes.

**Hot rows** (balances, days of usage and of spending) are wanted by every transaction. They are only ever added to, so
`add_late` keeps the sums until just before the commit and writes them in one order: two transactions wait for each
other there no longer than a commit takes, and never in a circle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol, cast

from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("locking")


class Hot(Enum):
    """Rows that every transaction adds to, in the order in which they are written; with the columns that name one."""

    SPEND = ("owner", "day", "currency")
    ACCOUNT = ("account",)
    USAGE = ("day", "key_id", "model", "tier", "upstream", "outcome", "currency")


class ManyWriters(Protocol):
    """A connection beside which others write."""

    def lock(self, sql: str, values: Mapping[str, Any]) -> None:
        """Take locks, by a statement that does."""

    def add_late(self, hot: Hot, sql: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Add to hot rows, just before the commit."""


def _many(conn: Conn) -> ManyWriters | None:
    return None if isinstance(conn, sqlite3.Connection) else cast(ManyWriters, conn)


def has_one_writer(conn: Conn) -> bool:
    """Whether nobody else writes meanwhile: what was read stays true until the transaction ends."""
    return _many(conn) is None


def lock(conn: Conn, kind: str, *ids: str | bytes | None) -> None:
    """Wait until nobody else changes this; held until the transaction ends.

    Args:
        conn: In a writing transaction.
        kind: One of the locks of the table above.
        ids: What names it, together.
    """
    many = _many(conn)
    if many is not None:
        many.lock(_Q["lock"], {"name": _name(kind, ids)})


def lock_all(conn: Conn, kind: str, ids: Iterable[str]) -> None:
    """Do so for several, in one statement and one order."""
    many = _many(conn)
    if many is not None:
        names = sorted({_name(kind, (each,)) for each in ids})
        if names:
            many.lock(_Q["lock_all"], {"names": names})


def lock_generation_of(conn: Conn, attempt_id: str) -> None:
    """Lock the generation of an attempt; nothing if there is no such attempt."""
    many = _many(conn)
    if many is not None:
        many.lock(_Q["lock_generation_of"], {"attempt_id": attempt_id})


def add_late(conn: Conn, hot: Hot, sql: str, values: Sequence[Mapping[str, Any]]) -> None:
    """Add to hot rows: at once where there is one writer, else just before the commit.

    Args:
        conn: In a writing transaction, which does not read these rows after this.
        hot: Which.
        sql: Adds one set of values to one row, which it makes if it is not there.
        values: Columns of `hot`, and what is added to the others.
    """
    many = _many(conn)
    if many is None:
        conn.executemany(sql, values)
    else:
        many.add_late(hot, sql, values)


def _name(kind: str, ids: Sequence[str | bytes | None]) -> str:
    return "\x1f".join((kind, *(each.hex() if isinstance(each, bytes) else each or "" for each in ids)))
