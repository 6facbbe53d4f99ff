"""SQL lives in files, as named and commented queries; this reads them once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries(file: str) -> dict[str, str]:
    """Give the queries of `sql/<file>.sql` by name."""
    text = files("holdfast.store").joinpath(f"sql/{file}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    assert not parts[0].strip(), f"{file}.sql begins with something that has no name"
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def migrations() -> tuple[str, ...]:
    """Give the migrations, oldest first; the schema's version is their count."""
    folder = files("holdfast.store").joinpath("sql/migrations")
    return tuple(entry.read_text("utf-8") for entry in sorted(folder.iterdir(), key=lambda entry: entry.name))


def schema() -> str:
    """Give the schema as all migrations together make it."""
    return files("holdfast.store").joinpath("sql/schema.sql").read_text("utf-8")
