"""The exception tree: what each tells its caller in attributes."""

from __future__ import annotations

import errno

import pytest

import holdfast
from holdfast import errors
from holdfast.errors import (
    ConfigError,
    DeadlineExceeded,
    GenerationError,
    HoldfastError,
    InsufficientFunds,
    Refused,
    RequestError,
    StorageError,
    TransportError,
    UpstreamsExhausted,
    failure_of,
    is_disk_full,
)
from holdfast.types import Charge, Failure, FailureKind, Phase

FAILURE = Failure(kind=FailureKind.OVERLOADED, phase=Phase.RECEIVE, charge=Charge.NO, detail="busy")


def all_classes() -> list[type[Exception]]:
    """Every exception of the module."""
    return [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]


def test_one_root_catches_all() -> None:
    """A caller needs to know one name."""
    assert all(issubclass(each, HoldfastError) for each in all_classes())
    assert not issubclass(HoldfastError, OSError)


def test_the_tree_is_drawn_as_it_is() -> None:
    """The drawing at the top of the file names every class, and what stands under GenerationError is one."""
    drawing = errors.__doc__ or ""
    assert [each.__name__ for each in all_classes() if each.__name__ not in drawing] == []
    for each in (Refused, DeadlineExceeded, UpstreamsExhausted):
        assert issubclass(each, GenerationError)


def test_the_public_errors_are_public() -> None:
    """Whoever catches one imports it from the package itself."""
    assert {each.__name__ for each in all_classes()} <= set(holdfast.__all__)


@pytest.mark.parametrize("kind", [GenerationError, Refused, DeadlineExceeded, UpstreamsExhausted])
def test_a_generation_error_tells_the_story(kind: type[GenerationError]) -> None:
    """The failure and the id come along; neither has to be there."""
    told = kind("no image", failure=FAILURE, generation_id="gen_1")
    assert (str(told), told.failure, told.generation_id) == ("no image", FAILURE, "gen_1")
    bare = kind("no image")
    assert (bare.failure, bare.generation_id) == (None, None)


def test_a_request_error_is_the_callers_by_default() -> None:
    """400 with a code, unless it says otherwise."""
    plain = RequestError("n must be at most 10")
    assert (plain.code, plain.status, plain.param, plain.retry_after_s) == ("invalid_request", 400, None, None)
    full = RequestError("later", code="draining", status=503, param="n", retry_after_s=30.0)
    assert (full.message, str(full)) == ("later", "later")
    assert (full.code, full.status, full.param, full.retry_after_s) == ("draining", 503, "n", 30.0)


def test_the_others_carry_what_their_caller_needs() -> None:
    """A reason to branch on, a key to correct, a failure to read: never only text."""
    assert StorageError("in use", reason="locked").reason == "locked"
    assert ConfigError("unknown", key="server.prot").key == "server.prot"
    assert ConfigError("unknown").key is None
    assert TransportError("gone", failure=FAILURE).failure is FAILURE
    assert TransportError("gone").failure is None
    assert str(InsufficientFunds("no hold")) == "no hold"


@pytest.mark.parametrize(
    ("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False), (errno.EROFS, False)]
)
def test_only_a_full_disk_is_worth_a_second_try(number: int, full: bool) -> None:
    """After a failed sync the second one lies."""
    assert is_disk_full(OSError(number, "")) is full


def test_what_fails_on_the_disk_is_told_and_nothing_else_is() -> None:
    """One of several fails alone; a mistake of ours comes out as it is."""

    def work(error: Exception | None) -> int:
        if error is not None:
            raise error
        return 1

    broken = OSError(5, "Input/output error")
    assert [failure_of(work, each) for each in (None, broken)] == [None, broken]
    with pytest.raises(ZeroDivisionError):
        failure_of(work, ZeroDivisionError())
