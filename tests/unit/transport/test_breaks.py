"""How an exchange breaks: by phase and structure, and what that says of the charge."""

from __future__ import annotations

import errno
import ssl
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType, SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadStatusLine
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from holdfast.providers.http import Head
from holdfast.transport import breaks
from holdfast.transport.body import RequestBody
from holdfast.transport.breaks import Progress
from holdfast.types import Charge, Failure, FailureKind, Phase

KEY = ConnectionKey("up.example", 443, True, True, None, None, None, None)
RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def a_body(*, began: bool = True, ended: bool = True, timed_out: bool = False) -> RequestBody:
    """A request on its way."""
    with ThreadPoolExecutor(1) as readers:
        body = RequestBody((b"{}",), inputs=(), size=2, write_s=1.0, readers=readers)
    body.began_at = 1.0 if began else None
    body.ended_at = 2.0 if began and ended else None
    body.has_timed_out = timed_out
    return body


def a_head(content_type: str = "application/json", status: int = 200) -> Head:
    """The head of an answer."""
    return Head(status=status, headers=MappingProxyType({"content-type": (content_type,)}))


def progress(**overrides: Any) -> Progress:
    """How far an exchange had come."""
    usual: dict[str, Any] = {"host": "up.example", "body": a_body()}
    return Progress(**{**usual, **overrides})


def shown(failure: Failure) -> tuple[FailureKind, Phase, Charge]:
    """What decides."""
    return failure.kind, failure.phase, failure.charge


def not_http() -> aiohttp.ClientResponseError:
    """What aiohttp raises where an answer does not parse."""
    info = aiohttp.RequestInfo(URL("http://up.example"), "POST", CIMultiDictProxy(CIMultiDict()), URL("http://up"))
    error = aiohttp.ClientResponseError(info, (), status=400, message="Bad status line")
    error.__cause__ = BadStatusLine("garbage")
    return error


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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiohttp.ConnectionTimeoutError(), "connect_s"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")), "does not resolve"),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("self-signed")),
            "not trusted",
        ),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("handshake")), "TLS handshake"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "refused")), "ECONNREFUSED"),
        (aiohttp.InvalidURL("nonsense"), "not a URL"),
    ],
)
@pytest.mark.parametrize("began", [False, True])
def test_no_connection_means_that_nothing_was_sent(error: Exception, words: str, began: bool) -> None:
    """Known unpaid, with a word on what to look at."""
    failure = breaks.before_head(error, progress(body=a_body(began=began)))
    assert shown(failure) == (FailureKind.UNREACHABLE, Phase.CONNECT, Charge.NO)
    assert words in failure.detail
    assert failure.detail.startswith("up.example: ")
    assert failure.detail.endswith("; nothing was sent")


@pytest.mark.parametrize("error", [RESET, aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(32, "Broken pipe")])
def test_a_connection_that_closed_before_the_first_byte_is_unpaid(error: Exception) -> None:
    """The body was never begun, which is proof."""
    failure = breaks.before_head(error, progress(body=a_body(began=False)))
    assert shown(failure) == (FailureKind.UNREACHABLE, Phase.SEND, Charge.NO)


@pytest.mark.parametrize(
    ("error", "body", "phase", "words"),
    [
        (RESET, a_body(), Phase.WAIT, "ECONNRESET"),
        (RESET, a_body(ended=False), Phase.SEND, "ECONNRESET"),
        (aiohttp.ServerDisconnectedError(), a_body(), Phase.WAIT, "closed without an answer"),
        (aiohttp.SocketTimeoutError("Timeout on reading"), a_body(), Phase.WAIT, "read_idle_s"),
        (TimeoutError(), a_body(ended=False, timed_out=True), Phase.SEND, "write_s"),
        (aiohttp.ClientError("odd"), a_body(), Phase.WAIT, "ClientError"),
        (OSError("no number"), a_body(), Phase.WAIT, "OSError"),
        (OSError(123_456, "unknown number"), a_body(), Phase.WAIT, "no errno"),
        (RESET, None, Phase.WAIT, "ECONNRESET"),
    ],
)
def test_once_a_byte_has_left_the_charge_is_unknown(
    error: Exception, body: RequestBody | None, phase: Phase, words: str
) -> None:
    """Half-written requests included: `no` must never be wrong."""
    failure = breaks.before_head(error, progress(body=body))
    assert shown(failure) == (FailureKind.LOST_REPLY, phase, Charge.UNKNOWN)
    assert words in failure.detail
    assert failure.status is None


def test_a_head_that_is_not_http_is_malformed() -> None:
    """Something was answered, so it may have been made; aiohttp's own status 400 is nobody's word."""
    failure = breaks.before_head(not_http(), progress())
    assert shown(failure) == (FailureKind.MALFORMED, Phase.DECODE, Charge.YES)
    assert failure.status is None
    assert "garbage" not in failure.detail


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
    failure = breaks.after_head(aiohttp.ClientPayloadError("chunk"), broken)
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


@pytest.mark.parametrize(
    "error",
    [
        RESET,
        aiohttp.ServerDisconnectedError(SimpleNamespace(secret="sk-secret")),  # type: ignore[arg-type]
        aiohttp.ClientOSError(1, "sk-secret"),
        aiohttp.ClientPayloadError("sk-secret"),
        aiohttp.InvalidURL("http://sk-secret@up.example"),
        aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "sk-secret")),
    ],
)
def test_no_exceptions_words_are_repeated(error: Exception) -> None:
    """They hold addresses, and sometimes what was sent; names of errors are enough."""
    for failure in (breaks.before_head(error, progress()), breaks.after_head(error, progress(head=a_head()))):
        assert "sk-secret" not in failure.detail
