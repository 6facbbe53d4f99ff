"""Holding by redirects: a caller is sent on before its path loses patience, and is told the true status in the end.

It passes every hop that was measured, but not every client follows, so it is never the default. After the last redirect
that a caller is known to follow, beats take over: an image that comes late is worth more than a status.

Pure: no I/O, clock or randomness.

Source: redirects followed by default, measured: both npm SDKs, both Python SDKs over httpx and fetch 20, requests 29;
Go, aiohttp and got 9; urllib3 3; plain httpx, curl and Java none.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.config import Heartbeat, HoldBy, RouteHold
from holdfast.errors import RequestError
from holdfast.policy.callers import OPENAI_NODE, OPENAI_PYTHON, CallerClass
from holdfast.policy.heartbeats import Schedule
from holdfast.policy.prefer import Preferences

HOPS_MAX = 20
"""Redirects that the SDKs of OpenAI follow."""
HOPS_FEW = 9
"""What others follow at least, google-genai over aiohttp among them."""
STRETCH = 1.5
"""A hop is at most so much longer than was set: 45 s for 30 s, still below the 60 s of common load balancers."""
GRACE_S = 2.5
"""Between two hops a caller counts as there for so long: a round trip, or a new connection with TLS on a slow path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """Where in a chain of redirects a caller is, and for how long it is held there."""

    number: int
    """0: its POST."""
    last: int
    """Number of the last one."""
    hop_s: float

    def __post_init__(self) -> None:
        assert 0 <= self.number <= self.last <= HOPS_MAX
        assert self.hop_s > 0.0

    @property
    def is_last(self) -> bool:
        """Whether nobody may be sent on from here."""
        return self.number == self.last

    def schedule(self, usual: Schedule) -> Schedule:
        """Silence, and after the last redirect what keeps a line open without one."""
        return Schedule(first_beat_s=self.hop_s if self.is_last else None, beat_s=usual.beat_s)


def holds_by_redirects(preferences: Preferences, *, route: RouteHold, gateway: HoldBy) -> bool:
    """Decide how a caller is held: as it asks, else as its route says, else as the gateway does.

    Whoever asks for an interval of beats asks for beats.
    """
    if preferences.hold is not None:
        return preferences.hold is HoldBy.REDIRECTS
    if preferences.heartbeat_s:
        return False
    return (gateway if route is RouteHold.GATEWAY else HoldBy(route.value)) is HoldBy.REDIRECTS


def hop_for(caller: CallerClass, settings: Heartbeat, *, longest_s: float, number: int = 0) -> Hop:
    """Choose how long a caller is held before it is sent on.

    As long as is set, and longer where what may have to be waited for would not be covered, up to `STRETCH`.

    Args:
        caller: How many redirects it follows.
        settings: The operator's hop.
        longest_s: How long its answer may take: the generation's time.
        number: Of the hop that it is at; a caller whose class has changed on the way is not sent back.
    """
    last = HOPS_MAX if caller.name in (OPENAI_PYTHON.name, OPENAI_NODE.name) else HOPS_FEW
    # It is held once more than it is sent on: at its POST.
    even_s = longest_s / (last + 1)
    hop_s = max(settings.redirect_hop_s, min(even_s, STRETCH * settings.redirect_hop_s))
    return Hop(number=number, last=max(last, number), hop_s=hop_s)


def hop_number(text: str | None) -> int:
    """Read `?hop=`: which redirect led here, from 1; without one, the first.

    Raises:
        RequestError: It is no such number.
    """
    number = int(text) if text and text.isascii() and text.isdigit() and len(text) <= 3 else 0
    if text is None:
        return 1
    if not 1 <= number <= HOPS_MAX:
        raise RequestError(f"hop must be a whole number from 1 to {HOPS_MAX}.", param="hop")
    return number
