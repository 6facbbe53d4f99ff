"""What calls come to: the shares, times and charges of the simulator, and the limits of keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest

from holdfast.policy.latency import PUBLISHED, prior
from holdfast.simulator.scenarios import HINT_S, Phase
from holdfast.types import Charge, FailureKind, Tier
from holdfast.whatif.chance import Luck, luck_of
from holdfast.whatif.scenario import Incident, Temper
from holdfast.whatif.world import Fate, Served, World, failure_of_status, quantiles

GOOGLE = Served(name="google")
MIDDLE = Luck(fate=0.999999, latency=0.5, which=0.9, hint=0.5, jitter=0.5)


def fates(world: World, count: int = 4000, *, tier: Tier = Tier.K1, now: float = 0.0) -> list[Fate]:
    """Call as often, all at one moment."""
    return [world.call(0, 0, tier, luck_of(1, order, 0), now) for order in range(count)]


def test_latencies_are_those_that_were_published(incident: Callable[..., Incident]) -> None:
    """By size, as the simulator draws them."""
    for tier in Tier:
        took_s = sorted(fate.after_s for fate in fates(World(incident(), [GOOGLE]), tier=tier))
        assert took_s[len(took_s) // 2] == pytest.approx(PUBLISHED[tier].p50_s, rel=0.05)
        assert took_s[len(took_s) * 95 // 100] == pytest.approx(PUBLISHED[tier].p95_s, rel=0.08)
        assert len(quantiles(tier)) == 4096
        assert quantiles(tier)[2048] == pytest.approx(prior(tier).expected_s, rel=0.01)


def test_errors_have_their_shares(incident: Callable[..., Incident]) -> None:
    """Each told as the gateway would read it; what is left brings an image, and costs."""
    world = World(incident(errors={429: 0.2, 503: 0.1, 504: 0.05}), [GOOGLE])
    found = fates(world, 8000)
    kinds = Counter(fate.failure.kind if fate.failure else None for fate in found)
    assert kinds[FailureKind.RATE_LIMITED] / 8000 == pytest.approx(0.2, abs=0.015)
    assert kinds[FailureKind.OVERLOADED] / 8000 == pytest.approx(0.1, abs=0.015)
    assert kinds[FailureKind.UPSTREAM_TIMEOUT] / 8000 == pytest.approx(0.05, abs=0.01)
    assert kinds[None] / 8000 == pytest.approx(0.65, abs=0.02)
    for fate in found:
        kind = fate.failure.kind if fate.failure else None
        assert fate.is_charged == (kind in (None, FailureKind.UPSTREAM_TIMEOUT))
        if kind in (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED):
            assert fate.after_s == 1.0


def test_half_of_the_rate_limits_say_when_to_come_again(incident: Callable[..., Incident]) -> None:
    """In the simulator's bounds, whole seconds."""
    hints = [fate.failure.retry_after_s for fate in fates(World(incident(errors={429: 1.0}), [GOOGLE])) if fate.failure]
    told = [hint for hint in hints if hint is not None]
    assert len(told) / len(hints) == pytest.approx(0.5, abs=0.05)
    assert {HINT_S[0], HINT_S[1]} <= set(told)
    assert all(hint == int(hint) and HINT_S[0] <= hint <= HINT_S[1] for hint in told)
    overloaded = fates(World(incident(errors={503: 1.0}), [GOOGLE]), 100)
    assert all(fate.failure is not None and fate.failure.retry_after_s is None for fate in overloaded)


REFUSED_OUTPUT = [
    (GOOGLE, Charge.NO, False),
    (Served(name="openai", is_gemini=False), Charge.UNKNOWN, True),
    (Served(name="relay", is_gemini=False, is_relay=True), Charge.YES, True),
]


@pytest.mark.parametrize(
    ("served", "charge", "is_charged"), REFUSED_OUTPUT, ids=[each[0].name for each in REFUSED_OUTPUT]
)
def test_a_refusal_costs_what_its_vendor_takes(
    incident: Callable[..., Incident], served: Served, charge: Charge, is_charged: bool
) -> None:
    """Of the prompt: only a relay bills it. Of the picture: not Gemini, a relay does, OpenAI does not say."""
    found = fates(World(incident(refused=1.0), [served]))
    by_kind = {fate.failure.kind: fate for fate in found if fate.failure}
    assert set(by_kind) == {FailureKind.REFUSED_INPUT, FailureKind.REFUSED_OUTPUT}
    declined = by_kind[FailureKind.REFUSED_OUTPUT]
    assert declined.failure is not None
    assert (declined.failure.charge, declined.is_charged) == (charge, is_charged)
    refused = [fate for fate in found if fate.failure and fate.failure.kind is FailureKind.REFUSED_INPUT]
    assert all(fate.after_s == 3.0 and fate.is_charged == served.is_relay for fate in refused)
    assert len(refused) / len(found) == pytest.approx(0.5, abs=0.03)


def test_what_is_cut_was_made_and_charged(incident: Callable[..., Incident]) -> None:
    """A third at once, when nobody can know; the others in the middle of the answer, when everybody does."""
    found = fates(World(incident(cut=1.0), [GOOGLE]))
    assert all(fate.is_charged for fate in found)
    lost = [fate for fate in found if fate.failure and fate.failure.kind is FailureKind.LOST_REPLY]
    assert len(lost) / len(found) == pytest.approx(1 / 3, abs=0.03)
    assert all(fate.after_s == 0.0 and fate.failure and fate.failure.charge is Charge.UNKNOWN for fate in lost)
    torn = [fate for fate in found if fate.failure and fate.failure.kind is FailureKind.MALFORMED]
    assert len(torn) + len(lost) == len(found)
    assert all(fate.after_s > 10.0 and fate.failure and fate.failure.charge is Charge.YES for fate in torn)


def test_phases_and_hours_take_turns(incident: Callable[..., Incident]) -> None:
    """The mix of the phase at that moment; its factor times that of the hour and that of the upstream."""
    made = incident()
    phases = (Phase(until_s=100.0, latency_factor=2.0), Phase(statuses=MappingProxyType({503: 1.0})))
    scenario = replace(made.scenario, phases=phases, start_s=9 * 3600 + 3550.0, latency_by_hour={10: 3.0})
    slow = Temper(name="google", phases=phases, latency_factor=1.5)
    world = World(replace(made, scenario=scenario, tempers={"google": slow}), [GOOGLE])
    median_s = quantiles(Tier.K1)[2048]
    assert world.call(0, 0, Tier.K1, MIDDLE, 0.0) == Fate(median_s * 2.0 * 1.5, None, True)
    assert world.call(0, 0, Tier.K1, MIDDLE, 50.0).after_s == pytest.approx(median_s * 2.0 * 1.5 * 3.0)
    assert world.call(0, 0, Tier.K1, MIDDLE, 100.0).failure is not None


def test_an_instant_world_takes_no_time(incident: Callable[..., Incident]) -> None:
    """Not for errors either."""
    world = World(incident(errors={503: 0.5}, latency_factor=0.0), [GOOGLE])
    assert {fate.after_s for fate in fates(world, 200)} == {0.0}


def test_a_key_is_allowed_its_calls_a_minute(incident: Callable[..., Incident], temper: Callable[..., Temper]) -> None:
    """As the simulator counts it, in any sixty seconds; whoever comes too early is told by how much."""
    world = World(incident(tempers=[temper("google", per_minute=6)]), [replace(GOOGLE, keys=2)])

    def call(now: float, key: int = 0) -> Fate:
        return world.call(0, key, Tier.K1, MIDDLE, now)

    assert [call(0.0).failure for _ in range(6)] == [None] * 6
    turned_away = call(50.0)
    assert turned_away.failure is not None
    assert turned_away.failure.kind is FailureKind.RATE_LIMITED
    assert turned_away.failure.retry_after_s == pytest.approx(10.0)
    assert (turned_away.after_s, turned_away.is_charged) == (1.0, False)
    # The other key has a minute of its own.
    assert call(50.0, key=1).failure is None
    assert call(59.9).failure is not None
    assert [call(60.0).failure for _ in range(6)] == [None] * 6
    assert call(60.0).failure is not None


def test_limits_of_a_scenario_are_those_of_every_upstream(incident: Callable[..., Incident]) -> None:
    """As long as it has none of its own."""
    made = incident()
    world = World(replace(made, scenario=replace(made.scenario, per_minute=1)), [GOOGLE, Served(name="other")])
    assert [world.call(at, 0, Tier.K1, MIDDLE, 0.0).failure is None for at in (0, 0, 1, 1)] == [True, False] * 2


def test_a_key_is_allowed_its_calls_a_day(incident: Callable[..., Incident], temper: Callable[..., Temper]) -> None:
    """The day ends at midnight UTC; until then the money is gone, as the gateway reads it."""
    made = incident(tempers=[temper("google", per_day=2)])
    world = World(replace(made, scenario=replace(made.scenario, start_s=23 * 3600.0)), [GOOGLE])
    results = [world.call(0, 0, Tier.K1, MIDDLE, now).failure for now in (0.0, 1.0, 2.0, 3600.0)]
    assert results[:2] == [None, None]
    assert results[2] is not None
    assert (results[2].kind, results[2].retry_after_s) == (FailureKind.QUOTA_SPENT, 3598.0)
    assert results[3] is None


def test_a_key_is_allowed_its_calls_at_once(incident: Callable[..., Incident], temper: Callable[..., Temper]) -> None:
    """A place is taken until the upstream is done, whoever still waits for it."""
    world = World(incident(tempers=[temper("google", concurrency=1)]), [GOOGLE])
    took_s = world.call(0, 0, Tier.K1, MIDDLE, 0.0).after_s
    limited = world.call(0, 0, Tier.K1, MIDDLE, took_s - 0.1)
    assert limited.failure is not None
    assert limited.failure.kind is FailureKind.RATE_LIMITED
    assert world.call(0, 0, Tier.K1, MIDDLE, took_s).failure is None


STATUSES = [
    (401, FailureKind.CREDENTIAL, Charge.NO),
    (402, FailureKind.QUOTA_SPENT, Charge.NO),
    (429, FailureKind.RATE_LIMITED, Charge.NO),
    (500, FailureKind.SERVER_FAULT, Charge.UNKNOWN),
    (503, FailureKind.OVERLOADED, Charge.NO),
    (504, FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
]


@pytest.mark.parametrize(("status", "kind", "charge"), STATUSES)
def test_a_status_is_read_as_the_gateway_reads_it(status: int, kind: FailureKind, charge: Charge) -> None:
    """By the same table."""
    failure = failure_of_status(status, GOOGLE, retry_after_s=3.0)
    assert (failure.kind, failure.charge, failure.status, failure.retry_after_s) == (kind, charge, status, 3.0)
