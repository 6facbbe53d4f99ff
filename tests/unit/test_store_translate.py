"""What PostgreSQL wants written otherwise, and what a query's file says of variants. Pure."""

from __future__ import annotations

import pytest

from holdfast.store.postgres.conn import _count, _order
from holdfast.store.postgres.translate import schema_of, statement
from holdfast.store.queries import Step, queries, steps, variant_of


def test_names_become_numbers_each_once() -> None:
    """In the order in which they occur; more values may be given than a statement names."""
    made = statement("UPDATE t SET a = :a, b = :b WHERE id = :id AND (:a > 1 OR c = :id)")
    assert made.text == "UPDATE t SET a = $1, b = $2 WHERE id = $3 AND ($1 > 1 OR c = $3)"
    assert made.values({"id": 3, "a": 1, "b": 2, "more": 4}) == [1, 2, 3]
    with pytest.raises(KeyError):
        made.values({"a": 1})


@pytest.mark.parametrize(
    "text", ["SELECT ':a'", 'SELECT ":a"', "SELECT '''' || ':a'", "SELECT x::text", "-- :a\nSELECT 1"]
)
def test_what_is_no_parameter_stays(text: str) -> None:
    """A colon stands in texts, quoted names, comments and casts too."""
    assert statement(text) == (text, ())


def test_tables_get_their_types() -> None:
    """Text is compared by its bytes; a number that the database gives is counted up; comments go, texts stay."""
    made = schema_of(
        "CREATE TABLE blob (\n  id INTEGER PRIMARY KEY, -- TEXT of it, BLOB's\n  n INTEGER DEFAULT 0,\n"
        "  a TEXT DEFAULT '-- INTEGER',\n  b BLOB\n);"
    )
    assert made.split() == [
        "CREATE",
        "TABLE",
        "blob",
        "(",
        "id",
        "BIGINT",
        "GENERATED",
        "BY",
        "DEFAULT",
        "AS",
        "IDENTITY",
        "PRIMARY",
        "KEY,",
        "n",
        "BIGINT",
        "DEFAULT",
        "0,",
        "a",
        "TEXT",
        "COLLATE",
        '"C"',
        "DEFAULT",
        "'--",
        "BIGINT',",
        "b",
        "BYTEA",
        ");",
    ]
    assert "rowid BIGINT" in schema_of("CREATE TABLE ledger_entry (\n  txn_id INTEGER\n);")


def test_a_variant_stands_beside_its_query() -> None:
    """It is no query of its own, and is found by the text of the one that it stands for."""
    found = queries("webhooks")
    assert not [name for name in found if "/" in name]
    assert "LATERAL" in variant_of(found["due"], "postgres")
    assert variant_of(found["due"], "sqlite") == found["due"]
    assert variant_of(found["next_due"], "postgres") == found["next_due"]


def test_a_step_says_when_it_runs_and_who_goes_on_beside_it() -> None:
    """In its comment, over as many lines as it takes."""
    (admin,) = [step for step in steps() if step.name == "0015_admin"]
    assert (admin.number, admin.is_after, admin.keeps_older) == (15, False, True)
    (keys,) = [step for step in steps() if step.name == "0012_keys"]
    assert not keys.keeps_older
    assert Step(9, "x", "-- Away with it. Runs after the\n-- code that needs it.\nDROP TABLE x;").is_after
    assert [step.number for step in steps()] == list(range(1, len(steps()) + 1))


def test_what_a_statement_did_is_read_from_its_tag() -> None:
    """Rows that were changed; none where it changes nothing."""
    assert [_count(tag) for tag in ("UPDATE 3", "INSERT 0 1", "DELETE 0", "SELECT 12", "BEGIN")] == [3, 1, 0, 12, -1]


def test_what_is_added_last_has_one_order() -> None:
    """A key's rows before its group's, as a hold is counted; else by name."""
    rows = [("group:a", "1"), ("key:z", "1"), ("key:b", "2"), ("held",)]
    assert sorted(rows, key=_order) == [("held",), ("key:b", "2"), ("key:z", "1"), ("group:a", "1")]
