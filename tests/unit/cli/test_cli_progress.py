"""The progress bar says what is known, and no more."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli import progress as progress_module
from holdfast.cli.progress import Progress, Reading, bar, duration, label_of, line, megabytes, read, sentences
from holdfast.policy.latency import prior
from holdfast.types import Tier

LATENCY = prior(Tier.K4)


def sentence(reading: Reading) -> str:
    """Give the fullest version."""
    return sentences(reading)[0]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def a_reading(*, elapsed_s: float = 30.0, received_bytes: int = 0) -> Reading:
    """Build a reading."""
    return read(LATENCY, elapsed_s, received_bytes)


def test_half_are_done_at_the_median() -> None:
    """The share is that of past generations, not of elapsed time over expected time."""
    assert a_reading(elapsed_s=120.0).fraction == pytest.approx(0.5)
    assert a_reading(elapsed_s=170.0).fraction == pytest.approx(0.95)


def test_nothing_is_done_at_once() -> None:
    """At the beginning the bar is empty."""
    assert a_reading(elapsed_s=0.0).fraction == 0.0


@given(elapsed_s=st.floats(0.0, 3600.0))
def test_it_never_claims_to_be_finished(elapsed_s: float) -> None:
    """Only the image itself says so."""
    reading = a_reading(elapsed_s=elapsed_s)
    assert "100 of 100" not in sentence(reading)


@given(earlier_s=st.floats(0.0, 1000.0), more_s=st.floats(0.0, 1000.0))
def test_it_never_goes_back(earlier_s: float, more_s: float) -> None:
    """A bar that shrinks is not believed."""
    assert a_reading(elapsed_s=earlier_s).fraction <= a_reading(elapsed_s=earlier_s + more_s).fraction


@given(fraction=st.floats(0.0, 1.0), cells=st.integers(1, 80))
def test_a_bar_is_exactly_as_wide_as_asked(fraction: float, cells: int) -> None:
    """A terminal line must not wrap."""
    assert len(bar(fraction, cells)) == cells


@pytest.mark.parametrize(
    ("fraction", "drawn"), [(0.0, "░░░░"), (0.5, "██░░"), (0.54, "██▏░"), (0.99, "███▉"), (1.0, "████")]
)
def test_a_bar_is_drawn_in_eighths(fraction: float, drawn: str) -> None:
    """Slow progress is still seen to move; only a whole one is full."""
    assert bar(fraction, 4) == drawn


def test_waiting_is_told_with_the_estimate() -> None:
    """Half and 95 of 100 are both told: a median alone is a promise broken half the time."""
    said = sentence(a_reading(elapsed_s=120.0))
    assert "120 s: 50 of 100 such images are done by now" in said or "49 of 100" in said
    assert "half take 2 min" in said
    assert "95 of 100 at most 2 min 50 s" in said


def test_a_slow_one_is_told_as_slow() -> None:
    """Past P95 the estimate is no longer repeated."""
    assert "slower than 98 of 100" in sentence(a_reading(elapsed_s=230.0))


def test_receiving_is_told_in_megabytes() -> None:
    """Once bytes come the waiting is over."""
    assert sentence(a_reading(received_bytes=19_400_000)) == "30 s: receiving, 19.4 MB"


@given(columns=st.integers(0, 250), elapsed_s=st.floats(0.0, 900.0), received=st.sampled_from([0, 5_000_000]))
def test_a_line_fits_its_terminal(columns: int, elapsed_s: float, received: int) -> None:
    """A line that wraps cannot be redrawn."""
    assert len(line("4K", a_reading(elapsed_s=elapsed_s, received_bytes=received), columns)) <= max(0, columns - 1)


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_every_usual_terminal_gets_a_bar(columns: int) -> None:
    """It is seen and not only read; where the words do not fit beside it, there are fewer words."""
    drawn = line("   4K 16:9", a_reading(elapsed_s=120.0), columns)
    assert "█" in drawn
    assert "░" in drawn
    assert "120 s" in drawn


def test_the_usual_terminal_is_told_the_estimate() -> None:
    """80 columns hold the bar and the median."""
    assert "half by 2 min" in line("   4K", a_reading(elapsed_s=30.0), 80)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (15.0, "15 s"), (119.4, "119 s"), (120.0, "2 min"), (125.0, "2 min 5 s")]
)
def test_durations_are_told_as_people_say_them(seconds: float, said: str) -> None:
    """Seconds up to two minutes, then minutes."""
    assert duration(seconds) == said


def test_megabytes_are_decimal() -> None:
    """As file managers have them."""
    assert megabytes(20_250_000) == "20.2 MB"


@pytest.mark.parametrize(
    ("tier", "ratio", "n", "label"),
    [(Tier.K4, "1:1", 1, "4K"), (Tier.K2, "16:9", 1, "2K 16:9"), (Tier.K1, "1:1", 3, "3 x 1K")],
)
def test_a_label_names_what_is_made(tier: Tier, ratio: str, n: int, label: str) -> None:
    """Several terminals side by side can be told apart."""
    assert label_of(tier, ratio, n) == label


async def test_a_terminal_is_left_clean() -> None:
    """The last thing written takes the bar away."""
    stream = Terminal()
    async with Progress(stream, label="4K", latency=LATENCY) as progress:
        await settled()
        assert progress.elapsed_s < 5.0
    assert stream.getvalue().endswith("\r\x1b[2K")
    assert "0 s: 0 of 100" in stream.getvalue()


async def test_what_ends_at_once_leaves_no_line_in_a_log() -> None:
    """An estimate before a failure that was there already would be noise; and nobody may be looking at all."""
    stream = io.StringIO()
    async with Progress(stream, label="4K", latency=LATENCY), Progress(None, label="4K", latency=LATENCY):
        await settled()
    assert stream.getvalue() == ""


async def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """No control characters where nobody redraws."""
    monkeypatch.setattr(progress_module, "PLAIN_FIRST_S", 0.0)
    stream = io.StringIO()
    async with Progress(stream, label="4K", latency=LATENCY):
        await settled()
    said = stream.getvalue()
    assert said.startswith("4K  0 s: 0 of 100 such images are done by now")
    assert said.endswith("\n")
    assert "\x1b" not in said


async def settled() -> None:
    """Let every task that can run do so."""
    import asyncio

    for _ in range(3):
        await asyncio.sleep(0)
