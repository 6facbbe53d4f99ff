"""How many calls an upstream takes in a minute with each credential, counted in a sliding window. Pure.

The strictest way to count: whoever keeps to the limit here keeps to it wherever the clock's own minutes, or a bucket,
are used.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping

WINDOW_S = 60.0
CREDENTIALS_MAX = 1_000
"""Remembered; the one that was not seen for longest is forgotten."""


def credential_of(headers: Mapping[str, str]) -> str:
    """Find in a request's headers whose limit it counts against."""
    return headers.get("authorization") or headers.get("x-goog-api-key") or ""


class MinuteLimit:
    """Counts what was let through; what was refused does not count, as with the real ones."""

    def __init__(self, per_minute: int) -> None:
        """Begin with nothing sent.

        Args:
            per_minute: 0: no limit.
        """
        self._per_minute = per_minute
        self._sent: OrderedDict[str, deque[float]] = OrderedDict()

    def refuses(self, credential: str, at_s: float) -> float | None:
        """Count a request, or refuse it and say in how many seconds one would be taken; None: it was taken.

        Args:
            credential: Whose it is.
            at_s: When, seconds of life since any moment.
        """
        if not self._per_minute:
            return None
        sent = self._sent.setdefault(credential, deque())
        self._sent.move_to_end(credential)
        while sent and sent[0] <= at_s - WINDOW_S:
            sent.popleft()
        if len(sent) >= self._per_minute:
            return sent[0] + WINDOW_S - at_s
        sent.append(at_s)
        if len(self._sent) > CREDENTIALS_MAX:
            self._sent.popitem(last=False)
        return None
