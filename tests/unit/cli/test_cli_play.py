"""What the demo says while its two calls wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.play import told_of_beats, told_of_silence
from holdfast.cli.progress import Reading, Told, line, read
from holdfast.cli.stage import BEAT_S, FIRST_BEAT_S, IDLE_CUT_S, SPEED
from holdfast.policy.latency import prior
from holdfast.types import Tier

LATENCY = prior(Tier.K4, scale=1.0 / SPEED)


def a_reading(*, elapsed_s: float, received_bytes: int = 0) -> Reading:
    """Build a reading of the demo's call."""
    return read(LATENCY, elapsed_s, received_bytes)


def test_the_first_call_waits_for_the_cut() -> None:
    """The stranger sees what will happen before it does."""
    assert told_of_silence(a_reading(elapsed_s=5.0))[0] == f"5 s of silence; the path cuts at {IDLE_CUT_S:g} s"


def test_the_second_call_says_what_holds_it() -> None:
    """From the first beat on; before it, nothing has been sent yet."""
    early, later = (told_of_beats(a_reading(elapsed_s=at))[0] for at in (FIRST_BEAT_S / 2, FIRST_BEAT_S + 1.0))
    assert f"after {FIRST_BEAT_S:g} s" in early
    assert f"a byte every {BEAT_S:g} s holds the line" in later
    assert "half of all 4K images take 15 s" in later


def test_a_slow_one_is_told_as_slow() -> None:
    """Past P95 the estimate is not repeated."""
    assert "slower than" in told_of_beats(a_reading(elapsed_s=LATENCY.p95_s + 1.0))[0]


@pytest.mark.parametrize("told", [told_of_silence, told_of_beats])
def test_receiving_is_told_in_both(told: Told) -> None:
    """Once bytes come the waiting is over."""
    assert told(a_reading(elapsed_s=15.0, received_bytes=5_000_000))[0] == "15 s: receiving, 5.0 MB"


@given(
    columns=st.integers(0, 200), elapsed_s=st.floats(0.0, 60.0), told=st.sampled_from([told_of_silence, told_of_beats])
)
def test_each_line_fits_its_terminal(columns: int, elapsed_s: float, told: Told) -> None:
    """A line that wraps cannot be redrawn."""
    assert len(line("   4K", a_reading(elapsed_s=elapsed_s), columns, told)) <= max(0, columns - 1)
