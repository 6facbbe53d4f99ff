"""Every default is a number with its unit and its reason, and is what is used."""

from __future__ import annotations

import socket

import pytest

from holdfast.client import defaults as d
from holdfast.errors import ConfigError
from holdfast.types import Tier


def test_every_row_has_a_reason_and_a_source() -> None:
    """A number without one is a guess."""
    table = d.defaults()
    assert len(table) == len({row.name for row in table}) > 20
    for row in table:
        assert len(row.reason) > 5
        assert len(row.source) > 3
        assert row.value


def test_the_table_prints_itself() -> None:
    """One line each: value, unit, reason, source."""
    lines = str(d.defaults()).splitlines()
    assert len(lines) == len(d.defaults())
    idle = next(line for line in lines if line.startswith("idle reuse"))
    assert "45 s" in idle
    assert "NAT" in idle


def test_a_row_is_found_by_its_name() -> None:
    """And an unknown one is an error."""
    table = d.defaults()
    assert (table["connect"].value, table["connect"].unit) == ("10", "s")
    with pytest.raises(KeyError):
        table["patience"]


def test_the_pools_are_of_their_client() -> None:
    """10 connections with 5 kept for threads, 20 with 10 for asyncio."""
    kept = [
        (d.defaults(mode=mode)["connections"].value, d.defaults(mode=mode)["connections kept"].value) for mode in d.Mode
    ]
    assert kept == [("10", "5"), ("20", "10")]


@pytest.mark.parametrize(
    ("size", "network", "read_s", "total_s"),
    [
        ("1K", "intranet", 300.0, 480.0),
        ("2K", "intranet", 300.0, 516.0),
        ("4K", "intranet", 600.0, 900.0),
        ("1K", "home", 600.0, 830.0),
        ("4K", "peak", 600.0, 1180.0),
        (None, "intranet", 300.0, 480.0),
        ("1024x1024", "intranet", 300.0, 480.0),
        ("4096x4096", "intranet", 600.0, 900.0),
        ("hd", "intranet", 600.0, 900.0),
    ],
)
def test_time_goes_by_size_and_network(size: str | None, network: str, read_s: float, total_s: float) -> None:
    """The published 300 and 600 s of silence, and an attempt in flight on top of the whole."""
    times = d.call_timeouts(size, network)
    assert (times.read_idle_s, times.total_s) == (read_s, total_s)
    assert (times.connect_s, times.write_s, times.pool_s) == (10.0, 30.0, 10.0)


def test_a_budget_of_the_callers_own_wins() -> None:
    """Over every phase."""
    times = d.call_timeouts("4K", timeout_s=5.0)
    assert (times.total_s, times.read_idle_s, times.connect_s) == (5.0, 5.0, 5.0)
    assert d.defaults(timeout_s=5.0)["total 4K"].value == "5"


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf"), 86_401.0])
def test_a_budget_that_is_none_is_refused(timeout_s: float) -> None:
    """With its name."""
    with pytest.raises(ConfigError, match="timeout_s"):
        d.call_timeouts(timeout_s=timeout_s)


def test_an_unknown_network_is_refused_with_those_there_are() -> None:
    """By name."""
    with pytest.raises(ConfigError, match="intranet, home, international, peak"):
        d.call_timeouts(network="moon")


def test_a_large_request_is_given_time_to_be_sent() -> None:
    """A second more for every 128 KiB."""
    assert d.call_timeouts(body_bytes=1 << 20).write_s == 38.0


@pytest.mark.parametrize(("size", "tier"), [("", Tier.K1), (" auto ", Tier.K1), ("2k", Tier.K2), ("?", Tier.K4)])
def test_what_is_not_known_counts_as_the_slowest(size: str, tier: Tier) -> None:
    """Too long a wait costs less than too short a one."""
    assert d.tier_of(size) is tier


def test_sockets_say_when_the_peer_is_gone() -> None:
    """The options are what a socket then has."""
    with socket.socket() as sock:
        for option in d.socket_options():
            sock.setsockopt(*option)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == d.KEEPALIVE_IDLE_S
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_the_gateway_knows_the_client_by_its_name() -> None:
    """Its caller class breaks a body off, since the client comes back by itself."""
    from holdfast.policy.callers import HOLDFAST_CLIENT, classify

    assert classify({"user-agent": d.user_agent("1.2.3")}) == HOLDFAST_CLIENT


def test_pauses_double_up_to_their_bound_and_heed_the_server() -> None:
    """Equal jitter: between half and all of the base."""
    assert [d.pause_s(tries, jitter=0.0) for tries in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert d.pause_s(1, jitter=0.999) < 2.0
    assert d.pause_s(5_000, jitter=0.5) == 45.0
    assert d.pause_s(1, jitter=0.5, at_least_s=7.0) == 7.0
    assert d.reconnect_s(1, jitter=0.0) == 0.25
    assert d.reconnect_s(5_000, jitter=0.999) <= d.RECONNECT_S_MAX
