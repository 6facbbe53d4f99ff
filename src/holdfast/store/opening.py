"""Which store a gateway has: the embedded one in its data folder, or a PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.config import Store as StoreSettings
from holdfast.errors import ConfigError
from holdfast.store.port import Store
from holdfast.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from holdfast.store.postgres.store import Options


def open_store(path: Path, owner: str, dsn: str | None, settings: StoreSettings) -> Store:
    """Open the database, bring its schema to this version, and take it over.

    Args:
        path: Of the embedded database.
        owner: Of this process.
        dsn: Of the PostgreSQL, as `config.database_of` gives it; None: the embedded one.
        settings: How many connections, and how long is waited for it.

    Raises:
        ConfigError: What PostgreSQL needs is not installed.
        StorageError: It cannot be reached or used, a newer holdfast has changed it, or another process owns it.
    """
    if dsn is None:
        return SqliteStore(path, owner)
    check_installed()
    from holdfast.store.postgres.store import PostgresStore

    return PostgresStore(dsn, owner, options_of(settings))


def open_beside(path: Path, owner: str, dsn: str | None) -> Store:
    """Open the database for a change by hand: in a folder that is held, or a PostgreSQL, whoever else has that.

    Raises:
        ConfigError: What PostgreSQL needs is not installed.
        StorageError: It cannot be reached or used, or a newer holdfast has changed it.
    """
    if dsn is None:
        return SqliteStore(path, owner)
    check_installed()
    from holdfast.store.postgres.store import Options, PostgresStore

    return PostgresStore(dsn, owner, Options(connections=1, is_exclusive=False))


def options_of(settings: StoreSettings) -> Options:
    """How a PostgreSQL is used, by the settings."""
    from holdfast.store.postgres.store import Options

    # Several processes may have it: jobs have leases, and each generation an owner (`store.postgres.dispatcher`).
    return Options(connections=settings.database_connections, wait_s=settings.database_wait_s, is_exclusive=False)


def check_installed() -> None:
    """See that what PostgreSQL needs is there: it is an extra.

    Raises:
        ConfigError: It is not.
    """
    try:
        import asyncpg
        import greenlet
        import pgqueuer
    except ImportError as exc:
        raise ConfigError(
            "store.database names a PostgreSQL, and what speaks to it is not installed: "
            "pip install 'holdfast[postgres]', or set store.database to \"sqlite\".",
            key="store.database",
        ) from exc
    assert asyncpg and greenlet and pgqueuer
