"""Which silences are tried at the same time, and what their ends say of the limit of a path.

Pure: no I/O, clock or randomness. A hop that closes tells its limit by the moment at which it does: one long silence is
enough. One that only forgets (a NAT, a firewall) tells nothing: an answer due after the limit does not come, one due
before it does. So silences of growing length are tried together, then more of them between the longest that was
answered and the shortest that was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SILENCE_S = 132.0
"""The longest silence tried: Cloudflare cuts at 120 to 125 s (measured by several projects), and limits up to 130 s are
to be found."""
QUICK_S = 65.0
"""With `--quick`: past the 60 s of ALB, nginx, Apache and Varnish."""
PROBES = 16
"""Silences tried at the same time."""
FINE_S = 1.0
FINE_SHARE = 0.08
"""How exact a limit is to be known: a second, and of short limits this share."""
FINE_S_MIN = 0.1
ROUNDS_MAX = 4
SLACK_S = 0.5
"""An answer that came this much after a cut of others is not evidence against it: clocks start apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A silence of `seconds` was borne."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """It was ended from outside: by an error answer, or by the connection's end."""

    seconds: float
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The answer was due, and nothing came: neither it nor an end."""

    seconds: float


Sample = Answered | Cut | Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncut:
    """Nothing cuts up to here."""

    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CutAfter:
    """Something ends silent calls, visibly."""

    limit_s: float
    is_steady: bool
    """Whether every longer silence was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostAfter:
    """Something forgets silent connections: the limit lies between the two."""

    answered_s: float
    lost_s: float

    @property
    def limit_s(self) -> float:
        """The middle."""
        return (self.answered_s + self.lost_s) / 2


Silence = Uncut | CutAfter | LostAfter


def first_round(until_s: float, count: int = PROBES) -> tuple[float, ...]:
    """Spread the first silences evenly; the last is `until_s`."""
    assert until_s > 0.0
    assert count >= 2
    return tuple(round(until_s * (at + 1) / count, 2) for at in range(count))


def next_round(samples: Sequence[Sample], count: int = PROBES) -> tuple[float, ...]:
    """Give the silences to try next; empty once the limit is known exactly enough."""
    found = conclude(samples)
    if not isinstance(found, LostAfter):
        return ()
    width_s = found.lost_s - found.answered_s
    if width_s <= fine_s(found.answered_s):
        return ()
    step_s = width_s / (count + 1)
    tried = {each.seconds for each in samples}
    inside = (round(found.answered_s + step_s * (at + 1), 2) for at in range(count))
    return tuple(sorted({each for each in inside if each > 0.0} - tried))


def fine_s(near_s: float) -> float:
    """Say how exactly a limit about here is to be known, seconds."""
    return max(FINE_S_MIN, min(FINE_S, FINE_SHARE * near_s))


def conclude(samples: Sequence[Sample]) -> Silence | None:
    """Say what is known of the limit; None: nothing.

    What was lost before anything was cut is the shorter limit of two: behind a NAT that forgets after 20 s, a proxy
    that gives up after 60 s still answers for it.
    """
    cuts = [each.at_s for each in samples if isinstance(each, Cut)]
    lost = [each.seconds for each in samples if isinstance(each, Lost)]
    answered = [each.seconds for each in samples if isinstance(each, Answered)]
    if not samples:
        return None
    if lost and (not cuts or min(lost) < min(cuts) - SLACK_S):
        shortest = min(lost)
        # One that got through later does not help whoever waits: the shorter limit counts.
        return LostAfter(answered_s=max((each for each in answered if each < shortest), default=0.0), lost_s=shortest)
    if cuts:
        limit_s = min(cuts)
        return CutAfter(limit_s=limit_s, is_steady=not any(each > limit_s + SLACK_S for each in answered))
    return Uncut(until_s=max(answered))
