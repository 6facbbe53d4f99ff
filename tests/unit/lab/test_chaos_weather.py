"""What befalls in the lab of chaos is drawn from its seed alone, and every kind of it comes."""

from __future__ import annotations

from types import ModuleType

import pytest

from holdfast.simulator.film import paint
from holdfast.simulator.pictures import prepare

NAMES = ("serve-1", "serve-2", "work-1")


def test_the_same_seed_draws_the_same(chaos_weather: ModuleType) -> None:
    """And another one something else."""

    def drawn(seed: int) -> object:
        deck = chaos_weather.DECK
        return chaos_weather.schedule(seed, 1800.0, NAMES, every_s=10.0, outage_s=60.0, deck=deck)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_in_a_long_run(chaos_weather: ModuleType, seed: int) -> None:
    """One outage is as long as is asked for, freezes outlast a lease, and all is over within the run."""
    kinds = chaos_weather.Kind
    deck = chaos_weather.DECK
    faults = chaos_weather.schedule(seed, 1800.0, NAMES, every_s=10.0, outage_s=60.0, deck=deck)
    assert {each.kind for each in faults} == set(kinds)
    assert max(each.lasts_s for each in faults if each.kind is kinds.DATABASE_OUTAGE) == 60.0
    frozen = [each for each in faults if each.kind is kinds.FREEZE and each.at_s < 1500.0]
    assert all(each.lasts_s > chaos_weather.LEASE_S for each in frozen)
    assert all(each.until_s < 1800.0 for each in faults if each.kind is not kinds.DATABASE_OUTAGE)
    assert all(each.at_s < 1080.0 for each in faults if each.kind is kinds.DEPLOY)
    cut = [each for each in faults if each.kind is kinds.PARTITION]
    assert {each.peer for each in cut} == set(chaos_weather.PEERS)
    assert {each.way for each in cut} == set(chaos_weather.Way)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_befalls_the_same_thing_twice_at_once(chaos_weather: ModuleType, seed: int) -> None:
    """One after the other, of one replica or one server."""
    deck = chaos_weather.SHORT_DECK
    faults = chaos_weather.schedule(seed, 600.0, NAMES, every_s=3.0, outage_s=20.0, deck=deck)
    for at, first in enumerate(faults):
        for second in faults[at + 1 :]:
            if first.target and first.target == second.target:
                assert second.at_s >= first.until_s


def test_orders_are_drawn_by_their_number(chaos_orders: ModuleType) -> None:
    """Every kind asks; a prompt tells whose it is."""
    drawn = [chaos_orders.order_of(3, number) for number in range(200)]
    assert {each.kind for each in drawn} == set(chaos_orders.KINDS)
    assert len({each.prompt for each in drawn}) == 200
    assert [chaos_orders.number_of(each.prompt) for each in drawn] == [each.number for each in drawn]
    assert any(each.cancels_after_s is not None for each in drawn)
    assert all(each.kind == "poller" for each in drawn if each.is_doubled or each.is_contrary)


@pytest.mark.parametrize("format_", ["jpeg", "png"])
def test_a_picture_is_known_to_the_last_byte(chaos_orders: ModuleType, format_: str) -> None:
    """What makes it unique is told; one bit of another, or an end that is missing, is seen."""
    made = prepare(paint(1024, 1024, format_), format_)
    first, second = (made.with_serial(serial).file() for serial in ("one", "another"))
    assert chaos_orders.serial_of(first) != chaos_orders.serial_of(second)
    assert chaos_orders.serial_of(first) is not None
    assert chaos_orders.serial_of(first[:-1]) is None
    assert chaos_orders.serial_of(first[:-9] + bytes([first[-9] ^ 1]) + first[-8:]) is None
    assert chaos_orders.serial_of(b"") is None
