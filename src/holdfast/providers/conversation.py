"""What every provider is: a conversation that says what to do next and never does it.

Pure. The engine performs each `Step` and reports back: the head as soon as it is there (the conversation chooses who
reads the body), then the whole answer, or the failure. Submit-and-poll providers need nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import urlsplit

from holdfast.types import Charge, Failure, FailureKind, Phase

if TYPE_CHECKING:
    from holdfast.policy.addresses import AddressRules
    from holdfast.providers.http import Head, HttpRequest
    from holdfast.wire.answers import Answer, Reader
    from holdfast.wire.scan import WireError


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Perform this exchange, then call `head`, and `received` or `failed`."""

    request: HttpRequest
    timeout_s: float | None = None
    """Until the head of its answer; None: all that the attempt has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Get a file from where an answer said that it lies, then call `head`, and `received` or `failed`.

    No credential goes along, and only addresses that `rules` allow are connected to.
    """

    url: str
    rules: AddressRules
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Let this many seconds pass, then ask again with `start`: how a provider that is polled paces itself.

    If the attempt's time is over instead, it has failed: `why` it still waited is told.
    """

    delay_s: float
    why: str
    is_made: bool = False
    """The image exists and is only to be got: it is given the time of an answer's body beyond the attempt's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Record that the upstream has taken the request under this handle, durably, then go on with `start`.

    From here on it is asked for what it makes, by whoever has the handle, and never asked to make it again.
    """

    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The images are there."""

    results: tuple[int, ...]
    """Indices of the images that were asked for, in order."""
    drafts: tuple[int, ...]
    """Indices of images made on the way: kept and paid for, not delivered as results."""
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt ended without an image."""

    failure: Failure


Step = Send | Fetch | Wait | Keep | Done | Failed


class Conversation(Protocol):
    """One attempt at one upstream."""

    def start(self) -> Step:
        """Give the first step."""

    def head(self, head: Head) -> Reader:
        """Choose who reads the body that follows this head."""

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge an answer that was read to its end."""

    def failed(self, failure: Failure) -> Step:
        """Judge an exchange that broke, or a body that could not be read (`malformed`, `unfinished`)."""


@runtime_checkable
class Cancellable(Protocol):
    """A conversation whose upstream lets go of a request that it has not begun, and charges nothing for it."""

    def cancel(self) -> None:
        """Note that nobody wants the image any more; the steps to come see to it."""


def named(failure: Failure, *, upstream: str, base_url: str) -> Failure:
    """Say whose exchange broke: to somebody who called the gateway, a bare host reads as the gateway's own.

    Args:
        failure: The transport's, which says how it broke and not where.
        upstream: The operator's name for it.
        base_url: Its address.
    """
    parts = urlsplit(base_url)
    how = "cannot be reached" if failure.kind is FailureKind.UNREACHABLE else "failed"
    # What was charged is told beside this: of several parts, one may have failed so and another be paid.
    detail = f"the upstream {upstream!r} ({parts.netloc}) {how}: {failure.detail}"
    return replace(failure, detail=detail[:2000])


def unfinished(error: WireError, head: Head) -> Failure:
    """Say that a reader's `finish` found the answer wanting.

    A document was made before it was sent, so it is paid for. A stream that ends early may have ended before its image.
    """
    if not head.is_event_stream:
        return malformed(error, status=head.status)
    return Failure(
        kind=FailureKind.LOST_REPLY,
        phase=Phase.RECEIVE,
        charge=Charge.UNKNOWN,
        detail=f"the event stream ended early: {error.message}"[:2000],
        status=head.status,
        reason=error.code,
    )


def malformed(error: WireError, *, status: int | None = None) -> Failure:
    """Say that an answer came and could not be read: it is paid for, and never bought again."""
    return Failure(
        kind=FailureKind.MALFORMED,
        phase=Phase.DECODE,
        charge=Charge.YES,
        detail=f"the answer could not be read: {error.message}"[:2000],
        status=status,
        reason=error.code,
    )
