"""What a call object and a client say to each other: steps one way, what happened the other. Values only.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.client import defaults as d
from holdfast.client.address import Server
from holdfast.client.asking import Ask
from holdfast.client.defaults import CallTimeouts
from holdfast.errors import HoldfastError
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

if TYPE_CHECKING:
    from holdfast.wire.answers import Answer
    from holdfast.wire.generations import GenerationResource


class Purpose(StrEnum):
    """What a request is for."""

    SUBMIT = "submit"
    FIND = "find"
    POLL = "poll"
    IMAGE = "image"


class Form(StrEnum):
    """What the body of an answer is read as."""

    OPENAI = "openai"
    OPENAI_STREAM = "openai_stream"
    GEMINI = "gemini"
    DOCUMENT = "document"
    """Small: kept up to a bound, whatever it is."""
    FILE = "file"
    """One image as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the body that follows a head is to be taken in."""

    form: Form
    index: int = 0
    """Of a file: which image it is."""
    at: int = 0
    """Of a file: bytes of it that are there already, and stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An image whose bytes are in hand."""

    info: ImageInfo | None
    """None: it is no image of a kind that is known."""
    is_whole: bool
    """Its end mark is there."""
    revised_prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A body that was read to its end."""

    document: bytes = b""
    """JSON without its images."""
    answer: Answer | None = None
    """Of the forms of an API, where it could be read."""
    taken: tuple[tuple[int, Taken], ...] = ()
    """Images by number."""
    mishap: str | None = None
    """Why the body is none of the form it claims to be; it does not quote it."""


class Cause(StrEnum):
    """Why an exchange broke."""

    REFUSED = "refused"
    """Nobody listens, or nobody there."""
    NAME = "name"
    """The host's name is not known."""
    CERTIFICATE = "certificate"
    """Who answers cannot prove who it is."""
    NOT_TLS = "not_tls"
    """https was spoken to a port that speaks plain HTTP."""
    PROXY = "proxy"
    POOL = "pool"
    """All connections of this client are in use."""
    TIMEOUT = "timeout"
    LOST = "lost"
    """Reset, closed, or no HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """How an exchange broke."""

    phase: Phase
    cause: Cause
    detail: str
    """A sentence without secrets."""
    received_bytes: int | None = None
    """Of a file whose head had come: how much of it is in hand, what was there before included."""

    @property
    def was_sent(self) -> bool:
        """Whether the server may have begun to work."""
        return self.phase is not Phase.CONNECT

    @property
    def failure(self) -> Failure:
        """The same as the rest of the system has it."""
        kind = FailureKind.LOST_REPLY if self.was_sent else FailureKind.UNREACHABLE
        is_timeout = self.was_sent and self.cause is Cause.TIMEOUT
        return Failure(
            kind=FailureKind.UPSTREAM_TIMEOUT if is_timeout else kind,
            phase=self.phase,
            charge=Charge.UNKNOWN if self.was_sent else Charge.NO,
            detail=self.detail[:2000],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Make this request; tell `head`, then `received` or `broke`."""

    ask: Ask
    purpose: Purpose
    connect_s: float
    write_s: float
    read_s: float
    pool_s: float
    until_s: float
    """Monotonic time at which the whole exchange must be over: what drips is silence of another kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Let time pass; then `woke`."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The images are in hand."""

    results: tuple[int, ...]
    """Numbers of the images that were asked for, in order."""
    paid: Charge
    generation_id: str | None
    idempotency_key: str
    server: Server
    model: str | None
    served_by: str | None
    generation: GenerationResource | None
    revised_prompts: tuple[str | None, ...]
    sends: int
    """POSTs that were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """There is no image; this says why, and how to collect what there may be."""

    error: HoldfastError


Step = Send | Wait | Finished | Raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a call stands, for a progress callback."""

    status: str
    """`sent`, `queued`, `running`, `fetching`; the end is told by the result."""
    elapsed_s: float
    """Since the call began, on this machine."""
    generation_id: str | None = None
    expected_s: float | None = None
    """Seconds that half of all generations of this model and size have taken; None: the server does not say."""
    p95_s: float | None = None
    fraction: float | None = None
    """Share of past generations that were finished by now; no promise."""
    queue_position: int | None = None
    estimated_start_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a caller has chosen for one call."""

    timeouts: CallTimeouts
    idempotency_key: str
    budget_s: float | None = None
    """The caller's own budget, told to holdfast; None: the server's, by size."""
    fallback_models: tuple[str, ...] = ()
    degrade: bool = False
    wait_s: float = d.WAIT_S
    """How long an answer is waited for before how it stands is told: shorter where somebody watches."""
