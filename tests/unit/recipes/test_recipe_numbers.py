"""The numbers of a recipe come from the same rules as the gateway's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.config import Deadlines, Heartbeat, Network
from holdfast.policy.deadlines import attempt_timeout_s, generation_s
from holdfast.policy.latency import PUBLISHED
from holdfast.recipes.numbers import BODY_S, Number, named, numbers
from holdfast.types import Tier, Timeouts

BOTH = (True, False)


def on(network: Network) -> Deadlines:
    """Make the deadlines of a network."""
    return replace(Deadlines(), network=network)


@pytest.mark.parametrize("network", Network)
@pytest.mark.parametrize("tier", Tier)
def test_a_held_call_may_last_longer_than_the_gateway_tries(tier: Tier, network: Network) -> None:
    """Its whole time covers the deadline, and the attempt that is awaited past it."""
    deadlines = on(network)
    table = numbers(tier, deadlines, through_holdfast=True)
    assert table["total_s"].value >= generation_s(tier, deadlines) + attempt_timeout_s(tier, deadlines)


@pytest.mark.parametrize("network", Network)
@pytest.mark.parametrize("tier", Tier)
def test_repeats_fill_the_whole_time(tier: Tier, network: Network) -> None:
    """Where a hop holds all beats back, so many silences in a row are as long as the call may be."""
    table = numbers(tier, on(network), through_holdfast=True)
    assert table["repeats"].value * table["silence_s"].value >= table["total_s"].value


def test_a_held_silence_is_longer_than_the_beats() -> None:
    """Three of the longest, as the gateway is set: 20 s as shipped make a minute."""
    assert numbers(Tier.K4, Deadlines(), through_holdfast=True)["silence_s"].value == 60
    slow = Heartbeat(first_beat_s=25.0, beat_s=40.0)
    told = numbers(Tier.K4, Deadlines(), through_holdfast=True, heartbeat=slow)["silence_s"]
    assert told.value == 120
    assert "after 25 s, then every 40 s" in told.reason


@pytest.mark.parametrize(("tier", "silence_s"), [(Tier.K1, 300), (Tier.K2, 300), (Tier.K4, 600)])
def test_without_holdfast_the_published_timeouts_are_waited(tier: Tier, silence_s: int) -> None:
    """300, 300 and 600 s of silence, and what the answer takes; the slowest published percentile is far below."""
    table = numbers(tier, Deadlines(), through_holdfast=False)
    assert table["silence_s"].value == silence_s
    assert table["silence_s"].value > PUBLISHED[tier].p99_s
    assert table["total_s"].value == silence_s + BODY_S


@pytest.mark.parametrize("network", [network for network in Network if network is not Network.INTRANET])
def test_a_slow_network_is_waited_for(network: Network) -> None:
    """600 s for every size."""
    assert numbers(Tier.K1, on(network), through_holdfast=False)["silence_s"].value == 600


def test_the_body_gets_what_the_gateway_grants_its_upstreams() -> None:
    """The two numbers have one reason."""
    assert Timeouts(connect_s=1, write_s=1, read_idle_s=1, total_s=1).body_s == BODY_S


@pytest.mark.parametrize("through_holdfast", BOTH)
def test_settings_are_heard_and_rounded_up(through_holdfast: bool) -> None:
    """A fraction of a second is no number in a shell or in Java."""
    table = numbers(Tier.K1, replace(Deadlines(), connect_s=2.5), through_holdfast=through_holdfast)
    assert table["connect_s"].value == 3


def test_both_programs_take_the_same_names() -> None:
    """A template may use any of them on either side."""
    ours, alone = (numbers(Tier.K1, Deadlines(), through_holdfast=through) for through in BOTH)
    assert ours.keys() == alone.keys()


def test_seconds_are_spelled_in_milliseconds_too() -> None:
    """Counts are not."""
    table = {"pause_s": Number(value=2, unit="s", reason="a"), "repeats": Number(value=3, unit="", reason="b")}
    assert named(table) == {"pause_s": "2", "pause_ms": "2000", "repeats": "3"}


@pytest.mark.parametrize("through_holdfast", BOTH)
@pytest.mark.parametrize("tier", Tier)
def test_every_number_has_a_sentence(tier: Tier, through_holdfast: bool) -> None:
    """It stands above the number as a comment."""
    for number in numbers(tier, Deadlines(), through_holdfast=through_holdfast).values():
        assert number.reason.endswith(".")
        assert number.reason[0].isupper()


def test_a_number_is_above_zero() -> None:
    """A timer of nothing would fire at once, or never, as the client pleases."""
    with pytest.raises(AssertionError):
        Number(value=0, unit="s", reason="A slip.")
