"""How many calls a credential may send in a minute and in a day. Pure: time is told by whoever asks.

The minute is kept by the generic cell rate algorithm in its form of virtual scheduling: all that is kept of the past is
one instant, the *theoretical arrival time* of the next call if calls came evenly. A call that comes before it is early,
by up to a tolerance that lets through a burst. Source: ITU-T I.371 (2004), annex A.1.

The burst is one call: calls leave one by one, as far apart as the minute allows. Vendors count in windows of their own,
sliding or fixed, some by the second; calls that are spread evenly fit all of them, and what a call waits for its turn
is little beside the minute or two that its image takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

MINUTE_S = 61.2
"""What a minute's calls are spread over: a minute, and a fiftieth of it. Calls do not travel equally long; as long as
the difference is below 1.2 s, our own commit before the call included, an upstream never counts one too many."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast calls may follow each other: in any minute `per_minute` at most, `burst` of them at one instant."""

    per_minute: int
    burst: int = 1
    interval_s: float = field(init=False)
    """Seconds from one call to the next, in the long run. A burst is paid for by what follows it."""

    def __post_init__(self) -> None:
        assert 1 <= self.burst <= self.per_minute
        object.__setattr__(self, "interval_s", MINUTE_S / (self.per_minute - self.burst + 1))

    def ready_at(self, due_at: float) -> float:
        """Say from when on the next call may be sent.

        Args:
            due_at: The theoretical arrival time of the next call.
        """
        return due_at - (self.burst - 1) * self.interval_s

    def sent(self, due_at: float, at: float) -> float:
        """Give the theoretical arrival time of the call after the one that is sent now."""
        return max(due_at, at) + self.interval_s

    def spare(self, due_at: float, now: float) -> int:
        """Say how many calls may be sent at this instant."""
        early_s = now - self.ready_at(due_at)
        return 0 if early_s < 0.0 else min(self.burst, 1 + int(early_s // self.interval_s))

    def after(self, sent_at: Iterable[float], now: float) -> float:
        """Give the theoretical arrival time that a past leaves behind, such as the one before a restart.

        What was sent more than a minute ago counts no more; what seems to be sent in the future was sent now, for it is
        a clock that was put back. So nobody waits for longer than a minute, whatever the past was.

        Args:
            sent_at: Oldest first, seconds on the same clock as `now`.
            now: What is asked for.
        """
        due_at = float("-inf")
        for at in sent_at:
            if at > now - MINUTE_S:
                due_at = self.sent(due_at, min(at, now))
        return max(0.0, self.clamped(due_at, now))

    def clamped(self, due_at: float, now: float) -> float:
        """Bound a theoretical arrival time to what one minute's calls can make of it."""
        return min(due_at, now + max(MINUTE_S, self.burst * self.interval_s))


def day_of(unix_s: float) -> int:
    """Number the UTC day, from 1 January 1970."""
    return int(unix_s // DAY_S)


def day_left_s(unix_s: float) -> float:
    """Say how long the UTC day still is."""
    return DAY_S - unix_s % DAY_S


def share_of(sent: int, key: int, keys: int) -> int:
    """Give what one of several credentials has sent of all, if they took turns."""
    return sent // keys + (key < sent % keys)
