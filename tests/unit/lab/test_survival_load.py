"""The same seed brings the same load, the same kills and the same cuts; and they are as many as is said."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from holdfast.simulator import scenarios
from holdfast.simulator.path import Harm

SURVIVAL = Path(__file__).resolve().parents[3] / "lab" / "survival"


def test_a_load_is_drawn_from_its_seed(load: ModuleType) -> None:
    """All of it, and another seed draws another."""
    assert load.orders(3, 50, 60.0) == load.orders(3, 50, 60.0)
    assert load.orders(3, 50, 60.0) != load.orders(4, 50, 60.0)


def test_every_kind_of_caller_asks_as_often(load: ModuleType) -> None:
    """In the order of their moments, and all of them within the time."""
    drawn = load.orders(0, 1000, 300.0)
    assert set(Counter(order.kind for order in drawn).values()) == {250}
    assert [order.number for order in drawn] == list(range(1000))
    moments = [order.at_s for order in drawn]
    assert moments == sorted(moments)
    assert 0.0 <= moments[0] < moments[-1] <= 300.0


def test_sizes_have_their_shares(load: ModuleType) -> None:
    """To within a few of a hundred."""
    counts = Counter(order.size for order in load.orders(0, 2000, 300.0))
    for size, share in load.SIZES:
        assert counts[size] / 2000 == pytest.approx(share, abs=0.03)
    assert sum(share for _, share in load.SIZES) == pytest.approx(1.0)


def test_no_two_orders_ask_the_same(load: ModuleType) -> None:
    """A prompt tells whose it is; a model, what kind of caller asked."""
    drawn = load.orders(0, 300, 60.0)
    assert len({order.prompt for order in drawn}) == 300
    assert [load.number_of(order.prompt) for order in drawn] == [order.number for order in drawn]
    assert all(load.kind_of(load.model_of(kind)) == kind for kind in load.KINDS)
    with pytest.raises(AssertionError):
        load.number_of("a lighthouse")


def test_kills_come_one_in_each_stretch(load: ModuleType) -> None:
    """So that the gateway is up between two of them."""
    moments = load.kills(0, 10, 300.0)
    assert len(moments) == 10
    assert [int(at // 30.0) for at in moments] == list(range(10))
    assert all(later - earlier >= 9.0 for earlier, later in pairwise(moments))
    assert load.kills(0, 0, 300.0) == ()


def test_three_connections_in_ten_are_doomed(load: ModuleType) -> None:
    """Half of them at a moment, half at a byte; every way of being hurt occurs."""
    fates = [load.fate_of(0, number, speed=10.0) for number in range(1, 5001)]
    doomed = [fate for fate in fates if fate is not None]
    assert len(doomed) / len(fates) == pytest.approx(load.KILLED_SHARE, abs=0.02)
    assert {fate.harm for fate in doomed} == set(Harm)
    by_clock = [fate.after_s for fate in doomed if fate.after_s is not None]
    assert len(by_clock) / len(doomed) == pytest.approx(0.5, abs=0.05)
    assert max(by_clock) <= load.KILLED_WITHIN_S / 10.0
    assert load.fate_of(0, 7, speed=10.0) == load.fate_of(0, 7, speed=10.0)
    assert all(load.fate_of(0, number, speed=10.0, share=0.0) is None for number in range(100))


def test_one_call_in_five_goes_wrong_upstream() -> None:
    """As the scenario's file says, in every way that is asked for."""
    scenario = scenarios.load(str(SURVIVAL / "scenario.toml"))
    (phase,) = scenario.phases
    assert sum(phase.statuses.values()) + phase.refused + phase.cut == pytest.approx(0.20)
    assert set(phase.statuses) == {429, 500, 503}
    assert phase.refused > 0.0
    assert phase.cut > 0.0
    assert phase.latency_factor == 1.0
