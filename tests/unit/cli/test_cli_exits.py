"""Exit codes are an interface: scripts branch on them."""

from __future__ import annotations

import errno

import pytest

from holdfast.cli import exits
from holdfast.cli.exits import MEANINGS, Exit, Stop
from holdfast.errors import (
    ConfigError,
    GenerationError,
    HoldfastError,
    InsufficientFunds,
    RequestError,
    StorageError,
    TransportError,
)
from holdfast.transport.exchange import NotSent
from holdfast.types import Charge, Failure, FailureKind, Phase


def a_failure(kind: FailureKind) -> Failure:
    """Build a failure."""
    return Failure(kind=kind, phase=Phase.CONNECT, charge=Charge.NO, detail="it broke")


def code_of(error: BaseException) -> Exit:
    """Give the code that an exception ends with."""
    told = exits.told(error)
    assert told is not None
    return told.code


def test_the_numbers_never_change() -> None:
    """Scripts that were written against a number go on working."""
    assert {code.name: code.value for code in Exit} == {
        "OK": 0,
        "GENERATION_FAILED": 1,
        "USAGE": 2,
        "SETTINGS": 3,
        "PORT_TAKEN": 4,
        "FOLDER_LOCKED": 5,
        "KEY_WRONG": 6,
        "NO_SUCH_MODEL": 7,
        "UNREACHABLE": 8,
        "DISK_FULL": 9,
        "REFUSED": 10,
        "PARTLY_FAILED": 11,
        "INTERRUPTED": 130,
    }


def test_every_number_has_a_meaning() -> None:
    """The reference page lists all of them."""
    assert set(MEANINGS) == set(Exit)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Stop(Exit.REFUSED, "no"), Exit.REFUSED),
        (ConfigError("a setting"), Exit.SETTINGS),
        (StorageError("in use", reason="locked"), Exit.FOLDER_LOCKED),
        (StorageError("full", reason="full"), Exit.DISK_FULL),
        (StorageError("nfs", reason="network_file_system"), Exit.FOLDER_LOCKED),
        (StorageError("refused", reason="away"), Exit.FOLDER_LOCKED),
        (RequestError("a size", code="unsupported_size"), Exit.USAGE),
        (RequestError("who", code="invalid_api_key", status=401), Exit.KEY_WRONG),
        (TransportError("away"), Exit.UNREACHABLE),
        (GenerationError("none"), Exit.GENERATION_FAILED),
        (InsufficientFunds("poor"), Exit.GENERATION_FAILED),
        (HoldfastError("other"), Exit.GENERATION_FAILED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (OSError(errno.EADDRINUSE, "Address already in use"), Exit.PORT_TAKEN),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), Exit.DISK_FULL),
        (OSError(errno.EDQUOT, "Quota exceeded"), Exit.DISK_FULL),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "cat.png"), Exit.USAGE),
    ],
)
def test_each_exception_ends_with_its_code(error: BaseException, code: Exit) -> None:
    """A script can tell a wrong key from a full disk without reading the text."""
    assert code_of(error) is code


def test_a_file_that_is_missing_is_named() -> None:
    """The message says which file, and nothing else has to be looked up."""
    told = exits.told(FileNotFoundError(errno.ENOENT, "No such file or directory", "cat.png"))
    assert told is not None
    assert told.message == "cat.png: No such file or directory."
    assert exits.told(NotSent(FileNotFoundError(errno.ENOENT, "No such file or directory", "cat.png"))) == told


def test_a_database_that_is_away_says_what_to_look_at() -> None:
    """What the driver said alone names no setting; what is wrong otherwise is not told so."""
    away, full = (exits.told(StorageError("Refused.", reason=reason)) for reason in ("away", "full"))
    assert away is not None
    assert away.message.startswith("Refused. Is the PostgreSQL of store.database running")
    assert full is not None
    assert full.message == "Refused."


def test_a_taken_port_says_what_to_do() -> None:
    """Whoever sees it knows both ways out."""
    told = exits.told(OSError(errno.EADDRINUSE, "Address already in use"))
    assert told is not None
    assert "--port" in told.message
    assert "HOLDFAST_PORT" in told.message


def test_a_full_disk_names_the_place() -> None:
    """It may be another disk than the one in mind."""
    told = exits.told(OSError(errno.ENOSPC, "No space left on device", "/data/spool"))
    assert told is not None
    assert "/data/spool" in told.message


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), AssertionError("ours"), OSError("without a number"), NotSent(ValueError())]
)
def test_our_own_faults_are_not_told_as_the_persons(error: BaseException) -> None:
    """A fault in the program keeps its traceback."""
    assert exits.told(error) is None


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "invalid_api_key", Exit.KEY_WRONG),
        (401, None, Exit.KEY_WRONG),
        (403, "model_not_allowed", Exit.NO_SUCH_MODEL),
        (404, "model_not_found", Exit.NO_SUCH_MODEL),
        (404, "not_found", Exit.USAGE),
        (400, "moderation_blocked", Exit.REFUSED),
        (None, "content_refused", Exit.REFUSED),
        (400, "unsupported_size", Exit.USAGE),
        (413, "input_too_large", Exit.USAGE),
        (503, "storage_low", Exit.DISK_FULL),
        (503, "server_is_overloaded", Exit.GENERATION_FAILED),
        (502, None, Exit.GENERATION_FAILED),
        (None, None, Exit.GENERATION_FAILED),
    ],
)
def test_error_answers_have_codes(status: int | None, code: str | None, expected: Exit) -> None:
    """The body's own code counts before the status."""
    assert exits.of_answer(status, code) is expected
