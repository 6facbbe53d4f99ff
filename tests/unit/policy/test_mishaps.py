"""What goes wrong on our own side: told with the charge that is certain, and without anybody's secrets."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.policy.mishaps import (
    LOST_WITH_ITS_GENERATION,
    LOST_WITH_THE_PROCESS,
    NO_WHOLE_IMAGE,
    failure_by,
    kept_back,
    never_ended,
    reason_of,
    results_of_torn,
)
from holdfast.types import Charge, Failure, FailureKind, Phase

FULL = OSError(errno.ENOSPC, "No space left on device", "/data/spool/secret-name")
BUG = ValueError("the prompt was: a lighthouse")
UNREACHABLE, LOST = FailureKind.UNREACHABLE, FailureKind.LOST_REPLY


def told(error: Exception, **overrides: Any) -> Failure:
    """What is told of a call that was sent and has no answer yet, unless a test says otherwise."""
    usual: dict[str, Any] = {"is_sent": True, "status": None, "is_spooled": False}
    return failure_by(error, **{**usual, **overrides})


@pytest.mark.parametrize("error", [FULL, BUG])
def test_what_was_not_sent_is_free(error: Exception) -> None:
    """Whatever it was that went wrong."""
    failure = told(error, is_sent=False)
    assert (failure.kind, failure.phase, failure.charge) == (UNREACHABLE, Phase.SEND, Charge.NO)


@pytest.mark.parametrize(
    ("error", "status", "is_spooled", "charge"),
    [
        # Before a head: an input file that broke off, or a bug. What became of the request is not ours to say.
        (FULL, None, False, Charge.UNKNOWN),
        (BUG, None, False, Charge.UNKNOWN),
        # An answer was on its way, and our disk did not take it.
        (FULL, 200, False, Charge.YES),
        (FULL, 299, True, Charge.YES),
        # A bug while it was read may have misread it; once it lies whole on our disk it was an answer.
        (BUG, 200, False, Charge.UNKNOWN),
        (BUG, 200, True, Charge.YES),
        # An error answer that was lost says nothing of the money.
        (FULL, 500, False, Charge.UNKNOWN),
        (BUG, 300, True, Charge.UNKNOWN),
        (BUG, 199, True, Charge.UNKNOWN),
    ],
)
def test_what_was_sent_is_charged_as_far_as_is_certain(
    error: Exception, status: int | None, is_spooled: bool, charge: Charge
) -> None:
    """An answer that was lost here was paid for; else nobody knows."""
    failure = told(error, status=status, is_spooled=is_spooled)
    assert (failure.kind, failure.charge) == (LOST, charge)
    assert failure.phase is (Phase.WAIT if status is None else Phase.RECEIVE)


def test_what_is_kept_for_the_next_start_is_unknown_until_then() -> None:
    """It turns out a late success: no more may be said of it than that."""
    failure = kept_back(FULL)
    assert (failure.kind, failure.charge) == (LOST, Charge.UNKNOWN)
    assert "taken in at the next start" in failure.detail


@pytest.mark.parametrize("failure", [LOST_WITH_THE_PROCESS, LOST_WITH_ITS_GENERATION])
def test_what_was_in_flight_when_its_driver_ended_is_unknown(failure: Failure) -> None:
    """The upstream may have gone on."""
    assert (failure.kind, failure.charge) == (LOST, Charge.UNKNOWN)


def test_an_answer_that_is_no_whole_image_was_paid_for() -> None:
    """It is never bought again."""
    assert (NO_WHOLE_IMAGE.kind, NO_WHOLE_IMAGE.charge) == (FailureKind.MALFORMED, Charge.YES)


@pytest.mark.parametrize(
    "failure",
    [told(FULL, is_sent=False), told(FULL), told(FULL, status=200), told(FULL, status=500), kept_back(FULL)],
)
def test_a_detail_holds_the_reason_and_no_path(failure: Failure) -> None:
    """It goes to the caller, and into the record."""
    assert "No space left on device" in failure.detail
    assert "secret-name" not in failure.detail


def test_a_reason_is_a_few_words_of_nobody_s_secrets() -> None:
    """An exception's text may quote a prompt; its class never does."""
    assert reason_of(BUG) == "ValueError"
    assert reason_of(OSError("only words")) == "OSError"
    assert reason_of(FULL) == "No space left on device"
    assert reason_of(StorageError("x", reason="full")) == "StorageError"


@pytest.mark.parametrize(
    ("indices", "draws_drafts", "wanted", "results", "drafts"),
    [
        ((0, 1), False, 2, (0, 1), ()),
        ((0, 1, 2), False, 2, (0, 1), (2,)),
        ((0, 1, 2), True, 1, (2,), (0, 1)),
        ((3,), True, 1, (3,), ()),
        ((), True, 1, (), ()),
    ],
)
def test_whole_images_of_a_torn_answer_are_told_apart_by_their_order(
    indices: tuple[int, ...], draws_drafts: bool, wanted: int, results: tuple[int, ...], drafts: tuple[int, ...]
) -> None:
    """An Images API shows results only; who draws drafts shows its result last. None is lost, and none counts twice."""
    assert results_of_torn(indices, draws_drafts=draws_drafts, wanted=wanted) == (results, drafts)


def test_an_upstream_that_is_polled_and_never_ends_is_unknown() -> None:
    """It took the request: what it said last is told, within bounds."""
    failure = never_ended("queue", within_s=216.0, why="it was still IN_PROGRESS")
    assert (failure.kind, failure.charge) == (LOST, Charge.UNKNOWN)
    assert "'queue'" in failure.detail
    assert failure.detail.endswith("within 216 s: it was still IN_PROGRESS")
    assert len(never_ended("queue", within_s=1.0, why="x" * 5000).detail) == 2000
