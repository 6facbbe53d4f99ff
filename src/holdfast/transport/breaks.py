"""How an exchange breaks, told as a `Failure`: by phase and structure, never by the words of a message.

The charge follows from one question: can the upstream have begun? Nothing has left us: `no`. The document of a good
answer had begun: `yes`. Everything between is `unknown`, half-written requests included: `no` must never be wrong.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from holdfast.providers.http import Head
from holdfast.transport.body import RequestBody
from holdfast.types import Charge, Failure, FailureKind, Phase

_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an exchange had come when it broke."""

    host: str
    body: RequestBody | None
    """None for a request without a body."""
    head: Head | None = None
    has_begun: bool = False
    """Something of the document had come: a byte that is no white space, or the length of a body that was announced."""

    @property
    def phase(self) -> Phase:
        """The phase it was in."""
        if self.head is not None:
            return Phase.RECEIVE if self.has_begun else Phase.WAIT
        if self.body is None:
            return Phase.WAIT
        if self.body.began_at is None:
            return Phase.CONNECT
        return Phase.SEND if self.body.ended_at is None else Phase.WAIT


def before_head(error: Exception, progress: Progress) -> Failure:
    """Tell what an exception means that came before an answer did."""
    body, host = progress.body, progress.host
    if isinstance(error, _CONNECTING) or (body is not None and body.began_at is None):
        phase = Phase.CONNECT if isinstance(error, _CONNECTING) else Phase.SEND
        return _unreachable(phase, f"{host}: {_why_unreachable(error)}; nothing was sent")
    if isinstance(error, aiohttp.ClientResponseError):
        # aiohttp gives a status 400 of its own making here; the upstream said nothing of the kind.
        assert isinstance(error.__cause__, HttpProcessingError | None)
        return _malformed(Phase.DECODE, f"{host}: the head of the answer is not HTTP", status=None)
    return lost_reply(progress, _why_lost(error, body))


def after_head(error: Exception, progress: Progress) -> Failure:
    """Tell what an exception means that came while the body was read."""
    return cut_body(progress, _why_lost(error, None))


def cut_body(progress: Progress, why: str) -> Failure:
    """Tell of a body that did not come to its end."""
    head = progress.head
    assert head is not None
    # The head of an event stream, and white space that a relay sends to keep its callers, come before any image.
    if head.is_event_stream or not progress.has_begun:
        return lost_reply(progress, why)
    return _malformed(Phase.RECEIVE, f"{progress.host}: the answer broke off: {why}", status=head.status)


def total_passed(progress: Progress, total_s: float) -> Failure:
    """Tell of an exchange whose time ran out."""
    why = f"no answer within {total_s:g} s"
    if progress.head is not None:
        return cut_body(progress, f"not whole within {total_s:g} s")
    if progress.body is not None and progress.body.began_at is None:
        return _unreachable(Phase.CONNECT, f"{progress.host}: {why}; nothing was sent")
    return lost_reply(progress, why)


def lost_reply(progress: Progress, why: str) -> Failure:
    """Tell of a request that left, or may have, and whose outcome nobody knows."""
    return Failure(
        kind=FailureKind.LOST_REPLY,
        phase=progress.phase,
        charge=Charge.UNKNOWN,
        detail=f"{progress.host}: {why}",
        status=progress.head.status if progress.head is not None else None,
    )


def redirected(progress: Progress) -> Failure:
    """Tell of a redirect: it is not followed, since a credential and a prompt go with the request."""
    head = progress.head
    assert head is not None
    detail = f"{progress.host}: answered {head.status}; redirects are not followed, check base_url"
    return _malformed(Phase.RECEIVE, detail, status=head.status)


def too_large(progress: Progress, bytes_max: int) -> Failure:
    """Tell of an answer beyond `store.response_bytes_max`."""
    status = progress.head.status if progress.head is not None else None
    detail = f"{progress.host}: the answer is larger than response_bytes_max, {bytes_max} bytes"
    return _malformed(Phase.RECEIVE, detail, status=status)


def _unreachable(phase: Phase, detail: str) -> Failure:
    return Failure(kind=FailureKind.UNREACHABLE, phase=phase, charge=Charge.NO, detail=detail)


def _malformed(phase: Phase, detail: str, *, status: int | None) -> Failure:
    return Failure(kind=FailureKind.MALFORMED, phase=phase, charge=Charge.YES, detail=detail, status=status)


def _why_unreachable(error: Exception) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time (connect_s)"
        case aiohttp.ClientConnectorDNSError():
            return "the name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            return "the certificate is not trusted (set ca_file for a private authority)"
        case aiohttp.ClientConnectorSSLError():
            return "the TLS handshake failed"
        case aiohttp.ClientConnectorError():
            return f"cannot connect ({_errno_name(error)})"
        case aiohttp.InvalidURL():
            return "the base_url is not a URL"
        case _:
            return "the connection closed before the request was written"


def _why_lost(error: Exception, body: RequestBody | None) -> str:
    match error:
        case _ if body is not None and body.has_timed_out:
            return "the request was not taken in time (write_s)"
        case aiohttp.SocketTimeoutError():
            return "silent for too long (read_idle_s)"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.ClientPayloadError():
            return "fewer bytes came than were announced, or a chunk is broken"
        case OSError():
            return f"the connection broke ({_errno_name(error)})"
        case _:
            return f"the connection broke ({type(error).__name__})"


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno, "no errno") if error.errno else type(error).__name__
