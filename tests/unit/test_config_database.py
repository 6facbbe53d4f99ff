"""Where rows are kept: said in one setting, checked by its name, and never shown with its password."""

from __future__ import annotations

import pytest

from holdfast.config import check_database, database_of, parse, shown_address
from holdfast.config.tree import Store
from holdfast.errors import ConfigError

DSN = "postgresql://user:tops3cret@db.internal:5432/holdfast?sslmode=require"


@pytest.mark.parametrize("database", ["sqlite", DSN, "postgres://db/holdfast", "env:HOLDFAST_DSN", "postgresql:///x"])
def test_ways_of_writing_it(database: str) -> None:
    """The data folder, an address, or a variable."""
    check_database(Store(database=database))


@pytest.mark.parametrize(
    "database",
    ["", "postgres", "mysql://db/x", "postgresql:", "postgresql://", "env:", "env:A B", "postgresql://db:port/x"],
)
def test_what_is_none_of_them_is_refused(database: str) -> None:
    """At the start, with the setting and what to write."""
    with pytest.raises(ConfigError, match=r'store\.database must be "sqlite", or the address') as told:
        parse({"store": {"database": database}})
    assert told.value.key == "store.database"


def test_what_was_written_is_not_repeated() -> None:
    """It may be a secret that is spelled wrongly."""
    with pytest.raises(ConfigError) as told:
        parse({"store": {"database": "postgresq://user:tops3cret@db/x"}})
    assert "tops3cret" not in str(told.value)


def test_an_address_is_read_where_it_stands() -> None:
    """None is the data folder; a variable may say that too."""
    assert database_of(Store(), {}) is None
    assert database_of(Store(database=DSN), {}) == DSN
    assert database_of(Store(database="env:D"), {"D": f" {DSN}\n"}) == DSN
    assert database_of(Store(database="env:D"), {"D": "sqlite"}) is None


@pytest.mark.parametrize("value", [None, "", " ", "mysql://user:tops3cret@db/x"])
def test_a_variable_that_holds_no_address_is_told(value: str | None) -> None:
    """By its name, and without what is in it."""
    environ = {} if value is None else {"D": value}
    with pytest.raises(ConfigError, match="the environment variable D") as told:
        database_of(Store(database="env:D"), environ)
    assert "tops3cret" not in str(told.value)


def test_a_password_is_not_shown() -> None:
    """Neither in what is shown of an address nor in the settings as a whole."""
    assert shown_address(DSN) == "db.internal:5432/holdfast"
    assert shown_address("postgresql:///holdfast?host=/run") == "its socket/holdfast"
    assert "tops3cret" not in repr(parse({"store": {"database": DSN}}))
