"""PostgreSQL takes what the files of SQL say: every query, and every table as the embedded database has it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from holdfast.store.postgres.schema import bring_up
from holdfast.store.postgres.store import connect
from holdfast.store.postgres.translate import PRELUDE, schema_of, statement
from holdfast.store.queries import migrations, queries, schema, steps

FILES = sorted(
    entry.name.removesuffix(".sql")
    for entry in files("holdfast.store").joinpath("sql").iterdir()
    # A backup is a copy of the file in a data folder; PostgreSQL has its own.
    if entry.name.endswith(".sql") and entry.name not in ("schema.sql", "backup.sql")
)
FIRST = 15
"""The version with which PostgreSQL came: no database of it is older."""


@pytest.fixture
async def conn(postgres_dsn: str) -> Any:
    """A connection as the store makes them, to a database with our tables."""
    made = await connect(postgres_dsn)
    yield made
    await made.close()


@pytest.mark.parametrize("file", FILES)
async def test_every_query_is_taken(conn: asyncpg.Connection, file: str) -> None:
    """With a type for each of its values, that the tables or the query itself give."""
    for name, sql in queries(file).items():
        wanted = statement(sql)
        prepared = await conn.prepare(wanted.text)
        types = [each.name for each in prepared.get_parameters()]
        assert len(types) == len(wanted.names), name
        assert set(types) <= {"text", "int8", "int4", "bool", "bytea", "float8", "jsonb", "text[]"}, (name, types)


def columns_of_sqlite(conn: sqlite3.Connection) -> dict[tuple[str, str], tuple[str, bool, bool]]:
    """Type, whether it must be there, and whether it is of the primary key, by table and column."""
    tables = [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {}
    for table in tables:
        for _, name, type_, is_needed, _, key in conn.execute(f"PRAGMA table_info({table})"):
            found[table, name] = (type_, bool(is_needed or key), bool(key))
    return found


def indexes_of_sqlite(conn: sqlite3.Connection) -> dict[str, tuple[bool, bool, tuple[str, ...]]]:
    """Whether it is unique, whether it is partial, and the columns, by name."""
    found = {}
    for table in [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]:
        for _, name, is_unique, origin, is_partial in conn.execute(f"PRAGMA index_list({table})"):
            if origin == "c":
                columns = tuple(row[2] for row in conn.execute(f"PRAGMA index_info({name})"))
                found[name] = (bool(is_unique), bool(is_partial), columns)
    return found


TYPES = {"TEXT": "text", "INTEGER": "bigint", "BLOB": "bytea", "DOUBLE PRECISION": "double precision"}
_COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable = 'NO' AS needed, collation_name, EXISTS (
  SELECT 1 FROM information_schema.key_column_usage AS used JOIN information_schema.table_constraints AS made
    ON made.constraint_name = used.constraint_name AND made.constraint_type = 'PRIMARY KEY'
  WHERE used.table_name = columns.table_name AND used.column_name = columns.column_name
) AS is_key
FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'pgqueuer%'
"""
"""Without what replicas add where several share a database, as here others' tests have."""
_INDEXES = """
SELECT relname, indisunique, indpred IS NOT NULL AS partial, ARRAY(
  SELECT attname FROM unnest(indkey) WITH ORDINALITY AS of(number, place)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = of.number ORDER BY place
)::text[] AS columns
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'public' AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)
  AND relname NOT LIKE 'pgqueuer%' AND relname <> 'attempt_in_flight'
"""


async def test_the_tables_are_the_same(conn: asyncpg.Connection) -> None:
    """Column by column; all text is compared by code point, whatever the database's language is."""
    with closing(sqlite3.connect(":memory:")) as embedded:
        embedded.executescript(schema())
        wanted = {name: (TYPES[type_], *rest) for name, (type_, *rest) in columns_of_sqlite(embedded).items()}
    rows = await conn.fetch(_COLUMNS)
    found = {(row["table_name"], row["column_name"]): (*tuple(row)[2:4], row["is_key"]) for row in rows}
    assert found.pop(("ledger_entry", "rowid")) == ("bigint", True, False), "what SQLite's rows have by themselves"
    assert found == wanted
    assert {row["collation_name"] for row in rows if row["data_type"] == "text"} == {"C"}


async def test_the_indexes_are_the_same(conn: asyncpg.Connection) -> None:
    """Name by name: what is found quickly in one is found quickly in the other."""
    with closing(sqlite3.connect(":memory:")) as embedded:
        embedded.executescript(schema())
        wanted = indexes_of_sqlite(embedded)
    found = {
        row["relname"]: (row["indisunique"], row["partial"], tuple(row["columns"]))
        for row in await conn.fetch(_INDEXES)
    }
    assert found == wanted


def as_of(version: int) -> str:
    """The schema that SQLite has after so many steps, as statements."""
    with closing(sqlite3.connect(":memory:")) as embedded:
        for step in migrations()[:version]:
            embedded.executescript(step)
        made = [
            row[0] for row in embedded.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        ]
    # A table that was renamed is written with its name in quotes.
    return "\n;\n".join(re.sub(r'"(\w+)"', r"\1", each) for each in made)


async def shape(conn: asyncpg.Connection) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
    """All that tells two schemas apart."""
    columns = await conn.fetch(_COLUMNS)
    indexes = await conn.fetch(_INDEXES)
    return {tuple(row) for row in columns}, {(*tuple(row)[:3], tuple(row["columns"])) for row in indexes}


async def test_every_later_step_leads_to_the_same_schema(postgres_server: Any, tmp_path: Any) -> None:
    """From the oldest database that there can be, step by step, as from nothing."""
    fresh = await connect(await made(postgres_server, "fresh"))
    await bring_up(fresh)
    grown = await connect(await made(postgres_server, "grown"))
    await grown.execute(PRELUDE + schema_of(as_of(FIRST)))
    await grown.execute(
        "INSERT INTO meta (name, value) VALUES ('schema_version', $1), ('schema_floor', $1)", str(FIRST)
    )
    done = await bring_up(grown, with_after=True)
    assert [step.number for step in done] == [step.number for step in steps()[FIRST:]]
    assert await shape(grown) == await shape(fresh)
    for each in (fresh, grown):
        await each.close()


async def made(server: Any, name: str) -> str:
    """An empty database."""
    raw = await server.connected("postgres")
    await raw.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await raw.execute(f"CREATE DATABASE {name}")
    await raw.close()
    return str(server.dsn(name))
