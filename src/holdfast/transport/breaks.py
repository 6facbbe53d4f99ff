"""How an exchange breaks, told as a `Failure`: by phase and structure, never by the words of a message.

Where it went is not said here: whoever asked knows it, and names it in words of their own.

The charge follows from one question: can the upstream have begun? Nothing has left us: `no`. The document of a good
answer had begun: `yes`. Everything between is `unknown`, half-written requests included: `no` must never be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.providers.http import Head
from holdfast.transport.body import RequestBody
from holdfast.transport.connection import Broken
from holdfast.transport.reply import Garbage
from holdfast.types import Charge, Failure, FailureKind, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an exchange had come when it broke."""

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


def unreachable(phase: Phase, why: str) -> Failure:
    """Tell that not one byte of the request has left."""
    detail = f"{why}; nothing was sent"
    return Failure(kind=FailureKind.UNREACHABLE, phase=phase, charge=Charge.NO, detail=detail)


def before_head(error: Broken | Garbage, progress: Progress) -> Failure:
    """Tell of an exchange that broke before an answer had come."""
    if isinstance(error, Garbage):
        return _malformed(Phase.DECODE, "the head of the answer is not HTTP", status=None)
    return lost_reply(progress, str(error))


def after_head(error: Broken | Garbage, progress: Progress) -> Failure:
    """Tell of an exchange that broke while the body was read."""
    return cut_body(progress, str(error))


def cut_body(progress: Progress, why: str) -> Failure:
    """Tell of a body that did not come to its end."""
    head = progress.head
    assert head is not None
    # The head of an event stream, and white space that a relay sends to keep its callers, come before any image.
    if head.is_event_stream or not progress.has_begun:
        return lost_reply(progress, why)
    return _malformed(Phase.RECEIVE, f"the answer broke off: {why}", status=head.status)


def total_passed(progress: Progress, total_s: float) -> Failure:
    """Tell of an exchange whose time ran out."""
    why = f"no answer within {total_s:g} s"
    if progress.head is not None:
        return cut_body(progress, f"not whole within {total_s:g} s")
    if progress.body is not None and progress.body.began_at is None:
        return unreachable(Phase.CONNECT, why)
    return lost_reply(progress, why)


def lost_reply(progress: Progress, why: str) -> Failure:
    """Tell of a request that left, or may have, and whose outcome nobody knows."""
    return Failure(
        kind=FailureKind.LOST_REPLY,
        phase=progress.phase,
        charge=Charge.UNKNOWN,
        detail=why,
        status=progress.head.status if progress.head is not None else None,
    )


def redirected(progress: Progress) -> Failure:
    """Tell of a redirect: it is not followed, since a credential and a prompt go with the request."""
    head = progress.head
    assert head is not None
    detail = f"answered {head.status}; redirects are not followed, check base_url"
    return _malformed(Phase.RECEIVE, detail, status=head.status)


def too_large(progress: Progress, bytes_max: int) -> Failure:
    """Tell of an answer beyond `store.response_bytes_max`."""
    status = progress.head.status if progress.head is not None else None
    detail = f"the answer is larger than response_bytes_max, {bytes_max} bytes"
    return _malformed(Phase.RECEIVE, detail, status=status)


def _malformed(phase: Phase, detail: str, *, status: int | None) -> Failure:
    return Failure(kind=FailureKind.MALFORMED, phase=phase, charge=Charge.YES, detail=detail, status=status)
