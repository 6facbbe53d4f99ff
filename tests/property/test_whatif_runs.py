"""Whatever happens to upstreams, and whatever is set: every order ends once, in time, for no more than is allowed."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.config import parse
from holdfast.policy.deadlines import attempt_timeout_s_max
from holdfast.simulator.scenarios import Phase, Scenario
from holdfast.types import Tier
from holdfast.whatif.client_loop import ClientLoop
from holdfast.whatif.play import play
from holdfast.whatif.policies import GatewayPolicy
from holdfast.whatif.scenario import Incident, Load, Temper

shares = st.floats(0.0, 0.3)
PRICES = {Tier.K1: 134_000, Tier.K2: 134_000, Tier.K4: 240_000}


@st.composite
def phases(draw: st.DrawFn) -> tuple[Phase, ...]:
    """One or two, with errors of every kind that there is."""
    found: list[Phase] = []
    for until_s in (draw(st.floats(10.0, 600.0)), float("inf"))[draw(st.integers(0, 1)) :]:
        statuses = draw(st.dictionaries(st.sampled_from([400, 401, 402, 429, 500, 503, 504]), shares, max_size=2))
        found.append(
            Phase(
                until_s=until_s,
                latency_factor=draw(st.floats(0.0, 8.0)),
                statuses=MappingProxyType(statuses),
                refused=draw(st.floats(0.0, 0.2)),
                cut=draw(st.floats(0.0, 0.2)),
            )
        )
    return tuple(found)


@st.composite
def incidents(draw: st.DrawFn) -> Incident:
    """Upstreams with tempers and limits of their own."""
    common = draw(phases())
    limits = st.integers(0, 6)
    tempers = {
        name: Temper(
            name=name,
            phases=draw(phases()),
            latency_factor=draw(st.floats(0.1, 3.0)),
            per_minute=draw(limits),
            per_day=draw(limits),
            concurrency=draw(limits),
        )
        for name in draw(st.sets(st.sampled_from(["first", "second"])))
    }
    hours = draw(st.dictionaries(st.integers(0, 23), st.floats(0.0, 3.0), max_size=3))
    start_s = draw(st.floats(0.0, 86_399.0))
    return Incident(
        scenario=Scenario(name="drawn", phases=common, start_s=start_s, latency_by_hour=MappingProxyType(hours)),
        load=Load(
            per_s=draw(st.floats(0.01, 5.0)),
            sizes=MappingProxyType({Tier.K1: 0.5, Tier.K2: 0.25, Tier.K4: 0.25}),
        ),
        tempers=tempers,
    )


@st.composite
def gateways(draw: st.DrawFn) -> GatewayPolicy:
    """One upstream or two, with keys and limits, and a policy of retries."""
    names = draw(st.sampled_from([("first",), ("first", "second")]))
    base = {"provider": "gemini", "base_url": "https://up.example"}
    weight = draw(st.integers(0, 2))
    upstreams: list[dict[str, Any]] = [
        {
            **base,
            "name": name,
            "keys": [f"k{number}" for number in range(draw(st.integers(1, 3)))],
            "concurrency": draw(st.integers(0, 3)),
            "per_minute": draw(st.integers(0, 9)),
            "per_day": draw(st.sampled_from([0, 5])),
        }
        for name in names
    ]
    listed = [{"upstream": name, "model": "m", "weight": weight if len(names) > 1 else 0} for name in names]
    chosen = parse(
        {
            "upstreams": upstreams,
            "routes": [{"model": "nano-banana-pro", "upstreams": listed}],
            "retry": {
                "attempts_max": draw(st.integers(1, 4)),
                "sends_max": draw(st.integers(1, 12)),
                "purchases_max": draw(st.integers(1, 3)),
                "on_unknown": draw(st.sampled_from(["buy_once_more", "fail"])),
                "budget_share": draw(st.floats(0.0, 1.0)),
            },
            "queue": {"waiting_max": draw(st.integers(0, 20)), "per_key_in_flight_max": draw(st.integers(0, 5))},
        }
    )
    return GatewayPolicy(name="drawn", settings=chosen, route=chosen.routes[0])


@settings(max_examples=40, deadline=None)
@given(incidents(), gateways(), st.integers())
def test_every_order_of_a_gateway_ends_in_time_and_within_its_limits(
    incident: Incident, policy: GatewayPolicy, seed: int
) -> None:
    """Nothing begins after the deadline, an attempt ends at its timeout, and calls and purchases are bounded."""
    count = 40
    figures = play(incident, policy, count=count, seed=seed)
    retry, deadlines = policy.settings.retry, policy.settings.deadlines
    assert figures.generations == figures.delivered + sum(figures.told.values()) == count
    longest_s = max(deadlines.generation_s[tier] + attempt_timeout_s_max(tier, deadlines) for tier in Tier)
    assert figures.to_image.p99_s <= longest_s + 1e-6
    assert figures.to_failure.p99_s <= longest_s + 1e-6
    assert figures.in_queue.p99_s <= max(deadlines.generation_s[tier] for tier in Tier) + 1e-6
    assert figures.sends <= count * retry.sends_max
    # What is at risk was bought: at most so often for each order, the first included.
    assert figures.at_risk_micros <= count * retry.purchases_max * max(PRICES.values())
    assert figures.purchases >= figures.delivered
    assert figures == play(incident, policy, count=count, seed=seed)


@settings(max_examples=30, deadline=None)
@given(incidents(), st.lists(st.floats(0.0, 60.0), max_size=4), st.floats(1.0, 600.0), st.integers())
def test_every_order_of_a_loop_ends_in_time(
    incident: Incident, pauses_s: list[float], timeout_s: float, seed: int
) -> None:
    """After as many calls as it has pauses, and one; each within its timeout."""
    count = 60
    policy = ClientLoop(
        name="drawn",
        upstream="first",
        model="nano-banana-pro",
        timeout_s=MappingProxyType(dict.fromkeys(Tier, timeout_s)),
        pauses_s=tuple(pauses_s),
        stops_at=frozenset(),
    )
    figures = play(incident, policy, count=count, seed=seed)
    assert figures.generations == figures.delivered + sum(figures.told.values()) == count
    longest_s = sum(pauses_s) + (len(pauses_s) + 1) * timeout_s
    assert max(figures.to_image.p99_s, figures.to_failure.p99_s) <= longest_s + 1e-6
    assert count <= figures.sends <= count * (len(pauses_s) + 1)
    assert figures.delivered <= figures.purchases <= figures.sends
    assert figures.queued == 0
