"""Luck belongs to a call of an order of a seed: no policy can change another's by sending more."""

from __future__ import annotations

from statistics import mean

import pytest

from holdfast.whatif.chance import Luck, luck_of


def test_the_same_call_has_the_same_luck() -> None:
    """Whoever asks, and however often."""
    assert luck_of(7, 1234, 2) == luck_of(7, 1234, 2)


def test_every_other_call_has_another() -> None:
    """By order, by call and by seed: of 30,000 no two are alike."""
    drawn = {luck_of(seed, order, call) for seed in (-1, 0, 1) for order in range(1000) for call in range(10)}
    assert len(drawn) == 30_000


@pytest.mark.parametrize("name", Luck._fields)
def test_samples_are_spread_evenly(name: str) -> None:
    """In [0, 1), the mean in the middle, a tenth in each tenth."""
    samples = [getattr(luck_of(3, order, 0), name) for order in range(20_000)]
    assert all(0.0 <= sample < 1.0 for sample in samples)
    assert mean(samples) == pytest.approx(0.5, abs=0.01)
    tenths = [sum(tenth <= sample * 10 < tenth + 1 for sample in samples) for tenth in range(10)]
    assert all(count == pytest.approx(2000, rel=0.1) for count in tenths)


def test_neighbours_have_nothing_in_common() -> None:
    """The fate of an order says nothing about that of the next, nor about its own second call."""
    fates = [luck_of(5, order, 0).fate - 0.5 for order in range(20_000)]
    seconds = [luck_of(5, order, 1).fate - 0.5 for order in range(20_000)]
    latencies = [luck_of(5, order, 0).latency - 0.5 for order in range(20_000)]
    for other in (fates[1:], seconds, latencies):
        assert mean(a * b for a, b in zip(fates, other, strict=False)) == pytest.approx(0.0, abs=0.003)
