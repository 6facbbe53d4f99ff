"""A transaction that asks as seldom as it can: how often, and that nothing of it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from holdfast.policy.joining import Claim
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.generations import accept, get_record
from holdfast.store.joining import Entering, enter
from holdfast.store.later import change_one, insert_for_id, read_ahead
from holdfast.store.locking import Hot, add_late, lock
from holdfast.store.postgres import conn as module
from holdfast.store.postgres.store import Options, PostgresStore

from .test_store_postgres_many import a_new, an_attempt, an_image

META = "INSERT INTO meta (name, value) VALUES (:name, :value)"
CHANGE = "UPDATE meta SET value = :value WHERE name = :name"
READ = "SELECT value FROM meta WHERE name = :name"
TXN = (
    "INSERT INTO ledger_txn (kind, generation_id, drive, attempt_id, at) "
    "VALUES (:kind, 'gen_1', 0, '', 'now') RETURNING id"
)
ENTRY = "INSERT INTO ledger_entry (txn_id, account, micros) VALUES (:txn_id, :account, :micros)"
ACCOUNT = (
    "INSERT INTO account (id, balance) VALUES (:account, :micros) "
    "ON CONFLICT (id) DO UPDATE SET balance = account.balance + excluded.balance"
)


@pytest.fixture
def store(postgres_dsn: str) -> Iterator[PostgresStore]:
    """One store with one connection."""
    made = PostgresStore(postgres_dsn, "me", Options(connections=1, wait_s=5.0))
    yield made
    made.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is sent, as it is sent."""
    sent: list[str] = []
    fetch, many, plain = (
        module.PreparedStatement.fetch,
        module.PreparedStatement.executemany,
        asyncpg.Connection.execute,
    )

    async def fetched(self: Any, *args: Any, **about: Any) -> Any:
        sent.append(self.get_query())
        return await fetch(self, *args, **about)

    async def done_many(self: Any, *args: Any, **about: Any) -> Any:
        sent.append(self.get_query())
        return await many(self, *args, **about)

    async def executed(self: Any, query: str, *args: Any, **about: Any) -> Any:
        sent.append(query)
        return await plain(self, query, *args, **about)

    monkeypatch.setattr(module.PreparedStatement, "fetch", fetched)
    monkeypatch.setattr(module.PreparedStatement, "executemany", done_many)
    monkeypatch.setattr(asyncpg.Connection, "execute", executed)
    return sent


def of(trips: list[str], function: Any, store: PostgresStore, *args: Any) -> tuple[Any, list[str]]:
    """What a write gives, and the first words of what it sends."""
    trips.clear()
    value = store.write_sync(function, *args)
    return value, [" ".join(each.split()[:2]) for each in trips]


def test_what_nobody_asks_for_goes_as_one(store: PostgresStore, trips: list[str]) -> None:
    """Begin, all of it, commit."""

    def function(conn: Any) -> None:
        for name in ("a", "b", "c"):
            conn.execute(META, {"name": name, "value": "1"})
        conn.execute(ACCOUNT, {"account": "x", "micros": 5})

    _, sent = of(trips, function, store)
    assert sent == ["BEGIN ISOLATION", "WITH w0", "COMMIT"]
    assert [store.write_sync(value_of, name) for name in ("a", "b", "c")] == ["1"] * 3


def value_of(conn: Any, name: str) -> Any:
    """Read one value."""
    row = conn.execute(READ, {"name": name}).fetchone()
    return None if row is None else row["value"]


def test_whoever_reads_sees_what_was_written_before(store: PostgresStore, trips: list[str]) -> None:
    """What is kept is asked before anything that may see it."""

    def function(conn: Any) -> list[Any]:
        conn.execute(META, {"name": "a", "value": "1"})
        first = value_of(conn, "a")
        conn.execute(CHANGE, {"name": "a", "value": "2"})
        conn.execute(CHANGE, {"name": "a", "value": "3"})
        return [first, value_of(conn, "a")]

    value, sent = of(trips, function, store)
    assert value == ["1", "3"]
    assert sent == ["BEGIN ISOLATION", "WITH w0", "SELECT value", "WITH w0", "WITH w0", "SELECT value", "COMMIT"]


def test_what_reads_elsewhere_is_not_waited_for(store: PostgresStore, trips: list[str]) -> None:
    """Another table: what is kept stays so."""

    def function(conn: Any) -> int:
        conn.execute(META, {"name": "a", "value": "1"})
        return len(conn.execute("SELECT * FROM account").fetchall())

    value, sent = of(trips, function, store)
    assert value == 0
    assert sent == ["BEGIN ISOLATION", "SELECT *", "WITH w0", "COMMIT"]


def test_a_lock_begins_the_transaction(store: PostgresStore, trips: list[str]) -> None:
    """One trip for both; a second lock is a trip of its own."""

    def function(conn: Any) -> None:
        lock(conn, "generation", "'; DROP TABLE meta; --")
        lock(conn, "generation", "gen_2")
        conn.execute(META, {"name": "a", "value": "1"})

    _, sent = of(trips, function, store)
    assert sent == ["BEGIN ISOLATION", "--", "WITH w0", "COMMIT"] or sent[0::3] == ["BEGIN ISOLATION", "COMMIT"]
    assert len(sent) == 4
    assert store.write_sync(value_of, "a") == "1"


def test_what_comes_first_may_go_with_the_begin(store: PostgresStore, trips: list[str]) -> None:
    """Rows that are changed by text alone; the lock after them goes along too, and whatever reads sees them."""
    store.write_sync(lambda conn: conn.executemany(META, [{"name": name, "value": "1"} for name in ("a'b", "c")]))

    def function(conn: Any) -> list[Any]:
        conn.executemany(CHANGE, [{"name": name, "value": "'; DROP TABLE meta; --"} for name in ("a'b", "c")])
        lock(conn, "generation", "gen_1")
        return [value_of(conn, "a'b"), value_of(conn, "c")]

    value, sent = of(trips, function, store)
    assert value == ["'; DROP TABLE meta; --"] * 2
    assert sent[:2] == ["BEGIN ISOLATION", "SELECT value"]
    assert len(sent) == 4, "two readings, and the commit"


def test_what_goes_with_the_begin_alone_is_written(store: PostgresStore, trips: list[str]) -> None:
    """Nothing else is asked; the commit is made, and what became of it can be asked for."""
    store.write_sync(lambda conn: conn.execute(META, {"name": "a", "value": "1"}).rowcount)
    _, sent = of(trips, lambda conn: conn.executemany(CHANGE, [{"name": "a", "value": "2"}]), store)
    assert (sent[0], sent[-1]) == ("BEGIN ISOLATION", "COMMIT")
    assert store.write_sync(value_of, "a") == "2"


def test_nothing_asked_is_nothing_sent(store: PostgresStore, trips: list[str]) -> None:
    """No transaction is begun for it."""
    value, sent = of(trips, lambda conn: 7, store)
    assert (value, sent) == (7, [])


def test_rows_that_were_changed_are_counted_where_somebody_asks(store: PostgresStore) -> None:
    """Of that statement, whatever else goes along."""

    def function(conn: Any) -> list[int]:
        conn.execute(META, {"name": "a", "value": "1"})
        conn.execute(META, {"name": "b", "value": "1"})
        done = conn.execute("UPDATE meta SET value = '2' WHERE name IN ('a', 'b')").rowcount
        return [done, conn.execute(CHANGE, {"name": "z", "value": "1"}).rowcount]

    assert store.write_sync(function) == [2, 0]


def test_who_asks_too_late_is_told(store: PostgresStore) -> None:
    """Nothing was counted then, and a wrong number would be worse."""

    def function(conn: Any) -> int:
        kept = conn.execute(META, {"name": "a", "value": "1"})
        value_of(conn, "a")
        return int(kept.rowcount)

    with pytest.raises(AssertionError, match="before anything else"):
        store.write_sync(function)
    assert store.write_sync(value_of, "a") is None


def test_an_id_is_named_before_it_is_known(store: PostgresStore, trips: list[str]) -> None:
    """Transactions of the ledger and their lines, in one statement; ids ascend as they were asked for."""

    def function(conn: Any) -> None:
        ids = [insert_for_id(conn, TXN, {"kind": kind}) for kind in ("hold", "capture", "compensate")]
        for id_, micros in zip(ids, (1, 2, 3), strict=True):
            conn.executemany(ENTRY, [{"txn_id": id_, "account": name, "micros": micros} for name in ("x", "y")])

    _, sent = of(trips, function, store)
    assert sent == ["BEGIN ISOLATION", "WITH w0", "COMMIT"]
    rows = store.write_sync(
        lambda conn: conn.execute(
            "SELECT kind, micros FROM ledger_txn JOIN ledger_entry ON txn_id = ledger_txn.id ORDER BY txn_id, rowid"
        ).fetchall()
    )
    assert [tuple(row) for row in rows] == [("hold", 1)] * 2 + [("capture", 2)] * 2 + [("compensate", 3)] * 2


def test_an_id_that_is_known_is_a_value(store: PostgresStore) -> None:
    """It was asked for in between, for another reason."""

    def function(conn: Any) -> int:
        id_ = insert_for_id(conn, TXN, {"kind": "hold"})
        assert conn.execute("SELECT count(*) FROM ledger_txn").fetchone()[0] == 1
        conn.execute(ENTRY, {"txn_id": id_, "account": "x", "micros": 1})
        return int(conn.execute("SELECT count(*) FROM ledger_entry JOIN ledger_txn ON id = txn_id").fetchone()[0])

    assert store.write_sync(function) == 1


def test_what_must_be_there_is_looked_at_before_the_commit(store: PostgresStore) -> None:
    """Nothing of the transaction is left, where it was not."""

    def function(conn: Any, name: str) -> None:
        conn.execute(ACCOUNT, {"account": name, "micros": 1})
        change_one(conn, CHANGE, {"name": name, "value": "2"}, "it was read")

    store.write_sync(lambda conn: conn.execute(META, {"name": "a", "value": "1"}).rowcount)
    store.write_sync(function, "a")
    with pytest.raises(AssertionError, match="it was read"):
        store.write_sync(function, "b")
    accounts = store.write_sync(lambda conn: [row["id"] for row in conn.execute("SELECT id FROM account")])
    assert accounts == ["a"]


def test_many_rows_that_only_add_are_one_statement(store: PostgresStore, trips: list[str]) -> None:
    """Up to a number; more are asked row by row, in one trip."""

    def function(conn: Any, count: int) -> None:
        conn.executemany(META, [{"name": f"{count}-{number}", "value": "1"} for number in range(count)])

    assert of(trips, function, store, 5)[1] == ["BEGIN ISOLATION", "WITH w0", "COMMIT"]
    assert "VALUES ($1, $2), ($3, $4)" in trips[1]
    assert of(trips, function, store, 40)[1][:2] == ["BEGIN ISOLATION", "INSERT INTO"]
    count = store.write_sync(lambda conn: conn.execute("SELECT count(*) FROM meta WHERE name LIKE '%-%'").fetchone()[0])
    assert count == 45


def test_one_row_may_be_changed_twice_by_many(store: PostgresStore) -> None:
    """One statement would change it once: they are asked one after the other."""

    def function(conn: Any) -> None:
        conn.executemany(ACCOUNT, [{"account": "x", "micros": micros} for micros in (1, 2, 3)])

    store.write_sync(function)
    assert store.write_sync(lambda conn: conn.execute("SELECT balance FROM account").fetchone()[0]) == 6


def test_hot_rows_go_along_with_the_last_of_it(store: PostgresStore, trips: list[str]) -> None:
    """More than fit into one statement are several, in the same order."""

    def function(conn: Any) -> None:
        conn.execute(META, {"name": "a", "value": "1"})
        for number in range(20):
            add_late(conn, Hot.ACCOUNT, ACCOUNT, [{"account": f"x{number:02}", "micros": 1}] * 2)

    _, sent = of(trips, function, store)
    assert sent == ["BEGIN ISOLATION", "WITH w0", "WITH w0", "COMMIT"]
    assert store.write_sync(lambda conn: conn.execute("SELECT sum(balance) FROM account").fetchone()[0]) == 40


def test_a_refusal_leaves_nothing(store: PostgresStore) -> None:
    """It comes with the commit at the latest, and is the statement's own."""

    def function(conn: Any) -> None:
        conn.execute(ACCOUNT, {"account": "x", "micros": 1})
        conn.execute(META, {"name": "a", "value": "1"})
        conn.execute(META, {"name": "a", "value": "2"})

    with pytest.raises(asyncpg.UniqueViolationError):
        store.write_sync(function)
    assert store.write_sync(lambda conn: conn.execute("SELECT * FROM account").fetchall()) == []


async def test_who_only_reads_writes_nothing(store: PostgresStore) -> None:
    """Kept or not, it is refused."""
    with pytest.raises(Exception, match="read-only"):
        await store.read(lambda conn: conn.execute(META, {"name": "a", "value": "1"}) and None)


def test_a_generation_costs_few_trips(store: PostgresStore, trips: list[str]) -> None:
    """The three commits of one that ends at its first attempt: whoever adds a trip to them knows of it."""
    counts = [
        len(of(trips, accept, store, a_new("gen_1"))[1]),
        len(of(trips, begin_attempt, store, an_attempt("att_1", "gen_1"))[1]),
        len(of(trips, end_attempt, store, replace(an_image("att_1"), generation_id="gen_1", key_id="key_1"))[1]),
    ]
    assert counts == [4, 4, 4]
    record = store.write_sync(get_record, "gen_1")
    assert record is not None
    assert record.generation.state == "succeeded"


def test_a_post_that_repeats_nothing_costs_four(store: PostgresStore, trips: list[str]) -> None:
    """Its lock, all that it looks for, all that it writes, and the commit."""
    new = replace(a_new("gen_1"), fingerprint=b"f", fingerprint_version=1)
    claim = Claim(idempotency_key=None, by_fingerprint=True, says_retry=False)
    entered, sent = of(trips, enter, store, Entering(new=new, claim=claim))
    assert entered.generation_id == "gen_1"
    assert len(sent) == 4


def read_both(conn: Any, name: str) -> None:
    """Say that a value, and something of another table, are going to be read."""
    read_ahead(conn, (READ, {"name": name}), ("SELECT count(*) AS many FROM account", {}))


def test_what_is_read_together_is_asked_once(store: PostgresStore, trips: list[str]) -> None:
    """Each by its names and places, as if it had been asked by itself."""
    store.write_sync(lambda conn: conn.execute(META, {"name": "a", "value": "1"}).rowcount)

    def function(conn: Any) -> Any:
        read_both(conn, "a")
        value = value_of(conn, "a")
        (row,) = conn.execute("SELECT count(*) AS many FROM account")
        return value, row["many"], row[0], tuple(row.keys()), dict(row)

    value, sent = of(trips, function, store)
    assert value == ("1", 0, 0, ("many",), {"many": 0})
    assert sent == ["BEGIN ISOLATION", "SELECT ARRAY(SELECT", "COMMIT"]


def test_it_is_given_once_and_only_for_the_same_values(store: PostgresStore, trips: list[str]) -> None:
    """All else is asked."""

    def function(conn: Any) -> list[Any]:
        read_both(conn, "a")
        return [value_of(conn, "b"), value_of(conn, "a"), value_of(conn, "a")]

    value, sent = of(trips, function, store)
    assert value == [None] * 3
    assert sent == ["BEGIN ISOLATION", "SELECT ARRAY(SELECT", "SELECT value", "SELECT value", "COMMIT"]


@pytest.mark.parametrize("how", ["one", "many", "raw"])
def test_what_is_written_after_it_was_read_ahead_is_read_anew(store: PostgresStore, how: str) -> None:
    """By one statement, for many rows, or by somebody else in the same transaction."""

    def function(conn: Any) -> Any:
        conn.execute(META, {"name": "a", "value": "1"})
        read_both(conn, "a")
        if how == "one":
            conn.execute(CHANGE, {"name": "a", "value": "2"})
        elif how == "many":
            conn.executemany(CHANGE, [{"name": name, "value": "2"} for name in ("a", "b")])
        else:
            conn.raw(lambda raw: raw.execute("UPDATE meta SET value = '2' WHERE name = 'a'"))
        return value_of(conn, "a")

    assert store.write_sync(function) == "2"


async def test_what_was_read_before_a_lock_is_read_anew(postgres_dsn: str) -> None:
    """It may have been changed by whoever had the lock before."""
    one, other = (PostgresStore(postgres_dsn, name, Options(connections=1, is_exclusive=False)) for name in "ab")
    await one.write(lambda conn: conn.execute(META, {"name": "a", "value": "1"}).rowcount)

    def function(conn: Any) -> Any:
        read_both(conn, "a")
        other.write_sync(lambda its: its.execute(CHANGE, {"name": "a", "value": "2"}).rowcount)
        lock(conn, "generation", "gen_1")
        return value_of(conn, "a")

    assert await one.write(function) == "2"
    one.close()
    other.close()


def test_a_column_that_comes_meanwhile_moves_no_name(store: PostgresStore) -> None:
    """A newer release adds one while this one runs: what was prepared for the older table is thrown away."""

    def function(conn: Any) -> dict[str, Any]:
        read_ahead(conn, ("SELECT meta.*, 7 AS more FROM meta WHERE name = :name", {"name": "a"}))
        (row,) = conn.execute("SELECT meta.*, 7 AS more FROM meta WHERE name = :name", {"name": "a"})
        return dict(row)

    store.write_sync(lambda conn: conn.execute(META, {"name": "a", "value": "1"}).rowcount)
    assert store.write_sync(function) == {"name": "a", "value": "1", "more": 7}
    store.write_sync(lambda conn: conn.raw(lambda raw: raw.execute("ALTER TABLE meta ADD COLUMN note text")))
    assert store.write_sync(function) == {"name": "a", "value": "1", "note": None, "more": 7}
    store.write_sync(lambda conn: conn.raw(lambda raw: raw.execute("ALTER TABLE meta DROP COLUMN note")))
    assert store.write_sync(function) == {"name": "a", "value": "1", "more": 7}
