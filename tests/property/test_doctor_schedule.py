"""Any limit is found, within a second or 10 %, by whichever kind of hop, in few rounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.doctor.schedule import (
    FINE_S_MIN,
    PROBES,
    ROUNDS_MAX,
    SILENCE_S,
    Answered,
    Cut,
    CutAfter,
    Lost,
    LostAfter,
    Sample,
    Uncut,
    conclude,
    first_round,
    next_round,
)


def found(limit_s: float, *, forgets: bool, until_s: float = SILENCE_S, late_s: float = 0.0) -> tuple[Sample, ...]:
    """Try silences in rounds on a path with this limit; what is seen of each."""
    samples: list[Sample] = []
    wanted = first_round(until_s)
    for _ in range(ROUNDS_MAX):
        for seconds in wanted:
            if seconds < limit_s:
                samples.append(Answered(seconds=seconds))
            else:
                samples.append(Lost(seconds=seconds) if forgets else Cut(seconds=seconds, at_s=limit_s + late_s))
        wanted = next_round(samples)
        assert len(wanted) <= PROBES
        if not wanted:
            return tuple(samples)
    raise AssertionError("too many rounds")


@given(limit_s=st.floats(0.4, 130.0))
def test_a_limit_of_a_hop_that_forgets_is_found(limit_s: float) -> None:
    """Within a second, and within 10 % of a short one."""
    end = conclude(found(limit_s, forgets=True))
    assert isinstance(end, LostAfter)
    assert end.answered_s < limit_s <= end.lost_s
    assert abs(end.limit_s - limit_s) <= max(FINE_S_MIN, min(1.0, 0.1 * limit_s))


@given(limit_s=st.floats(0.4, 130.0), late_s=st.floats(0.0, 0.2))
def test_a_limit_of_a_hop_that_closes_is_found_at_once(limit_s: float, late_s: float) -> None:
    """In one round: the cut tells its time."""
    samples = found(limit_s, forgets=False, late_s=late_s)
    assert len(samples) == PROBES
    end = conclude(samples)
    assert isinstance(end, CutAfter)
    assert end.is_steady
    assert end.limit_s == limit_s + late_s


@given(limit_s=st.floats(0.4, 60.0), later_s=st.floats(1.0, 70.0))
def test_the_shorter_of_two_limits_counts(limit_s: float, later_s: float) -> None:
    """Behind a NAT that forgets, a proxy gives up later: what it says hides nothing."""
    samples = [*found(limit_s, forgets=True), Cut(seconds=SILENCE_S, at_s=limit_s + SILENCE_S / PROBES + later_s)]
    end = conclude(samples)
    assert isinstance(end, LostAfter)
    assert end.lost_s >= limit_s


@given(until_s=st.floats(1.0, 150.0))
def test_a_path_without_a_limit_is_borne(until_s: float) -> None:
    """To the longest silence that was tried."""
    end = conclude([Answered(seconds=each) for each in first_round(until_s)])
    assert isinstance(end, Uncut)
    assert abs(end.until_s - until_s) <= 0.01
