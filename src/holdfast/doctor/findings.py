"""What was measured of a path. Pure: no I/O, clock or randomness.

Whatever was not reached, or not measured, is None: a measurement that Ctrl-C ends is told as far as it came.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.doctor.http1 import End, Exchange
from holdfast.doctor.schedule import Answered, Cut, Lost, Sample
from holdfast.wire.probe import Echo, ProbeReport

GRACE_S = 2.0
"""How long an answer may be late before it counts as lost: one or two retransmissions on a bad line (RFC 6298)."""
REFUSED_WITHIN_S = 0.3
"""An error that comes at once is a refusal, not the end of a silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The name's addresses."""

    addresses: tuple[str, ...]
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A connection came about."""

    address: str
    port: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A TLS handshake that ended well."""

    took_s: float
    version: str
    chooses: str | None
    """What the server takes of HTTP/2 and HTTP/1.1 when it is offered both (ALPN); None: it does not say."""
    subject: str
    issuer: str
    days_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe: what was asked, what came of it here, and how the gateway's side of it ended."""

    seconds: float
    exchange: Exchange
    beat_s: float | None = None
    report: ProbeReport | None = None

    def sample(self) -> Sample | None:
        """Read it as a silence; None: it says nothing, since it was refused or never connected."""
        seen = self.exchange
        if seen.end is End.WHOLE and seen.status == 200:
            is_late = seen.end_s > self.seconds + GRACE_S
            return Lost(seconds=self.seconds) if is_late else Answered(seconds=self.seconds)
        if seen.end is End.SILENT:
            return Lost(seconds=self.seconds)
        if (
            seen.end in (End.UNCONNECTED, End.GARBLED)
            or seen.end_s < REFUSED_WITHIN_S
            or seen.status in (401, 403, 429)
        ):
            return None
        return Cut(seconds=self.seconds, at_s=seen.end_s if seen.head_s is None else seen.head_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimit:
    """How large a request's body may be."""

    passed_bytes: int
    """The largest that was taken, sent whole or announced and not refused."""
    sent_bytes: int
    """The largest that was sent whole."""
    refused_bytes: int | None
    """The smallest that was refused; None: none was."""
    refusal: Exchange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that was measured."""

    url: str
    named: Named | None = None
    connected: Connected | None = None
    secured: Secured | None = None
    proxies_set: tuple[tuple[str, str], ...] = ()
    """Environment variables that send other programs through a proxy, without what stands before `@`."""
    first: Exchange | None = None
    """The answer to the first request."""
    echo: Echo | None = None
    """None: whoever answers is not holdfast, or not one that probes."""
    ahead_s: float | None = None
    """How far the clock there is ahead of the one here."""
    ahead_error_s: float = 0.0
    """How far off that may be."""
    body: BodyLimit | None = None
    kept_s: float | None = None
    """How long an idle connection was kept for a next request; None: longer than was waited, or not measured."""
    silences: tuple[Probe, ...] = ()
    beats: Probe | None = None
    zipped: Probe | None = None
    """Beats, asked for with `Accept-Encoding: gzip`."""
    interims: Probe | None = None
    until_s: float = 0.0
    """The longest silence that was to be tried."""
    is_complete: bool = False
    notes: tuple[str, ...] = field(default=())
    """What could not be measured, and why."""

    @property
    def samples(self) -> list[Sample]:
        """What the silences say."""
        return [sample for probe in self.silences if (sample := probe.sample()) is not None]
