"""How upstreams and keys stand after settings were read anew."""

from __future__ import annotations

from typing import Any

from holdfast.policy.credentials import FRESH, RETIRED, KeyPolicy
from holdfast.policy.health import WELL, HealthPolicy
from holdfast.policy.retry_budget import RetryBudget
from holdfast.policy.standings import Kept, Standings
from holdfast.types import Charge, Failure, FailureKind, Phase

NEVER = float("inf")


def some() -> Standings:
    """Two upstreams, all well."""
    return Standings(
        {"a": 2, "b": 1},
        key_policy=KeyPolicy(),
        health_policy=HealthPolicy(),
        budget=RetryBudget.full(share=0.1, burst=3),
    )


def follow(standings: Standings, *, now: float = 200.0, burst: int = 3, **kept: Kept) -> Standings:
    """Let them follow."""
    standings.follow(
        kept,
        now=now,
        key_policy=KeyPolicy(),
        health_policy=HealthPolicy(),
        budget=RetryBudget.full(share=0.2, burst=burst),
    )
    return standings


def fails(standings: Standings, kind: FailureKind, *, key: int = 0, at: float = 100.0, **fields: Any) -> Any:
    """Note a failure of `a` at a second."""
    failure = Failure(kind=kind, phase=Phase.WAIT, charge=Charge.NO, detail="", **fields)
    return standings.failed("a", key, failure, sent_at=at, now=at, jitter=0.5)


def test_what_is_kept_stands_as_it_stood() -> None:
    """A key that rests, a circuit that is open, a budget that is nearly spent; a new key is fresh."""
    standings = some()
    fails(standings, FailureKind.RATE_LIMITED, retry_after_s=600.0)
    for _ in range(5):
        fails(standings, FailureKind.UNREACHABLE, key=1)
    standings.repeat("a")
    before = standings.of("a")
    rested, health = before.keys[0], before.health
    follow(standings, a=Kept(keys=3), b=Kept(keys=1))
    after = standings.of("a")
    assert after.keys == [rested, FRESH, FRESH]
    assert after.health == health
    assert after.health.is_open
    assert (after.budget.tokens, after.budget.share) == (2.0, 0.2)
    assert standings.ready["a"] == health.ready_at


def test_a_narrower_budget_keeps_no_more_than_it_may() -> None:
    """What is left is never above the new burst."""
    standings = follow(some(), burst=1, a=Kept(keys=2), b=Kept(keys=1))
    standings.repeat("a")
    assert not standings.allows_repeat("a")
    assert standings.allows_repeat("b")


def test_what_is_gone_is_never_ready_and_told_in_vain() -> None:
    """Nothing that still comes of it changes anything."""
    standings = follow(some(), b=Kept(keys=1))
    assert standings.ready["a"] == NEVER
    assert standings.of("a").keys == []
    assert not standings.allows_repeat("a")
    assert not standings.has_other_key("a", 0, now=200.0)
    failure = Failure(kind=FailureKind.OVERLOADED, phase=Phase.WAIT, charge=Charge.NO, detail="")
    assert standings.rest_s("a", 0, failure, now=200.0) == NEVER
    standings.sent("a", now=200.0, is_repeat=False)
    assert fails(standings, FailureKind.CREDENTIAL) == ()
    assert standings.succeeded("a", 1, sent_at=100.0, now=201.0) == ()
    standings.take_back("a")
    assert not standings.allows_repeat("a")
    assert repr(standings) == "<Standings of 1 upstreams: 0 open, 0 keys noted>"


def test_one_that_comes_back_begins_well_and_knows_nothing_of_before() -> None:
    """An attempt from before, with a key that is not there any more, names a slot that it does not have."""
    standings = follow(follow(some(), b=Kept(keys=1)), now=300.0, a=Kept(keys=1), b=Kept(keys=1))
    assert standings.ready["a"] == float("-inf")
    assert fails(standings, FailureKind.CREDENTIAL, key=1, at=250.0) == ()
    assert standings.of("a").keys == [FRESH]
    fails(standings, FailureKind.SERVER_FAULT, at=310.0)
    assert standings.of("a").keys[0].failures == 1


def test_another_address_is_another_upstream() -> None:
    """Keys and circuit are as new; what was sent to the old one says nothing."""
    standings = some()
    for _ in range(5):
        fails(standings, FailureKind.UNREACHABLE)
    fails(standings, FailureKind.CREDENTIAL)
    follow(standings, a=Kept(keys=2, is_another=True), b=Kept(keys=1))
    assert (standings.of("a").keys, standings.of("a").health) == ([FRESH, FRESH], WELL)
    fails(standings, FailureKind.CREDENTIAL, at=199.0)
    assert standings.of("a").keys[0] == FRESH


def test_a_retired_key_is_out_for_good() -> None:
    """Nothing brings it back, and it counts as no other key; whoever is left is the last."""
    standings = follow(some(), a=Kept(keys=2, retired={0}), b=Kept(keys=1))
    assert standings.of("a").keys[0] is RETIRED
    assert standings.ready["a"] == float("-inf")
    standings.succeeded("a", 0, sent_at=NEVER, now=300.0)
    fails(standings, FailureKind.RATE_LIMITED, at=300.0, retry_after_s=5.0)
    fails(standings, FailureKind.CREDENTIAL, at=300.0)
    assert standings.of("a").keys[0] is RETIRED
    assert not standings.of("a").health.is_open
    assert not standings.has_other_key("a", 1, now=300.0)
    fails(standings, FailureKind.RATE_LIMITED, key=1, at=300.0)
    assert 300.0 < standings.ready["a"] < 400.0
    # The last one is never taken out.
    fails(standings, FailureKind.CREDENTIAL, key=1, at=400.0)
    assert not standings.of("a").keys[1].is_ejected


def test_a_failure_of_an_upstream_counts_with_a_retired_key_too() -> None:
    """That it cannot be reached has nothing to do with the key."""
    standings = follow(some(), a=Kept(keys=2, retired={0}), b=Kept(keys=1))
    for _ in range(5):
        fails(standings, FailureKind.UNREACHABLE, at=300.0)
    assert standings.of("a").health.is_open


def test_a_key_that_comes_back_begins_anew() -> None:
    """It was taken out by hand, and put back by hand."""
    standings = some()
    fails(standings, FailureKind.RATE_LIMITED, retry_after_s=600.0)
    follow(standings, a=Kept(keys=2, retired={0}), b=Kept(keys=1))
    follow(standings, a=Kept(keys=2), b=Kept(keys=1))
    assert standings.of("a").keys == [FRESH, FRESH]
