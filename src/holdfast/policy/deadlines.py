"""How long a generation and its attempts may take, and why.

A deadline stops new attempts; it never cuts one that is paid for. An attempt's own timeout is generous for the same
reason: past it the money is spent and the answer thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from holdfast.config import Deadlines, Network
from holdfast.policy.latency import PUBLISHED, SLOWEST_FACTOR
from holdfast.types import Tier, Timeouts

P99_FACTOR = 1.2
"""An attempt gets this much more than the slowest of a hundred took."""
SLOW_FROM = 1.5
"""A model that takes so many times as long as is usual is slow; less is an ordinary hour of a day."""
UPLINK_BYTES_PER_S_MIN = 128 * 1024
"""1 Mbit/s: the uplink of a slow line, for requests that carry images."""
CALLER_S_MAX = 3600.0
"""Longest budget that a caller may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkProfile:
    """What a path adds to the time of an attempt."""

    factor: float
    added_s: float
    reason: str


NETWORKS: Mapping[Network, NetworkProfile] = MappingProxyType(
    {
        Network.INTRANET: NetworkProfile(
            factor=1.0, added_s=0.0, reason="in a data centre; the published percentiles were measured there"
        ),
        Network.HOME: NetworkProfile(factor=1.0, added_s=50.0, reason="home ADSL and mobile add 30-50 s"),
        Network.INTERNATIONAL: NetworkProfile(
            factor=1.0, added_s=100.0, reason="international lines and VPN add 50-100 s"
        ),
        Network.PEAK: NetworkProfile(
            factor=1.8, added_s=40.0, reason="17 January 2026: 180 s where 100 s were usual, 20-40 s of network"
        ),
    }
)
"""Source: figures published by a relay platform, January 2026."""


def generation_s(tier: Tier, deadlines: Deadlines, *, asked_s: float | None = None, slowness: float = 1.0) -> float:
    """Give the time from acceptance to the deadline, seconds.

    A caller who is held loses nothing by a later deadline, and what takes four times as long cannot be tried again
    within the time of one.

    Args:
        tier: Size class of the image.
        deadlines: The operator's settings.
        asked_s: The caller's own budget (`Holdfast-Timeout`), which wins.
        slowness: How many times as long as is usual the model takes now, as measured.
    """
    if asked_s is not None:
        assert 0.0 < asked_s <= CALLER_S_MAX
        return asked_s
    usual_s = deadlines.generation_s[tier]
    if deadlines.network is not Network.INTRANET:
        return max(usual_s, deadlines.slow_network_s)
    if not deadlines.grows_when_slow or slowness < SLOW_FROM:
        return usual_s
    return max(usual_s, min(usual_s * slowness, deadlines.slow_network_s))


def generation_s_max(tier: Tier, deadlines: Deadlines) -> float:
    """Give the longest that a generation without a budget of its caller's is ever granted, seconds."""
    return generation_s(tier, deadlines, slowness=float("inf"))


def attempt_timeout_s(tier: Tier, deadlines: Deadlines, *, p99_s: float | None = None) -> float:
    """Give the time that one attempt may take after its request is sent, seconds.

    What the network adds is added to what is set; what was measured came over that network.

    Args:
        tier: Size class of the image.
        deadlines: The operator's settings; `attempt_s` is the least it can be.
        p99_s: The slowest of a hundred as measured at this upstream; None while nothing is known.
    """
    network = NETWORKS[deadlines.network]
    measured_s = P99_FACTOR * p99_s if p99_s is not None else 0.0
    return max(deadlines.attempt_s[tier] * network.factor + network.added_s, measured_s)


def attempt_timeout_s_max(tier: Tier, deadlines: Deadlines) -> float:
    """Give the longest that an attempt is ever granted, seconds, whatever is learnt (`learning.deadline_p99_s`)."""
    return attempt_timeout_s(tier, deadlines, p99_s=SLOWEST_FACTOR * PUBLISHED[tier].p99_s)


def write_timeout_s(deadlines: Deadlines, body_bytes: int) -> float:
    """Give the time that sending a request of this size may take: a prompt's share and a slow line's."""
    assert body_bytes >= 0
    return deadlines.write_s + body_bytes / UPLINK_BYTES_PER_S_MIN


def attempt_timeouts(tier: Tier, deadlines: Deadlines, *, body_bytes: int = 0, p99_s: float | None = None) -> Timeouts:
    """Give all limits of one attempt."""
    total_s = attempt_timeout_s(tier, deadlines, p99_s=p99_s)
    return Timeouts(
        connect_s=deadlines.connect_s,
        write_s=write_timeout_s(deadlines, body_bytes),
        read_idle_s=total_s,
        total_s=total_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutRow:
    """One line of `holdfast timeouts`."""

    name: str
    seconds: float
    reason: str
    source: str


_PUBLISHED = "published by a relay platform, January 2026"


def explain(tier: Tier, deadlines: Deadlines) -> list[TimeoutRow]:
    """Give every limit that a generation of this size lives under, with its reason."""
    percentiles = PUBLISHED[tier]
    network = NETWORKS[deadlines.network]
    timeouts = attempt_timeouts(tier, deadlines)
    return [
        TimeoutRow(
            name="generation",
            seconds=generation_s(tier, deadlines),
            reason="no attempt begins after it; one in flight is awaited while its caller is connected"
            + (
                f"; up to {generation_s_max(tier, deadlines):g} s while the model is measured to be slow"
                if generation_s_max(tier, deadlines) > generation_s(tier, deadlines)
                else ""
            ),
            source=f"{_PUBLISHED}: 300 s, 600 s for 4K and outside a data centre",
        ),
        TimeoutRow(
            name="attempt",
            seconds=timeouts.total_s,
            reason=f"at least {P99_FACTOR:g} x P99 ({percentiles.p99_s:g} s) at this size; up to "
            f"{attempt_timeout_s_max(tier, deadlines):g} s where an upstream is measured to be slower; "
            f"{network.reason}",
            source=f"P50 {percentiles.p50_s:g}, P95 {percentiles.p95_s:g}, P99 {percentiles.p99_s:g} s: {_PUBLISHED}",
        ),
        TimeoutRow(
            name="connect",
            seconds=timeouts.connect_s,
            reason="nothing was sent yet, so failing early is free",
            source=_PUBLISHED,
        ),
        TimeoutRow(
            name="write",
            seconds=timeouts.write_s,
            reason="for a prompt; a request with images gets a second more per 128 KiB",
            source=_PUBLISHED,
        ),
        TimeoutRow(
            name="read",
            seconds=timeouts.read_idle_s,
            reason="an upstream says nothing while it draws: silence is allowed for the whole attempt",
            source="request 1-3 s, silence 30-170 s, answer 1-5 s: " + _PUBLISHED,
        ),
    ]
