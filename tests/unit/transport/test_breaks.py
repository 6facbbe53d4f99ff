"""How an exchange breaks: by phase and structure, and what that says of the charge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.providers.http import Head
from holdfast.transport import breaks
from holdfast.transport.body import RequestBody
from holdfast.transport.breaks import Progress
from holdfast.transport.connection import Broken
from holdfast.transport.reply import Garbage
from holdfast.types import Charge, Failure, FailureKind, Phase

RESET = Broken("the connection broke (ECONNRESET)")


def a_body(*, began: bool = True, ended: bool = True) -> RequestBody:
    """A request on its way."""
    with ThreadPoolExecutor(1) as readers:
        body = RequestBody((b"{}",), inputs=(), size=2, readers=readers)
    body.began_at = 1.0 if began else None
    body.ended_at = 2.0 if began and ended else None
    return body


def a_head(content_type: str = "application/json", status: int = 200) -> Head:
    """The head of an answer."""
    return Head(status=status, headers=MappingProxyType({"content-type": (content_type,)}))


def progress(**overrides: Any) -> Progress:
    """How far an exchange had come."""
    usual: dict[str, Any] = {"body": a_body()}
    return Progress(**{**usual, **overrides})


def shown(failure: Failure) -> tuple[FailureKind, Phase, Charge]:
    """What decides."""
    return failure.kind, failure.phase, failure.charge


@pytest.mark.parametrize(
    ("options", "phase"),
    [
        ({"body": None}, Phase.WAIT),
        ({"body": a_body(began=False)}, Phase.CONNECT),
        ({"body": a_body(ended=False)}, Phase.SEND),
        ({"body": a_body()}, Phase.WAIT),
        ({"head": a_head()}, Phase.WAIT),
        ({"head": a_head(), "has_begun": True}, Phase.RECEIVE),
        ({"body": a_body(ended=False), "head": a_head(), "has_begun": True}, Phase.RECEIVE),
    ],
)
def test_the_phase_is_read_off_the_progress(options: dict[str, Any], phase: Phase) -> None:
    """A head without a byte of document is still waiting: relays send heads to keep their callers."""
    assert progress(**options).phase is phase


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.SEND])
def test_no_connection_means_that_nothing_was_sent(phase: Phase) -> None:
    """Known unpaid, with the reason."""
    failure = breaks.unreachable(phase, "cannot connect (ECONNREFUSED)")
    assert shown(failure) == (FailureKind.UNREACHABLE, phase, Charge.NO)
    assert failure.detail == "cannot connect (ECONNREFUSED); nothing was sent"


@pytest.mark.parametrize(
    ("body", "phase"),
    [(a_body(), Phase.WAIT), (a_body(ended=False), Phase.SEND), (None, Phase.WAIT)],
    ids=["sent", "half-sent", "no-body"],
)
def test_once_a_byte_has_left_the_charge_is_unknown(body: RequestBody | None, phase: Phase) -> None:
    """Half-written requests included: `no` must never be wrong."""
    failure = breaks.before_head(RESET, progress(body=body))
    assert shown(failure) == (FailureKind.LOST_REPLY, phase, Charge.UNKNOWN)
    assert failure.detail == "the connection broke (ECONNRESET)"
    assert failure.status is None


def test_a_head_that_is_not_http_is_malformed() -> None:
    """Something was answered, so it may have been made."""
    failure = breaks.before_head(Garbage("not HTTP"), progress())
    assert shown(failure) == (FailureKind.MALFORMED, Phase.DECODE, Charge.YES)
    assert failure.status is None


def test_broken_framing_behind_a_head_is_a_body_that_broke_off() -> None:
    """Its status is known, and its document had begun."""
    failure = breaks.after_head(Garbage("a chunk is broken"), progress(head=a_head(), has_begun=True))
    assert shown(failure) == (FailureKind.MALFORMED, Phase.RECEIVE, Charge.YES)
    assert failure.status == 200


@pytest.mark.parametrize(
    ("content_type", "has_begun", "outcome"),
    [
        ("application/json", True, (FailureKind.MALFORMED, Phase.RECEIVE, Charge.YES)),
        ("application/json", False, (FailureKind.LOST_REPLY, Phase.WAIT, Charge.UNKNOWN)),
        ("text/event-stream", False, (FailureKind.LOST_REPLY, Phase.WAIT, Charge.UNKNOWN)),
        ("text/event-stream", True, (FailureKind.LOST_REPLY, Phase.RECEIVE, Charge.UNKNOWN)),
    ],
)
def test_a_body_that_broke_off_is_paid_once_its_document_had_begun(
    content_type: str, has_begun: bool, outcome: tuple[FailureKind, Phase, Charge]
) -> None:
    """A stream's beginning, and white space that keeps a line alive, come before any image."""
    broken = progress(head=a_head(content_type), has_begun=has_begun)
    failure = breaks.after_head(Broken("fewer bytes came than were announced"), broken)
    assert shown(failure) == outcome
    assert failure.status == 200
    assert "fewer bytes" in failure.detail


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"body": a_body(began=False)}, (FailureKind.UNREACHABLE, Phase.CONNECT, Charge.NO)),
        ({"body": a_body(ended=False)}, (FailureKind.LOST_REPLY, Phase.SEND, Charge.UNKNOWN)),
        ({}, (FailureKind.LOST_REPLY, Phase.WAIT, Charge.UNKNOWN)),
        ({"body": None}, (FailureKind.LOST_REPLY, Phase.WAIT, Charge.UNKNOWN)),
        ({"head": a_head()}, (FailureKind.LOST_REPLY, Phase.WAIT, Charge.UNKNOWN)),
        ({"head": a_head(), "has_begun": True}, (FailureKind.MALFORMED, Phase.RECEIVE, Charge.YES)),
    ],
)
def test_time_that_ran_out_is_told_by_how_far_it_had_come(
    options: dict[str, Any], outcome: tuple[FailureKind, Phase, Charge]
) -> None:
    """With the seconds that were granted."""
    failure = breaks.total_passed(progress(**options), 300.0)
    assert shown(failure) == outcome
    assert "within 300 s" in failure.detail


def test_a_redirect_is_not_followed_and_not_free() -> None:
    """A credential and a prompt would go with it; the advice is to look at base_url."""
    failure = breaks.redirected(progress(head=a_head(status=302)))
    assert shown(failure) == (FailureKind.MALFORMED, Phase.RECEIVE, Charge.YES)
    assert failure.status == 302
    assert "base_url" in failure.detail


def test_an_answer_beyond_the_bound_is_paid_for() -> None:
    """Told with the bound and the setting's name."""
    failure = breaks.too_large(progress(head=a_head(), has_begun=True), 1000)
    assert shown(failure) == (FailureKind.MALFORMED, Phase.RECEIVE, Charge.YES)
    assert "response_bytes_max, 1000 bytes" in failure.detail
