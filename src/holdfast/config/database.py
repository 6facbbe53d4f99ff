"""Where rows are kept: in the data folder, or in a PostgreSQL. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from holdfast.config.tree import Store
from holdfast.errors import ConfigError

EMBEDDED = "sqlite"
_SCHEMES = ("postgresql", "postgres")
_KEY = "store.database"
_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")


def check_database(store: Store) -> None:
    """See that it is one of the ways of writing it; what stands in the environment is seen at the start.

    Raises:
        ConfigError: It is none of them.
    """
    if store.database != EMBEDDED and _ENV.fullmatch(store.database) is None:
        _check_dsn(store.database, _KEY)


def database_of(store: Store, environ: Mapping[str, str]) -> str | None:
    """Give the address of the PostgreSQL, password included; None: rows are kept in the data folder.

    Raises:
        ConfigError: A variable is not set, or holds no such address. Neither it nor a part of it is in the message.
    """
    if store.database == EMBEDDED:
        return None
    name = store.database.removeprefix("env:") if _ENV.fullmatch(store.database) else None
    if name is None:
        return store.database
    dsn = environ.get(name, "").strip()
    if not dsn:
        raise ConfigError(f"{_KEY}: the environment variable {name} is not set; export it, then start again.", key=_KEY)
    if dsn == EMBEDDED:
        return None
    _check_dsn(dsn, f"{_KEY}: the environment variable {name}")
    return dsn


def shown_address(dsn: str) -> str:
    """Give what may be shown of an address: neither user nor password, nor options."""
    parts = urlsplit(dsn)
    host = parts.hostname or "its socket"
    port = f":{parts.port}" if parts.port else ""
    return f"{host}{port}{parts.path}"


def _check_dsn(dsn: str, what: str) -> None:
    scheme, separator, rest = dsn.partition("://")
    try:
        is_address = scheme in _SCHEMES and bool(separator) and bool(rest) and urlsplit(dsn).port is not False
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigError(
            f'{what} must be "{EMBEDDED}", or the address of a PostgreSQL such as "postgresql://user@host/holdfast", '
            'or "env:NAME" of a variable that holds one. In a password, / is written as %2F, and @ as %40.',
            key=_KEY,
        )
