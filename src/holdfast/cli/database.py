"""Which database a command looks into: the one that the settings name, or the data folder's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.config import Settings


def dsn_of(settings: Settings) -> str | None:
    """Give the address of the PostgreSQL; None: rows are in the data folder.

    Raises:
        ConfigError: It is in a variable that is not set, or what speaks to it is not installed.
    """
    from holdfast.config import database_of
    from holdfast.store.opening import check_installed

    dsn = database_of(settings.store, os.environ)
    if dsn is not None:
        check_installed()
    return dsn
