"""When an upstream is not asked at all, and how it is found to be back."""

from __future__ import annotations

import pytest

from holdfast.policy.credentials import ACCEPTING, EJECTING
from holdfast.policy.health import (
    BROKEN,
    WELL,
    Health,
    HealthPolicy,
    after_failure,
    after_success,
    begun,
    tells_of_upstream,
)
from holdfast.types import FailureKind

POLICY = HealthPolicy()


def failed(
    health: Health,
    kind: FailureKind = FailureKind.UNREACHABLE,
    *,
    sent_at: float = 99.0,
    now: float = 100.0,
    is_last_key: bool = False,
) -> Health:
    return after_failure(health, kind, sent_at=sent_at, now=now, is_last_key=is_last_key, policy=POLICY)


def opened() -> Health:
    health = WELL
    for _ in range(5):
        health = failed(health)
    return health


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_five_failures_in_a_row_open_the_circuit(kind: FailureKind) -> None:
    """Four may be chance; from the fifth on nobody is sent there for a while."""
    health = WELL
    for failures in range(1, 5):
        health = failed(health, kind)
        assert (health.failures, health.is_open, health.ready_at <= 100.0) == (failures, False, True)
    health = failed(health, kind)
    assert (health.is_open, health.ready_at) == (True, 105.0)


def test_a_success_in_between_begins_the_row_anew() -> None:
    """What counts is what goes wrong in a row."""
    health = failed(failed(WELL))
    assert after_success(health, sent_at=90.0, now=95.0) == Health(succeeded_at=95.0)
    assert failed(after_success(health, sent_at=90.0, now=95.0)).failures == 1


def test_half_open_one_trial_goes_at_a_time() -> None:
    """The others wait until it has failed, or has at least been taken."""
    trial = begun(opened(), now=106.0, policy=POLICY)
    assert trial.ready_at == 121.0
    again = failed(trial, sent_at=106.0, now=107.0)
    assert (again.openings, again.ready_at) == (2, 117.0)


def test_nothing_is_a_trial_while_the_circuit_is_closed() -> None:
    """A healthy upstream is asked by as many as like."""
    assert begun(WELL, now=100.0, policy=POLICY) is WELL
    assert begun(failed(WELL), now=100.0, policy=POLICY).ready_at <= 100.0


def test_a_success_closes_the_circuit() -> None:
    """The trial's; what was sent before is finished by many an upstream that takes nothing new."""
    trial = begun(opened(), now=106.0, policy=POLICY)
    closed = after_success(trial, sent_at=106.0, now=150.0)
    assert (closed.is_open, closed.failures, closed.ready_at <= 106.0) == (False, 0, True)
    still = after_success(trial, sent_at=99.0, now=150.0)
    assert (still.is_open, still.ready_at) == (True, trial.ready_at)


@pytest.mark.parametrize("kind", sorted(BROKEN - {FailureKind.UNREACHABLE}))
def test_an_upstream_that_brings_images_is_slow_and_not_down(kind: FailureKind) -> None:
    """At a peak every second call is lost; as long as the others bring their images nobody is kept from asking."""
    health = Health(succeeded_at=50.0)
    for _ in range(20):
        health = failed(health, kind, sent_at=99.0, now=100.0)
    assert not health.is_open
    assert failed(health, kind, sent_at=99.0, now=110.0).is_open
    gone = Health(succeeded_at=99.9)
    for _ in range(5):
        gone = failed(gone)
    assert gone.is_open


def test_the_circuit_stays_open_longer_each_time_up_to_a_minute() -> None:
    """A dead upstream costs one call a minute; one that is back is found within a minute."""
    health, now = opened(), 100.0
    for rest_s in (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 60.0):
        assert health.ready_at == now + rest_s
        now = health.ready_at
        health = failed(begun(health, now=now, policy=POLICY), sent_at=now, now=now)


def test_what_was_in_flight_when_it_opened_does_not_keep_it_open() -> None:
    """A hundred connections that break together are one outage."""
    health = opened()
    for _ in range(100):
        assert failed(health, sent_at=99.5, now=103.0) == health


@pytest.mark.parametrize("kind", sorted(ACCEPTING))
def test_whoever_declines_lives(kind: FailureKind) -> None:
    """A refusal is an answer."""
    assert not failed(opened(), kind, sent_at=106.0).is_open
    assert failed(failed(WELL), kind).failures == 0


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.OVERLOADED, FailureKind.CANCELLED])
def test_a_limit_is_neither_good_nor_bad(kind: FailureKind) -> None:
    """It rests the key; the upstream is as well as it was."""
    health = failed(failed(WELL))
    assert failed(health, kind) == health


def test_a_refused_key_counts_against_the_upstream_only_if_it_is_the_last() -> None:
    """With other keys the upstream serves on; with none it is as good as dead."""
    for kind in EJECTING:
        assert failed(WELL, kind) == WELL
        assert failed(WELL, kind, is_last_key=True).failures == 1
        assert tells_of_upstream(kind, is_last_key=True)
    assert not tells_of_upstream(FailureKind.RATE_LIMITED, is_last_key=True)
