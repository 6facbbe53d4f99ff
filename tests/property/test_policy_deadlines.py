"""A generation played through in its own time: nothing begins too late, nothing paid is cut short."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import ByTier, Deadlines, Network
from holdfast.policy.deadlines import attempt_timeouts, generation_s, write_timeout_s
from holdfast.policy.failures import REACTIONS
from holdfast.policy.latency import prior
from holdfast.policy.retry import (
    Circumstances,
    Fallback,
    GiveUp,
    Retry,
    RetryPolicy,
    Tally,
    Wait,
    decide_after_failure,
)
from holdfast.types import Charge, Failure, FailureKind, Phase, Tier

tiers = st.sampled_from(Tier)
seconds = st.floats(1.0, 2000.0)
by_tier = st.builds(ByTier, k1=seconds, k2=seconds, k4=seconds)
deadlines = st.builds(
    Deadlines, generation_s=by_tier, attempt_s=by_tier, slow_network_s=seconds, network=st.sampled_from(Network)
)


@given(tiers, deadlines, st.none() | seconds, st.integers(0, 200_000_000))
def test_an_attempt_is_never_given_less_than_was_set_or_measured(
    tier: Tier, settings: Deadlines, p99_s: float | None, body_bytes: int
) -> None:
    """Past its timeout an attempt is paid for and thrown away, so the timeout only ever grows."""
    timeouts = attempt_timeouts(tier, settings, p99_s=p99_s, body_bytes=body_bytes)
    assert timeouts.total_s >= settings.attempt_s[tier]
    assert timeouts.total_s >= 1.2 * (p99_s or 0.0)
    assert timeouts.read_idle_s == timeouts.total_s
    assert timeouts.write_s >= settings.write_s
    assert timeouts.write_s == write_timeout_s(settings, body_bytes)


@given(tiers, deadlines)
def test_no_network_shortens_anything(tier: Tier, settings: Deadlines) -> None:
    """Compared with a data centre, every profile gives the same or more."""
    near = Deadlines(
        generation_s=settings.generation_s, attempt_s=settings.attempt_s, slow_network_s=settings.slow_network_s
    )
    assert generation_s(tier, settings) >= generation_s(tier, near)
    assert attempt_timeouts(tier, settings).total_s >= attempt_timeouts(tier, near).total_s


@dataclass
class _Played:
    """What one generation did: when each attempt was sent, and how it ended."""

    sent_at_s: list[float] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    gave_up: bool = False


def play(script: list[tuple[FailureKind, float, float]], *, tier: Tier, policy: RetryPolicy, upstreams: int) -> _Played:
    """Run attempts that fail by a script of (kind, time taken, hint) until the decisions end it."""
    played, now_s, upstream = _Played(), 0.0, 0
    deadline_s, expected_s = generation_s(tier, Deadlines()), prior(tier).expected_s
    for kind, took_s, hint_s in script:
        played.sent_at_s.append(now_s)
        now_s += took_s
        charge = REACTIONS[kind].charge
        played.failures.append(
            Failure(kind=kind, phase=Phase.WAIT, charge=charge, detail="", retry_after_s=hint_s or None)
        )
        decision = decide_after_failure(
            played.failures[-1],
            tally=Tally.of(tuple(played.failures), no_images=1),
            now=Circumstances(
                remaining_s=deadline_s - now_s,
                expected_s=expected_s,
                jitter=0.5,
                next_after_s=0.0 if upstream + 1 < upstreams else None,
            ),
            policy=policy,
        )
        match decision:
            case Retry(after_s=after_s) | Wait(after_s=after_s):
                now_s += after_s
            case Fallback():
                upstream += 1
            case GiveUp():
                played.gave_up = True
                return played
    return played


scripts = st.lists(
    st.tuples(st.sampled_from(FailureKind), st.floats(0.0, 300.0), st.sampled_from([0.0, 0.0, 5.0, 60.0, 400.0])),
    min_size=40,
    max_size=40,
)


@given(scripts, tiers, st.booleans(), st.integers(1, 4))
def test_a_whole_generation_stays_within_its_deadline_and_its_purchases(
    script: list[tuple[FailureKind, float, float]], tier: Tier, accepts: bool, upstreams: int
) -> None:
    """However its upstreams fail, it ends; every attempt began in time; it was bought at most as often as allowed."""
    policy = RetryPolicy(accepts_double_charge=accepts)
    played = play(script, tier=tier, policy=policy, upstreams=upstreams)
    assert played.gave_up
    expected_s = prior(tier).expected_s
    for sent_at_s in played.sent_at_s[1:]:
        assert sent_at_s + expected_s <= generation_s(tier, Deadlines()) + 1e-6
    bought = sum(failure.charge is not Charge.NO for failure in played.failures)
    assert bought <= (policy.purchases_max if accepts else 1)
    assert len(played.failures) <= policy.sends_max


def test_the_peak_of_january_is_survived_by_waiting() -> None:
    """Overloads that clear within four minutes leave time for a 4K picture; nothing was paid meanwhile."""
    script = [(FailureKind.OVERLOADED, 1.0, 30.0)] * 8
    played = play(script, tier=Tier.K4, policy=RetryPolicy(), upstreams=1)
    assert not played.gave_up
    assert played.sent_at_s[-1] > 200.0
