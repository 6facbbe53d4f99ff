"""Exit codes, and what each way of failing is told as: one line that says what to do, never a traceback."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from holdfast.errors import ConfigError, HoldfastError, RequestError, StorageError, TransportError
from holdfast.transport.exchange import NotSent


class Exit(IntEnum):
    """What a command's end means to a script; the values never change."""

    OK = 0
    GENERATION_FAILED = 1
    USAGE = 2
    SETTINGS = 3
    PORT_TAKEN = 4
    FOLDER_LOCKED = 5
    KEY_WRONG = 6
    NO_SUCH_MODEL = 7
    UNREACHABLE = 8
    DISK_FULL = 9
    REFUSED = 10
    PARTLY_FAILED = 11
    INTERRUPTED = 130


DATABASE_AWAY = (
    " Is the PostgreSQL of store.database running, can it be reached from here, and are user and password right?"
)

MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done",
    Exit.GENERATION_FAILED: "the generation failed; the message says whether it may have been charged; of "
    "`ledger check`: the ledger does not hold; of `restore`: the backup is damaged",
    Exit.USAGE: "the command line or the request is not possible as written",
    Exit.SETTINGS: "a setting is unknown, malformed or contradicts another",
    Exit.PORT_TAKEN: "the port is taken or may not be used",
    Exit.FOLDER_LOCKED: "the data folder or the database is in use by another process, or cannot be used",
    Exit.KEY_WRONG: "the API key is missing, unknown or revoked",
    Exit.NO_SUCH_MODEL: "the model is not served here, or not to this key",
    Exit.UNREACHABLE: "the gateway could not be reached",
    Exit.DISK_FULL: "the disk is full",
    Exit.REFUSED: "the upstream declined the content",
    Exit.PARTLY_FAILED: "of a batch: some lines have their images, others failed; the same command again goes on; of "
    "`backup`: images are missing or damaged in the data folder, the rest is taken",
    Exit.INTERRUPTED: "interrupted (Ctrl-C); of `serve`: calls were still held or answered when it ended",
}
"""One sentence each, for `docs/reference/exit-codes.md`."""


class Stop(HoldfastError):
    """Ends a command with an exit code and one line for the person who typed it."""

    code: Exit  # type: ignore[assignment]  # a command's end has a number, where the library's errors have a word

    def __init__(self, code: Exit, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        """Further members of the error under `--json`: `generation_id`, `holdfast_code`, `paid`; None is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How a command ended, for the terminal and for `sys.exit`."""

    code: Exit
    message: str


_BY_STORAGE_REASON = {"full": Exit.DISK_FULL}
_BY_ERRNO = {
    errno.EADDRINUSE: Exit.PORT_TAKEN,
    errno.ENOSPC: Exit.DISK_FULL,
    errno.EDQUOT: Exit.DISK_FULL,
}
_BY_API_CODE = {
    "invalid_api_key": Exit.KEY_WRONG,
    "key_revoked": Exit.KEY_WRONG,
    "api_key_invalid": Exit.KEY_WRONG,
    "model_not_found": Exit.NO_SUCH_MODEL,
    "model_not_allowed": Exit.NO_SUCH_MODEL,
    "content_refused": Exit.REFUSED,
    "moderation_blocked": Exit.REFUSED,
    "content_policy_violation": Exit.REFUSED,
    "storage_low": Exit.DISK_FULL,
}
_BY_STATUS = {401: Exit.KEY_WRONG, 403: Exit.KEY_WRONG}
_MISTAKES = frozenset({400, 404, 405, 413, 415, 422, 431})


def of_answer(status: int | None, api_code: str | None) -> Exit:
    """Give the exit code of an error answer.

    Args:
        status: HTTP status; None or 200 for an error told inside a 200.
        api_code: The body's own code, in lower case.
    """
    known = _BY_API_CODE.get(api_code or "") or _BY_STATUS.get(status or 0)
    if known is not None:
        return known
    return Exit.USAGE if status in _MISTAKES else Exit.GENERATION_FAILED


def told(error: BaseException) -> Told | None:
    """Say how an exception is told; None: it is a fault of ours, and its traceback is wanted."""
    match error:
        case Stop():
            return Told(code=error.code, message=error.message)
        case ConfigError():
            return Told(code=Exit.SETTINGS, message=str(error))
        case StorageError():
            hint = DATABASE_AWAY if error.reason == "away" else ""
            return Told(code=_BY_STORAGE_REASON.get(error.reason, Exit.FOLDER_LOCKED), message=f"{error}{hint}")
        case RequestError():
            return Told(code=of_answer(error.status, error.code), message=error.message)
        case TransportError():
            return Told(code=Exit.UNREACHABLE, message=str(error))
        case HoldfastError():
            return Told(code=Exit.GENERATION_FAILED, message=str(error))
        case KeyboardInterrupt():
            return Told(code=Exit.INTERRUPTED, message="Interrupted.")
        case NotSent():
            return told(error.cause)
        case OSError():
            return _of_os_error(error)
        case _:
            return None


def _of_os_error(error: OSError) -> Told | None:
    code = _BY_ERRNO.get(error.errno or 0)
    if code is Exit.PORT_TAKEN:
        return Told(
            code=code,
            message="The port is taken. Stop what listens there, or choose another with --port or HOLDFAST_PORT.",
        )
    if code is Exit.DISK_FULL:
        where = f" ({error.filename})" if error.filename else ""
        return Told(code=code, message=f"The disk is full{where}. Free some space, then try again.")
    if error.filename is not None and error.errno is not None:
        return Told(code=Exit.USAGE, message=f"{error.filename}: {error.strerror}.")
    return None
