"""What an error of the database means: whether it is worth trying again, and how it is told. Pure."""

from __future__ import annotations

from enum import Enum

import asyncpg

from holdfast.errors import StorageError


class Trouble(Enum):
    """What to do about an error."""

    LOST = "lost"
    """The connection is gone, or there is none: with another one, again."""
    AGAIN = "again"
    """Two transactions were in each other's way, or a statement was prepared for older tables: again."""
    BROKEN = "broken"
    """The server cannot write or read."""
    NONE = "none"
    """The function's own, or its statement's."""


_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    # A standby, after the primary has moved.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
)
_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.QueryCanceledError,
)
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.DiskFullError, "full"),
    (asyncpg.ReadOnlySQLTransactionError, "read_only"),
    (asyncpg.InsufficientResourcesError, "broken"),
    (asyncpg.PostgresSystemError, "broken"),
    (asyncpg.DataCorruptedError, "broken"),
    (asyncpg.IndexCorruptedError, "broken"),
)


def trouble_of(error: BaseException, *, is_closed: bool = False) -> Trouble:
    """Judge an error that a connection gave.

    Args:
        error: What was raised.
        is_closed: The connection is closed by now: then whatever was said of it is said because of that.
    """
    if isinstance(error, _LOST) or (is_closed and isinstance(error, asyncpg.InterfaceError | OSError)):
        return Trouble.LOST
    if isinstance(error, _AGAIN):
        return Trouble.AGAIN
    if isinstance(error, tuple(kind for kind, _ in _REASONS)):
        return Trouble.BROKEN
    return Trouble.NONE


def told(error: BaseException, reason: str | None = None) -> StorageError:
    """Say it as every store does; no address, no user and no password is in it."""
    if reason is None:
        reason = next((word for kind, word in _REASONS if isinstance(error, kind)), "away")
    words = str(error) or type(error).__name__
    return StorageError(f"The database could not be used: {words}.", reason=reason)
