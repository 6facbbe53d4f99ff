"""Whatever fails in whatever order: no key rests too long, no upstream is lost, none is passed over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.credentials import KeyPolicy
from holdfast.policy.exposure import allows, cap_micros
from holdfast.policy.health import HealthPolicy
from holdfast.policy.retry_budget import RetryBudget
from holdfast.policy.routing import NEVER, Entry, Later, Nowhere, Pick, choose
from holdfast.policy.standings import Standings
from holdfast.types import Charge, Failure, FailureKind, Phase

NAMES = ("a", "b", "c", "d")
samples = st.floats(0.0, 1.0, exclude_max=True)
routes = st.tuples(
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3)), max_size=5),
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3)), max_size=3),
).map(
    lambda both: tuple(
        Entry(upstream=name, weight=weight, is_lesser=bool(lesser))
        for lesser, entries in enumerate(both)
        for name, weight in entries
    )
)
readies = st.fixed_dictionaries({name: st.floats(0.0, 300.0) for name in NAMES})
avoids = st.dictionaries(st.integers(0, 7), st.floats(0.0, 300.0) | st.just(NEVER), max_size=8)
fulls = st.sets(st.sampled_from(NAMES))

events = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.integers(0, 2),
        st.none() | st.sampled_from(FailureKind),
        st.none() | st.floats(0.0, 1e9),
        st.floats(0.0, 40.0),
        st.floats(0.0, 200.0),
        samples,
    ),
    max_size=60,
)


@given(routes, readies, avoids, fulls, samples, st.floats(0.0, 60.0))
def test_a_choice_is_usable_and_nothing_better_was_passed_over(
    route: tuple[Entry, ...],
    ready: dict[str, float],
    avoided: dict[int, float],
    full: set[str],
    sample: float,
    patience_s: float,
) -> None:
    """What can be asked now, with a place, is asked; where nothing can, the soonest is named; else there is none."""
    now = 100.0
    at_s = {at: max(ready[entry.upstream], avoided.get(at, 0.0)) for at, entry in enumerate(route)}
    usable = {at for at, ready_at in at_s.items() if ready_at <= now}
    roomy = {at for at in usable if route[at].upstream not in full}
    own_roomy = {at for at in roomy if not route[at].is_lesser}
    match choose(route, ready, now=now, sample=sample, avoided=avoided, full=full, patience_s=patience_s):
        case Pick(at=at):
            assert at in usable
            if own_roomy:
                assert at in own_roomy
                first = min(own_roomy)
                # Only weighted neighbours may be taken before the first.
                assert at == first or all(route[each].weight for each in range(first, at + 1))
        case Later(at=at, ready_at=ready_at):
            assert ready_at == at_s[at]
            assert now < ready_at < NEVER
            own = {each for each in usable if not route[each].is_lesser}
            assert not own
            if usable:
                assert ready_at - now <= patience_s
            else:
                kind = [each for each, ready_at_ in at_s.items() if ready_at_ < NEVER]
                others = [each for each in kind if route[each].is_lesser is route[at].is_lesser]
                assert ready_at == min(at_s[each] for each in others)
        case Nowhere():
            assert all(ready_at == NEVER for ready_at in at_s.values())


@given(events)
def test_no_rest_is_too_long_and_an_upstream_always_comes_back(
    story: list[tuple[str, int, FailureKind | None, float | None, float, float, float]],
) -> None:
    """Whatever upstreams say and clocks do; and of each upstream's keys one is never taken out."""
    keys, health = KeyPolicy(), HealthPolicy()
    standings = Standings(
        dict.fromkeys(NAMES, 3), key_policy=keys, health_policy=health, budget=RetryBudget.full(share=0.1, burst=3)
    )
    now = 1000.0
    for upstream, key, kind, hint_s, passes_s, ago_s, jitter in story:
        now += passes_s
        if kind is None:
            standings.sent(upstream, now=now, is_repeat=False)
            standings.succeeded(upstream, key, sent_at=now, now=now)
            assert standings.of(upstream).keys[key].until <= now
        else:
            failure = Failure(kind=kind, phase=Phase.WAIT, charge=Charge.NO, detail="", retry_after_s=hint_s)
            standings.sent(upstream, now=now, is_repeat=True)
            standings.failed(upstream, key, failure, sent_at=now - ago_s, now=now, jitter=jitter)
        for name in NAMES:
            of = standings.of(name)
            assert standings.keys_ready_at(name, now=now) <= now + keys.rest_s_max
            assert of.health.ready_at <= now + max(health.open_s_max, health.trial_s)
            assert standings.ready[name] <= now + max(keys.rest_s_max, health.open_s_max)
            assert not all(each.is_ejected and each.until > now for each in of.keys)


@given(st.integers(0, 10**12), st.integers(0, 10**7), st.floats(0.0, 1.0), st.integers(0, 20), st.integers(0, 200))
def test_an_outage_never_exposes_more_than_the_cap(
    spent: int, price: int, share: float, images_min: int, calls: int
) -> None:
    """However many calls are lost at once."""
    cap, exposed = cap_micros(spent_micros=spent, price_micros=price, share=share, images_min=images_min), 0
    for _ in range(calls):
        if allows(exposed_micros=exposed, price_micros=price, cap=cap):
            exposed += price
    assert exposed <= cap
    assert price == 0 or exposed >= min(calls, images_min) * price
