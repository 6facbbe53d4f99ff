"""How long things may take, by size and network."""

from __future__ import annotations

import pytest

from holdfast.config import ByTier, Deadlines, Network
from holdfast.policy.deadlines import (
    NETWORKS,
    attempt_timeout_s,
    attempt_timeout_s_max,
    attempt_timeouts,
    explain,
    generation_s,
    generation_s_max,
    write_timeout_s,
)
from holdfast.types import Tier


@pytest.mark.parametrize(("tier", "seconds"), [(Tier.K1, 300), (Tier.K2, 300), (Tier.K4, 600)])
def test_a_generation_has_the_published_time_of_its_size(tier: Tier, seconds: float) -> None:
    """300, 300 and 600 s in a data centre."""
    assert generation_s(tier, Deadlines()) == seconds


@pytest.mark.parametrize("network", [Network.HOME, Network.INTERNATIONAL, Network.PEAK])
def test_a_slow_network_gives_every_size_ten_minutes(network: Network) -> None:
    """Outside a data centre even 1K may take 600 s."""
    assert {generation_s(tier, Deadlines(network=network)) for tier in Tier} == {600.0}


def test_a_slow_network_never_shortens_a_deadline() -> None:
    """An operator's longer figure stays."""
    assert generation_s(Tier.K4, Deadlines(network=Network.HOME, slow_network_s=60.0)) == 600.0


@pytest.mark.parametrize(
    ("slowness", "seconds"), [(0.5, 300.0), (1.0, 300.0), (1.49, 300.0), (1.5, 450.0), (1.8, 540.0), (4.5, 600.0)]
)
def test_a_model_that_is_measured_to_be_slow_gets_as_much_more(slowness: float, seconds: float) -> None:
    """From half as long again on, up to what is published for a slow day."""
    assert generation_s(Tier.K1, Deadlines(), slowness=slowness) == pytest.approx(seconds)
    assert generation_s(Tier.K4, Deadlines(), slowness=slowness) == 600.0


def test_slowness_shortens_nothing_and_can_be_left_out_of_account() -> None:
    """An operator's longer figure stays; so does the shorter one where he says so, and a caller's own."""
    long = Deadlines(generation_s=ByTier(k1=900.0, k2=900.0, k4=900.0))
    assert generation_s(Tier.K1, long, slowness=3.0) == 900.0
    assert generation_s(Tier.K1, Deadlines(grows_when_slow=False), slowness=3.0) == 300.0
    assert generation_s(Tier.K1, Deadlines(), asked_s=42.0, slowness=3.0) == 42.0
    assert generation_s(Tier.K1, Deadlines(network=Network.PEAK), slowness=1.0) == 600.0


def test_the_longest_is_known_beforehand() -> None:
    """By whoever waits for it without asking the gateway."""
    assert generation_s_max(Tier.K1, Deadlines()) == 600.0
    assert generation_s_max(Tier.K1, Deadlines(grows_when_slow=False)) == 300.0
    assert "up to 600 s while the model is measured to be slow" in explain(Tier.K1, Deadlines())[0].reason
    assert "slow" not in explain(Tier.K4, Deadlines())[0].reason


def test_the_callers_own_budget_wins() -> None:
    """`Holdfast-Timeout` is the caller's to choose, shorter or longer."""
    assert generation_s(Tier.K4, Deadlines(), asked_s=42.0) == 42.0
    assert generation_s(Tier.K1, Deadlines(), asked_s=900.0) == 900.0


@pytest.mark.parametrize(("tier", "seconds"), [(Tier.K1, 180), (Tier.K2, 216), (Tier.K4, 300)])
def test_an_attempt_has_at_least_its_prior(tier: Tier, seconds: float) -> None:
    """A fast upstream's percentiles never shorten an attempt below the prior: a paid call is not thrown away."""
    assert attempt_timeout_s(tier, Deadlines()) == seconds
    assert attempt_timeout_s(tier, Deadlines(), p99_s=12.0) == seconds


def test_a_slow_upstream_gets_a_fifth_more_than_its_p99() -> None:
    """Measured slowness extends the attempt."""
    assert attempt_timeout_s(Tier.K4, Deadlines(), p99_s=400.0) == pytest.approx(480.0)


@pytest.mark.parametrize(
    ("network", "seconds"),
    [(Network.INTRANET, 300), (Network.HOME, 350), (Network.INTERNATIONAL, 400), (Network.PEAK, 580)],
)
def test_a_slow_path_is_added_to_an_attempt(network: Network, seconds: float) -> None:
    """The network's share is not taken from the upstream's time."""
    assert attempt_timeout_s(Tier.K4, Deadlines(network=network)) == pytest.approx(seconds)


@pytest.mark.parametrize("network", Network)
def test_a_slow_path_is_not_added_to_what_was_measured_over_it(network: Network) -> None:
    """The measured time has the network's share in it already."""
    assert attempt_timeout_s(Tier.K4, Deadlines(network=network), p99_s=800.0) == pytest.approx(960.0)


@pytest.mark.parametrize(("tier", "seconds"), [(Tier.K1, 810), (Tier.K2, 972), (Tier.K4, 1350)])
def test_there_is_a_longest_time_whatever_is_measured(tier: Tier, seconds: float) -> None:
    """Four and a half times the published figure, as on 17 January 2026; an operator may set more."""
    assert attempt_timeout_s_max(tier, Deadlines()) == pytest.approx(seconds)
    patient = Deadlines(attempt_s=ByTier(k1=3000.0, k2=3000.0, k4=3000.0))
    assert attempt_timeout_s_max(tier, patient) == 3000.0


def test_every_network_has_a_profile() -> None:
    """No setting leads nowhere."""
    assert set(NETWORKS) == set(Network)


def test_sending_images_over_a_slow_line_gets_more_time() -> None:
    """30 s for a prompt; 14 images of 7 MB at 1 Mbit/s must not be cut while they move."""
    assert write_timeout_s(Deadlines(), 0) == 30.0
    assert write_timeout_s(Deadlines(), 128 * 1024 * 60) == 90.0


def test_silence_is_allowed_for_the_whole_attempt() -> None:
    """An upstream that draws says nothing: an idle limit below the total would cut healthy calls."""
    timeouts = attempt_timeouts(Tier.K4, Deadlines(), body_bytes=0)
    assert (timeouts.connect_s, timeouts.write_s) == (10.0, 30.0)
    assert timeouts.read_idle_s == timeouts.total_s == 300.0


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("network", Network)
def test_every_timeout_is_explained_with_reason_and_source(tier: Tier, network: Network) -> None:
    """`holdfast timeouts` shows no bare number."""
    rows = explain(tier, Deadlines(network=network))
    assert [row.name for row in rows] == ["generation", "attempt", "connect", "write", "read"]
    assert all(row.seconds > 0 and row.reason and row.source for row in rows)
    by_name = {row.name: row for row in rows}
    assert by_name["generation"].seconds == generation_s(tier, Deadlines(network=network))
    assert NETWORKS[network].reason in by_name["attempt"].reason
