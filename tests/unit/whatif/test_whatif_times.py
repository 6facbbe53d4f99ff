"""While it is played the gateway learns how slow its upstreams are, by the classes that it ships with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.policy.deadlines import attempt_timeout_s_max
from holdfast.types import Tier
from holdfast.whatif.agenda import Agenda
from holdfast.whatif.play import play
from holdfast.whatif.policies import GatewayPolicy
from holdfast.whatif.scenario import Incident
from holdfast.whatif.times import LOOK_S, Learning

WHO = ("google", "nano-banana-pro", Tier.K1)


@pytest.fixture
def learning(policy: Callable[..., GatewayPolicy]) -> tuple[Learning, Agenda]:
    """Nothing learnt yet, and the time by which it is learnt."""
    agenda = Agenda()
    return Learning(policy().settings, agenda, start_s=9 * 3600.0), agenda


def test_at_first_what_is_published_holds(learning: tuple[Learning, Agenda]) -> None:
    """And what is set."""
    times, _ = learning
    assert times.of(*WHO).attempt_s == 180.0
    assert times.of(*WHO).expected_s == pytest.approx(45.0)
    assert times.of("google", "nano-banana-pro", Tier.K4).attempt_s == 300.0


def test_slow_images_make_it_wait_for_longer(learning: tuple[Learning, Agenda]) -> None:
    """The next time that it looks, and at that upstream alone."""
    times, agenda = learning
    before = times.of(*WHO)
    for _ in range(500):
        times.came(*WHO, 240.0)
    assert times.of(*WHO) == before
    agenda.run(LOOK_S)
    after = times.of(*WHO)
    assert after.attempt_s > 240.0
    assert after.expected_s == pytest.approx(240.0, rel=0.05)
    assert times.of("other", "nano-banana-pro", Tier.K1) == before


def test_generations_of_a_slow_model_are_given_more(learning: tuple[Learning, Agenda]) -> None:
    """What is accepted from then on; by size."""
    times, agenda = learning
    model = "nano-banana-pro"
    assert times.generation_s(model, Tier.K1) == 300.0
    for _ in range(500):
        times.came(*WHO, 180.0)
    assert times.generation_s(model, Tier.K1) == 300.0
    agenda.run(LOOK_S)
    assert times.generation_s(model, Tier.K1) == 600.0
    assert times.generation_s(model, Tier.K2) == 300.0


def test_what_was_cut_counts_as_longer(learning: tuple[Learning, Agenda]) -> None:
    """Or nothing beyond the timeout would ever be seen; up to the slowest hour that was published."""
    times, agenda = learning
    for _ in range(500):
        times.was_cut(*WHO, 180.0)
    agenda.run(LOOK_S)
    assert times.of(*WHO).attempt_s > 300.0
    for _ in range(5000):
        times.was_cut(*WHO, 5000.0)
    agenda.run(2 * LOOK_S)
    settings_max_s = 1.2 * 4.5 * 150.0
    assert times.of(*WHO).attempt_s == pytest.approx(settings_max_s)


def test_a_slow_day_is_survived_by_what_was_learnt_of_it(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """At 4.5 times the usual most images outlast an attempt's first timeout; who learns nothing buys twice."""
    patient = policy(deadlines={"generation_s": 1200})
    stubborn = policy(deadlines={"generation_s": 1200}, latency={"prior_weight": 1e12})
    slow = incident(latency_factor=4.5, per_s=2.0)
    figures, unlearnt = (play(slow, each, count=2000, seed=0) for each in (patient, stubborn))
    assert figures.success > 0.8 > 0.7 > unlearnt.success
    assert figures.purchases_per_image is not None
    assert unlearnt.purchases_per_image is not None
    assert figures.purchases_per_image < 1.25 < unlearnt.purchases_per_image
    deadlines = patient.settings.deadlines
    assert figures.to_image.p99_s <= 1200.0 + attempt_timeout_s_max(Tier.K1, deadlines)


def test_the_clock_tells_time_and_nothing_else(learning: tuple[Learning, Agenda]) -> None:
    """Whatever is learnt is learnt from what happened."""
    times, agenda = learning
    clock = times._latencies._clock
    agenda.run(90.0)
    assert clock.monotonic() == 90.0
    assert clock.now().isoformat() == "2026-01-17T09:01:30+00:00"
    for ask in (clock.random, lambda: clock.token(1), lambda: clock.new_id("gen")):
        with pytest.raises(AssertionError):
            ask()
