"""SQL lives in files, as named and commented queries; this reads them once.

A query is written for all engines. Where that cannot be, a variant for one of them stands beside it under the same
name: `-- name: due / postgres`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+(?: / \w+)?)$", re.MULTILINE)
_variants: dict[tuple[str, str], str] = {}


@cache
def queries(file: str) -> dict[str, str]:
    """Give the queries of `sql/<file>.sql` by name; a variant is found by `variant_of`."""
    text = files("holdfast.store").joinpath(f"sql/{file}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    assert not parts[0].strip(), f"{file}.sql begins with something that has no name"
    found = {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    for name in [name for name in found if " / " in name]:
        base, _, engine = name.partition(" / ")
        _variants[found[base], engine] = found.pop(name)
    return found


def variant_of(sql: str, engine: str) -> str:
    """Give a query as it is written for one engine."""
    return _variants.get((sql, engine), sql)


@cache
def migrations() -> tuple[str, ...]:
    """Give the migrations, oldest first; the schema's version is their count."""
    return tuple(each.sql for each in steps())


@dataclass(frozen=True, slots=True)
class Step:
    """One migration."""

    number: int
    name: str
    """Of its file, such as `0015_admin`."""
    sql: str

    @property
    def is_after(self) -> bool:
        """Whether it takes away what the version before needs: then it waits until nothing of that version runs."""
        return "Runs after the code that needs it" in self._words

    @property
    def keeps_older(self) -> bool:
        """Whether the version before goes on beside it."""
        return "an older one goes on beside it" in self._words

    @property
    def _words(self) -> str:
        return " ".join(self.sql.replace("\n--", " ").split())


@cache
def steps() -> tuple[Step, ...]:
    """Give the migrations with what is said of them, oldest first."""
    folder = files("holdfast.store").joinpath("sql/migrations")
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return tuple(
        Step(number, entry.name.removesuffix(".sql"), entry.read_text("utf-8"))
        for number, entry in enumerate(entries, start=1)
    )


def schema() -> str:
    """Give the schema as all migrations together make it."""
    return files("holdfast.store").joinpath("sql/schema.sql").read_text("utf-8")
