"""The numbers of a recipe: every limit with the reason that stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from holdfast.config import Deadlines, Heartbeat
from holdfast.policy.deadlines import attempt_timeout_s, generation_s
from holdfast.policy.latency import PUBLISHED
from holdfast.types import Tier

KEEPALIVE_S = 30.0
"""Silence after which the kernel probes. Source: half of the 60 s after which load balancers forget a connection."""
POOL_S = 10.0
"""Source: published by a relay platform, January 2026, as are 10 s to connect and 30 s to write."""
PAUSE_S = 2.0
"""Before the first repeat. Source: `retry.backoff_s_first` of the gateway as it is shipped."""
REPEATS = 3
"""Of what cost nothing, without a gateway. Source: three waits, 5, 10 and 15 s, published by a relay platform, 2026."""
SILENT_BEATS = 3
"""First beats that may fail to come before a path counts as dead: one lost segment is sent again within seconds."""
BODY_S = 120.0
"""For an answer of up to 27 MB, once it has begun. Source: what the gateway grants its upstreams, `types.Timeouts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One limit."""

    value: int
    """Whole, since some languages count so; what is set to a fraction is rounded up."""
    unit: str
    """`s`, or empty for a count."""
    reason: str
    """One sentence, which stands above the number as a comment."""

    def __post_init__(self) -> None:
        assert self.value > 0


def _seconds(value: float, reason: str) -> Number:
    return Number(value=ceil(value), unit="s", reason=reason)


def numbers(
    tier: Tier,
    deadlines: Deadlines,
    *,
    through_holdfast: bool,
    heartbeat: Heartbeat | None = None,
) -> dict[str, Number]:
    """Give the limits of a call for one image, by name: those of `docs/how-to/clients`.

    Args:
        tier: Size class of the image.
        deadlines: The operator's; its network is the caller's.
        through_holdfast: Whether a gateway of ours holds the line and joins repeats.
        heartbeat: The operator's beats; None: the shipped ones.
    """
    shared = {
        "connect_s": _seconds(deadlines.connect_s, "Nothing was sent yet, so failing early is free."),
        "write_s": _seconds(deadlines.write_s, "For a prompt; images to start from need a second per 128 KiB."),
        "pool_s": _seconds(POOL_S, "A connection is free by then, or the pool is too small."),
        "keepalive_s": _seconds(
            KEEPALIVE_S, "Probes keep NATs from forgetting a silent connection; HTTP timers ignore them."
        ),
    }
    if through_holdfast:
        return shared | _held(tier, deadlines, heartbeat or Heartbeat())
    return shared | _alone(tier, deadlines)


def _held(tier: Tier, deadlines: Deadlines, heartbeat: Heartbeat) -> dict[str, Number]:
    generation, attempt = generation_s(tier, deadlines), attempt_timeout_s(tier, deadlines)
    total_s, silence_s = generation + attempt, SILENT_BEATS * max(heartbeat.first_beat_s, heartbeat.beat_s)
    return {
        "silence_s": _seconds(
            silence_s,
            f"The gateway beats after {heartbeat.first_beat_s:g} s, then every {heartbeat.beat_s:g} s: "
            "so long without one is a dead path.",
        ),
        "total_s": _seconds(
            total_s, f"No attempt begins after {generation:g} s, and one in flight may take {attempt:g} s more."
        ),
        "pause_s": _seconds(PAUSE_S, "A repeat joins and buys nothing: what it must spare is a gateway that restarts."),
        "repeats": Number(
            value=ceil(total_s / silence_s),
            unit="",
            reason="They join. So many fill the whole time even where a proxy holds the beats back.",
        ),
    }


def _alone(tier: Tier, deadlines: Deadlines) -> dict[str, Number]:
    silence_s, published = generation_s(tier, deadlines), PUBLISHED[tier]
    return {
        "silence_s": _seconds(
            silence_s,
            f"Nothing comes while {tier.value} is drawn: half take {published.p50_s:g} s, one in a hundred over "
            f"{published.p99_s:g} s.",
        ),
        "total_s": _seconds(silence_s + BODY_S, f"The longest silence, and {BODY_S:g} s for the answer itself."),
        "pause_s": _seconds(PAUSE_S, "Doubled each time; a Retry-After of the server's wins."),
        "repeats": Number(
            value=REPEATS,
            unit="",
            reason="Only of what was not charged: never connected, 429, 503. Anything else could buy twice.",
        ),
    }


def named(table: Mapping[str, Number]) -> dict[str, str]:
    """Spell the numbers for a program: `silence_s`, and `silence_ms` for clients that count so."""
    found: dict[str, str] = {}
    for name, number in table.items():
        found[name] = str(number.value)
        if number.unit == "s":
            found[f"{name.removesuffix('_s')}_ms"] = str(number.value * 1000)
    return found
