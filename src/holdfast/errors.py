"""The exceptions that cross the public boundary, each carrying what its reader needs as attributes.

    HoldfastError
    ├─ ConfigError          the operator's settings; raised at start, never later
    ├─ RequestError         the caller asked for something impossible; nothing was sent, nothing paid
    │  └─ AuthenticationError the API key is missing, wrong, revoked, or may not do this
    ├─ GenerationError      no image; `failure` tells the story
    │  ├─ Refused           the upstream declined the content
    │  ├─ DeadlineExceeded  the time given was not enough
    │  ├─ Overloaded        too much is asked of it at this moment; nothing was paid
    │  └─ UpstreamsExhausted every upstream of the route failed
    ├─ InsufficientFunds    the hold could not be placed
    ├─ StorageError         the data folder cannot be used: locked, full, read-only
    └─ TransportError       the server's answer did not arrive (client library)
       ├─ Unavailable       it could not be reached, or what answers there is no image API
       └─ TimedOut          it said nothing for as long as it was given

Every exception of the client library carries `idempotency_key`, `generation_id` and `paid`: what was asked for is
collected with them, and never bought twice.

Inside the system a failure is data (`holdfast.types.Failure`), never one of these.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from holdfast.types import Charge, Failure


class HoldfastError(Exception):
    """The root of every exception that holdfast raises on purpose."""

    idempotency_key: str | None = None
    """Client library: the key of the logical call. The same call made with it joins what was asked for."""
    generation_id: str | None = None
    """The generation that it is about, where there is one of this caller's."""
    paid: Charge | None = None
    """Client library: what an upstream may have charged; None for an error that is about no call."""
    code: str | None = None
    """A code of `wire.failures.CODES`, where one fits."""
    status: int | None = None
    """HTTP status of the answer that told it."""
    retry_after_s: float | None = None
    """When to come back, seconds from the moment it was raised, where the server said so."""


class ConfigError(HoldfastError):
    """A setting is unknown, malformed or contradicts another one."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        """Dotted name of the setting, `server.port`, when one is to blame."""


class RequestError(HoldfastError):
    """The caller asked for something impossible; nothing was sent upstream and nothing is held."""

    code: str
    status: int

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_request",
        status: int = 400,
        param: str | None = None,
        retry_after_s: float | None = None,
        generation_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """What went wrong and what to do, safe to show to the caller."""
        self.code = code
        """A code of `wire.failures.CODES`."""
        self.status = status
        self.param = param
        """The field to blame, in the caller's own spelling."""
        self.retry_after_s = retry_after_s
        self.generation_id = generation_id
        """The generation that it is about, where there is one of this caller's."""


class AuthenticationError(RequestError):
    """The API key is missing, wrong, revoked, or may not do this."""


class GenerationError(HoldfastError):
    """A generation ended without an image."""

    def __init__(self, message: str, *, failure: Failure | None = None, generation_id: str | None = None) -> None:
        super().__init__(message)
        self.failure = failure
        self.generation_id = generation_id


class Refused(GenerationError):
    """The upstream declined the content."""


class DeadlineExceeded(GenerationError):
    """The time given was not enough."""


class Overloaded(GenerationError):
    """Too much is asked of the server or its upstreams at this moment; nothing was paid."""


class UpstreamsExhausted(GenerationError):
    """Every upstream of the route failed."""


class InsufficientFunds(HoldfastError):
    """The hold could not be placed."""


class StorageError(HoldfastError):
    """The data folder, or the database, cannot be used."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """One of `locked`, `full`, `read_only`, `network_file_system`, `owner_changed`, `newer_schema`, `other_schema`,
        `closed`, `overloaded`, `broken`, `missing`; of a PostgreSQL also `away`, `refused`, `not_empty`, and `unknown`:
        the answer to a commit was lost, and nobody could be asked whether it was made."""


def failure_of(work: Callable[..., object], *arguments: object) -> OSError | None:
    """Do something on the disk; tell what went wrong with it, None if nothing did. For work on several, of which one
    may fail alone.
    """
    try:
        work(*arguments)
    except OSError as exc:
        return exc
    return None


def is_disk_full(error: OSError) -> bool:
    """Whether room is all that is missing: then a second try is no risk, which it is after a failed fsync."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class TransportError(HoldfastError):
    """The server's answer did not arrive."""

    def __init__(self, message: str, *, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.failure = failure


class Unavailable(TransportError):
    """The server could not be reached, or what answers there is no image API."""


class TimedOut(TransportError):
    """The server said nothing for as long as it was given."""
