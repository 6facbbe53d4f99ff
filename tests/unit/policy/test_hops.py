"""Holding by redirects: whom, for how long at each hop, and where it ends."""

from __future__ import annotations

import pytest

from holdfast.config import Heartbeat, HoldBy, RouteHold
from holdfast.errors import RequestError
from holdfast.policy.callers import GOOGLE_GENAI, HTTPX, OPENAI_NODE, OPENAI_PYTHON, OTHER, CallerClass
from holdfast.policy.heartbeats import Schedule
from holdfast.policy.hops import GRACE_S, HOPS_FEW, HOPS_MAX, STRETCH, Hop, holds_by_redirects, hop_for, hop_number
from holdfast.policy.joining import TWIN_WAIT_S
from holdfast.policy.prefer import parse_prefer

BEATS, REDIRECTS = HoldBy.BEATS, HoldBy.REDIRECTS


@pytest.mark.parametrize(
    ("prefer", "route", "gateway", "redirected"),
    [
        ("", RouteHold.GATEWAY, BEATS, False),
        ("", RouteHold.GATEWAY, REDIRECTS, True),
        ("", RouteHold.REDIRECTS, BEATS, True),
        ("", RouteHold.BEATS, REDIRECTS, False),
        ("hold=redirects", RouteHold.BEATS, BEATS, True),
        ("hold=beats", RouteHold.REDIRECTS, REDIRECTS, False),
        ("hold=redirects, heartbeat=5", RouteHold.GATEWAY, BEATS, True),
        ("heartbeat=5", RouteHold.REDIRECTS, REDIRECTS, False),
        ("heartbeat=0", RouteHold.REDIRECTS, BEATS, True),
        ("heartbeat=0", RouteHold.GATEWAY, BEATS, False),
        ("hold=anything", RouteHold.GATEWAY, BEATS, False),
        ("hold", RouteHold.GATEWAY, REDIRECTS, True),
    ],
)
def test_the_caller_s_word_counts_before_its_route_s_and_that_before_the_gateway_s(
    prefer: str, route: RouteHold, gateway: HoldBy, redirected: bool
) -> None:
    """Whoever asks for an interval of beats has asked for beats; whoever wants none is content with redirects."""
    assert holds_by_redirects(parse_prefer(prefer), route=route, gateway=gateway) is redirected


@pytest.mark.parametrize(
    ("caller", "longest_s", "hop_s", "last"),
    [
        (OPENAI_PYTHON, 300.0, 30.0, HOPS_MAX),
        (OPENAI_NODE, 630.0, 30.0, HOPS_MAX),
        (OPENAI_PYTHON, 900.0, 900 / 21, HOPS_MAX),
        (OPENAI_PYTHON, 3600.0, 45.0, HOPS_MAX),
        (OTHER, 300.0, 30.0, HOPS_FEW),
        (GOOGLE_GENAI, 400.0, 40.0, HOPS_FEW),
        (HTTPX, 900.0, 45.0, HOPS_FEW),
    ],
)
def test_a_hop_is_as_long_as_the_deadline_needs_within_what_paths_bear(
    caller: CallerClass, longest_s: float, hop_s: float, last: int
) -> None:
    """30 s as shipped, up to 45 s; what a caller follows then covers what it may have to wait for, or nearly."""
    hop = hop_for(caller, Heartbeat(), longest_s=longest_s)
    assert (hop.hop_s, hop.last, hop.number) == (pytest.approx(hop_s), last, 0)
    assert 25.0 <= hop.hop_s <= 45.0


def test_the_operator_s_hop_is_the_least_and_bounds_the_most() -> None:
    """A path that bears less than half a minute is given less."""
    short = Heartbeat(redirect_hop_s=2.0)
    assert hop_for(OTHER, short, longest_s=1.0).hop_s == 2.0
    assert hop_for(OTHER, short, longest_s=1000.0).hop_s == 2.0 * STRETCH


def test_nobody_is_sent_on_after_the_last_hop() -> None:
    """There it hears nothing for as long as at every hop, then beats."""
    usual = Schedule(first_beat_s=20.0, beat_s=10.0)
    before, last = (Hop(number=number, last=9, hop_s=30.0) for number in (8, 9))
    assert (before.is_last, before.schedule(usual)) == (False, Schedule(first_beat_s=None, beat_s=10.0))
    assert (last.is_last, last.schedule(usual)) == (True, Schedule(first_beat_s=30.0, beat_s=10.0))


def test_a_caller_that_looks_like_another_on_the_way_is_at_its_last_hop() -> None:
    """A proxy may change what it says of itself: then it is where it is."""
    hop = hop_for(OTHER, Heartbeat(), longest_s=300.0, number=15)
    assert (hop.number, hop.last, hop.is_last) == (15, 15, True)


@pytest.mark.parametrize(("text", "number"), [(None, 1), ("1", 1), ("20", 20), ("007", 7)])
def test_the_number_of_a_hop_is_read(text: str | None, number: int) -> None:
    """Without one it is the first."""
    assert hop_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "21", "-1", "1.0", "x", "٣", "0001", "9" * 5000])
def test_what_is_no_hop_is_refused(text: str) -> None:
    """Beyond the last there is none."""
    with pytest.raises(RequestError) as refused:
        hop_number(text)
    assert (refused.value.param, refused.value.status) == ("hop", 400)


def test_who_does_not_come_back_is_missed_before_a_twin_has_waited_in_vain() -> None:
    """Else a repeat that asks while nobody knows yet would buy."""
    assert GRACE_S < TWIN_WAIT_S


def test_a_hold_is_told_as_applied_only_where_it_is() -> None:
    """By redirects: with the rule for repeats, without an interval of beats."""
    preferences = parse_prefer("hold=redirects, heartbeat=5, handling=strict")
    assert preferences.redirected_applied == ("hold=redirects", "handling=strict")
    assert preferences.applied == ("heartbeat=5", "handling=strict")
    assert parse_prefer("hold=redirects").later_applied == ()
