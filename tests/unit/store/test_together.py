"""Several statements that write, as one: what may go together, and how it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.store.postgres.together import (
    Part,
    Want,
    Write,
    composed,
    is_apart,
    may_be_spelled,
    read_together,
    spelled,
    words_of,
    write_of,
)
from holdfast.store.postgres.translate import statement
from holdfast.store.queries import queries

ADD = "INSERT INTO event (generation_id, sequence_number) VALUES (:id, :number)"
UPSERT = "INSERT INTO account (id, balance) VALUES (:id, :n) ON CONFLICT (id) DO UPDATE SET balance = excluded.balance"
MAKE = "INSERT INTO ledger_txn (kind) VALUES (:kind) RETURNING id"
CHANGE = "UPDATE generation SET state = :state -- a comment, of attempt\nWHERE id = :id AND state <> 'event $1'"
DROP = "DELETE FROM input_ref WHERE generation_id = :id"


def taken(sql: str) -> Write:
    """Take a statement apart that writes."""
    write = write_of(statement(sql))
    assert write is not None
    return write


@pytest.mark.parametrize(("sql", "target", "returning", "only_adds"), [
    (ADD, "event", None, True),
    (UPSERT, "account", None, False),
    (MAKE, "ledger_txn", "id", True),
    (CHANGE, "generation", None, False),
    (DROP, "input_ref", None, False),
    ("INSERT INTO attempt (id) SELECT :id FROM attempt", "attempt", None, False),
    ("UPDATE generation SET n = n + 1 WHERE id = :id RETURNING n", "generation", "n", False),
])  # fmt: skip
def test_what_writes_is_taken_apart(sql: str, target: str, returning: str | None, only_adds: bool) -> None:
    """The table that it changes, and what it gives."""
    write = taken(sql)
    assert (write.target, write.returning, write.only_adds) == (target, returning, only_adds)


@pytest.mark.parametrize("sql", [
    "SELECT * FROM generation",
    "WITH a AS (DELETE FROM event) SELECT 1",
    "UPDATE generation SET n = 1 RETURNING id, n",
    "SELECT pg_advisory_xact_lock(1)",
])  # fmt: skip
def test_what_must_be_asked_by_itself(sql: str) -> None:
    """It reads, or gives more than one value."""
    assert write_of(statement(sql)) is None


def test_every_query_of_ours_that_writes_names_its_table() -> None:
    """As the database would: the word behind the verb."""
    for file in ("generations", "attempts", "ledger", "joining", "budgets", "usage", "retention", "webhooks"):
        for name, sql in queries(file).items():
            write = write_of(statement(sql))
            assert write is None or write.target in sql.lower().split(), name


def test_words_are_those_outside_of_text_and_comments() -> None:
    """What is quoted, or said about a statement, is no table of it."""
    assert {"generation", "state", "id"} <= words_of(CHANGE)
    assert not {"event", "attempt", "comment"} & words_of(CHANGE)


def test_what_touches_other_tables_is_apart() -> None:
    """Before what waits, or along with it."""
    assert is_apart(taken(ADD), taken(MAKE).words, taken(MAKE))
    assert is_apart(taken(ADD), words_of("SELECT * FROM generation WHERE id = :id"))


@pytest.mark.parametrize(("waiting", "other"), [
    (CHANGE, CHANGE),
    (UPSERT, UPSERT),
    (CHANGE, "INSERT INTO attempt (id) SELECT id FROM generation"),
    (DROP, "INSERT INTO input_ref (id) VALUES (:id)"),
])  # fmt: skip
def test_what_touches_the_same_table_is_not(waiting: str, other: str) -> None:
    """It would not see what was written before it."""
    assert not is_apart(taken(waiting), taken(other).words, taken(other))


def test_a_reading_of_the_same_table_is_not_apart() -> None:
    """Whatever it reads of it."""
    assert not is_apart(taken(ADD), words_of("SELECT * FROM generation JOIN event ON id = generation_id"))


def test_two_that_only_add_may_go_together() -> None:
    """Neither looks at a row."""
    assert is_apart(taken(ADD), taken(ADD).words, taken(ADD))


def test_values_are_numbered_through() -> None:
    """In the order of the parts; each gives only what is wanted of it."""
    text = composed((Part(taken(CHANGE), 1, Want.COUNT), Part(taken(ADD), 1, Want.NOTHING)))
    assert text == (
        "WITH w0 AS (UPDATE generation SET state = $1 \nWHERE id = $2 AND state <> 'event $1' RETURNING 1), "
        "w1 AS (INSERT INTO event (generation_id, sequence_number) VALUES ($3, $4)) "
        "SELECT txid_current() AS txid, (SELECT count(*) FROM w0) AS w0"
    )


def test_several_rows_are_one_statement() -> None:
    """What stands behind the values stands once."""
    text = composed((Part(taken(UPSERT), 3, Want.NOTHING),))
    assert "VALUES ($1, $2), ($3, $4), ($5, $6) ON CONFLICT (id) DO UPDATE" in text


def test_an_id_is_named_where_it_is_made() -> None:
    """A value that another part makes is none of those that are given."""
    entry = taken("INSERT INTO ledger_entry (txn_id, account) VALUES (:txn_id, :account)")
    parts = (
        Part(taken(MAKE), 1, Want.VALUE),
        Part(taken(MAKE), 1, Want.VALUE),
        Part(entry, 2, Want.NOTHING, ((0, 0), (2, 1))),
    )
    text = composed(parts)
    assert "VALUES ((SELECT id FROM w0), $3), ((SELECT id FROM w1), $4)" in text
    assert text.endswith("SELECT txid_current() AS txid, (SELECT id FROM w0) AS w0, (SELECT id FROM w1) AS w1")


def test_the_same_parts_are_one_statement() -> None:
    """Each connection prepares it once."""
    parts = (Part(taken(CHANGE), 1, Want.COUNT), Part(taken(ADD), 2, Want.NOTHING))
    again = (Part(taken(CHANGE), 1, Want.COUNT), Part(taken(ADD), 2, Want.NOTHING))
    assert composed(parts) is composed(again)


def test_a_value_behind_the_rows_leaves_one_row() -> None:
    """It would have to be the same for all of them."""
    sql = "INSERT INTO webhook (id) VALUES (:id) ON CONFLICT (id) DO UPDATE SET url = :url"
    assert taken(sql).row is None
    assert taken(UPSERT).row is not None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_text_that_is_spelled_is_never_read(text: str) -> None:
    """Nothing of it stands in the statement but hexadecimal digits, and they are all of it."""
    spelt = spelled(statement("SELECT lock(:name), 'a:b $1'"), [text])
    before, after = "SELECT lock(convert_from(decode('", "', 'hex'), 'UTF8')), 'a:b $1'"
    assert spelt.startswith(before)
    assert spelt.endswith(after)
    assert bytes.fromhex(spelt[len(before) : -len(after)]).decode() == text


@pytest.mark.parametrize(("sql", "may"), [(CHANGE, True), (ADD, False), (DROP, False), (MAKE, False)])
def test_only_changes_go_with_a_begin(sql: str, may: bool) -> None:
    """An `INSERT` goes with what is written later."""
    assert may_be_spelled(statement(sql)) is may


def test_lists_are_spelled_too() -> None:
    """As an array of text."""
    spelt = spelled(statement("SELECT unnest(CAST(:names AS text[]))"), [["a", "b"]])
    assert spelt.count("convert_from(") == 2
    assert "CAST(ARRAY[" in spelt


def test_readings_are_one_row_of_arrays() -> None:
    """Values are numbered through, and a value that stands twice in one of them is given once."""
    first = statement("SELECT a FROM t WHERE a = :a AND b > :b -- :c\nAND c < :a")
    second = statement("SELECT '$1' FROM u WHERE d = :d")
    assert read_together((first, second)) == (
        "SELECT ARRAY(SELECT one FROM (SELECT a FROM t WHERE a = $1 AND b > $2 \nAND c < $1) AS one), "
        "ARRAY(SELECT one FROM (SELECT '$1' FROM u WHERE d = $3) AS one)"
    )
