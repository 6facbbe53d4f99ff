"""SQL lives in files: each query has one name, a use, and the parameters that its users give."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import holdfast.store
from holdfast.store.queries import migrations, queries, schema

STORE = Path(holdfast.store.__file__).parent
SQL = STORE / "sql"
FILES = sorted(
    str(path.relative_to(SQL).with_suffix(""))
    for path in SQL.rglob("*.sql")
    if path.stem != "schema" and path.parent.name != "migrations"
)


def uses() -> set[tuple[str, str]]:
    """Every query that the store's modules look up, as file and name."""
    found: set[tuple[str, str]] = set()
    for path in STORE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        aliases = {
            target.id: node.value.args[0].value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            if ast.unparse(node.value.func) == "queries" and isinstance(node.value.args[0], ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        found |= {
            (aliases[node.value.id], node.slice.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in aliases
            if isinstance(node.slice, ast.Constant)
        }
    return found


@pytest.mark.parametrize("file", FILES)
def test_names_are_given_once_and_name_one_statement(file: str) -> None:
    """A second query of the same name would hide the first; a second statement would never run."""
    text = (STORE / "sql" / f"{file}.sql").read_text("utf-8")
    found = queries(file)
    # What is written otherwise for one engine stands under the same name.
    assert len(found) == len(re.findall(r"^-- name: \w+$", text, re.MULTILINE)) > 0
    for name, query in found.items():
        assert ";" not in re.sub(r"--.*|'(?:[^']|'')*'", "", query), f"{file}.{name} is more than one statement"
        assert query.strip()


def test_every_query_is_used_and_every_use_has_its_query() -> None:
    """No dead SQL, no misspelled name that only a crash would find."""
    assert uses() == {(file, name) for file in FILES for name in queries(file)}


def test_a_query_with_no_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text before the first name belongs to nothing."""

    class Folder:
        def joinpath(self, _: str) -> Folder:
            return self

        def read_text(self, _: str) -> str:
            return "SELECT 1;\n-- name: one\nSELECT 1;\n"

    monkeypatch.setattr("holdfast.store.queries.files", lambda _: Folder())
    with pytest.raises(AssertionError, match="no name"):
        queries.__wrapped__("anything")


def test_queries_take_their_values_by_name() -> None:
    """None is put together from text, none depends on an order."""
    for file in FILES:
        for name, query in queries(file).items():
            assert "?" not in query, f"{file}.{name}"
            assert "{" not in query, f"{file}.{name}"


def test_migrations_are_numbered_without_a_gap() -> None:
    """The schema's version is their count, so a hole would be run twice or never."""
    names = sorted(path.name for path in (STORE / "sql" / "migrations").iterdir())
    assert [re.fullmatch(r"(\d{4})_\w+\.sql", name)[1] for name in names] == [  # type: ignore[index]
        f"{number:04d}" for number in range(1, len(names) + 1)
    ]
    assert len(migrations()) == len(names)


def test_migrations_say_when_they_run_and_leave_transactions_alone() -> None:
    """Before or after the code that needs them; whoever runs them brings the transaction."""
    for step in migrations():
        assert re.search(r"^--.*(before|after) the code", step, re.MULTILINE | re.IGNORECASE)
        assert not re.search(r"\b(BEGIN|COMMIT|ROLLBACK|PRAGMA)\b", re.sub(r"--.*", "", step))


def test_the_schema_keeps_to_what_postgresql_takes() -> None:
    """Only the column types differ there: nothing of SQLite's own is used."""
    text = re.sub(r"--.*", "", schema()).upper()
    for word in ("AUTOINCREMENT", "WITHOUT ROWID", "STRICT", "PRAGMA", "REAL", "DATETIME", "GLOB"):
        assert word not in text
