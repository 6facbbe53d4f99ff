"""How often an upstream is asked for what it makes, where it gives a handle instead of an answer.

Pure. A question is cheap and its answer late by half a pause on average, so pauses are a share of the time that the
image is expected to take: short at first, since what is refused is refused at once; long until half of that time has
passed, since nothing comes that early; short again around it; and then growing with what has been waited.
"""

from __future__ import annotations

FIRST_SHARE = 1 / 16
"""Of the expected time, until the first question: refusals and bad requests are told in seconds."""
FIRST_S_MAX = 4.0
EARLY_SHARE = 1 / 8
"""Until half of the expected time: fewer than one image in twenty is there by then (published percentiles)."""
DUE_SHARE = 1 / 16
"""From then on: an image is late by a thirty-second of its expected time, on average."""
LATE_SHARE = 1 / 32
"""Of what has been waited, once that is twice the expected time: the same pause there, and longer ones after it."""
PAUSE_S_MIN = 0.2
PAUSE_S_MAX = 15.0


def pause_s(*, waited_s: float, expected_s: float) -> float:
    """Say how many seconds pass until the next question.

    Args:
        waited_s: Seconds that have passed since the upstream took the request; 0 before the first question.
        expected_s: Seconds after which half of such images are there.

    Returns:
        `PAUSE_S_MIN` to `PAUSE_S_MAX`.
    """
    assert waited_s >= 0.0
    assert expected_s > 0.0
    if waited_s == 0.0:
        wanted_s = min(FIRST_SHARE * expected_s, FIRST_S_MAX)
    elif waited_s < expected_s / 2:
        wanted_s = EARLY_SHARE * expected_s
    elif waited_s < 2 * expected_s:
        wanted_s = DUE_SHARE * expected_s
    else:
        wanted_s = LATE_SHARE * waited_s
    return min(PAUSE_S_MAX, max(PAUSE_S_MIN, wanted_s))
