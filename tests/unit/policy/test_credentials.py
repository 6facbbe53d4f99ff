"""When a key rests, for how long, and what brings it back."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.policy.credentials import (
    ACCEPTING,
    COOLING,
    COUNTED,
    EJECTING,
    FRESH,
    KeyPolicy,
    Standing,
    after_failure,
    after_success,
    is_last,
    is_out,
    ready_at,
)
from holdfast.types import Charge, Failure, FailureKind, Phase

POLICY = KeyPolicy()


def a_failure(kind: FailureKind, retry_after_s: float | None = None) -> Failure:
    return Failure(kind=kind, phase=Phase.WAIT, charge=Charge.NO, detail="", retry_after_s=retry_after_s)


def failed(standing: Standing, kind: FailureKind, *, hint_s: float | None = None, **moment: Any) -> Standing:
    """Let a key fail at second 100, sent at 99."""
    usual: dict[str, Any] = {"sent_at": 99.0, "now": 100.0, "jitter": 0.5, "is_last": False, "policy": POLICY}
    return after_failure(standing, a_failure(kind, hint_s), **usual | moment)


def test_a_limit_rests_the_key_as_long_as_the_upstream_says() -> None:
    """The hint is taken at its word."""
    for kind in COOLING:
        cooled = failed(FRESH, kind, hint_s=17.0)
        assert (cooled.until, cooled.is_ejected) == (117.0, False)
        assert ready_at(cooled, now=100.0, policy=POLICY) == 117.0


def test_a_limit_without_a_hint_is_rested_out_for_a_jittered_while_that_doubles() -> None:
    """Whoever meets a limit again has come too soon; chance keeps keys from coming back all at once."""
    key, now = FRESH, 100.0
    for while_s in (1.5, 3.0, 6.0, 12.0, 24.0, 45.0, 45.0):
        key = failed(key, FailureKind.RATE_LIMITED, sent_at=now, now=now)
        assert key.until == now + while_s
        now = key.until
    assert failed(FRESH, FailureKind.RATE_LIMITED, jitter=0.0).until == 101.0


def test_an_overload_is_not_made_longer_than_it_is() -> None:
    """Where every second call meets a 503 the others get through; a rest that doubled would keep them from it."""
    key, now = FRESH, 100.0
    for _ in range(20):
        key = failed(key, FailureKind.OVERLOADED, sent_at=now, now=now)
        assert key.until == now + 1.5
        now = key.until


def test_a_hint_of_a_year_is_believed_for_an_hour() -> None:
    """No answer puts a key out for good."""
    assert failed(FRESH, FailureKind.RATE_LIMITED, hint_s=31536000.0).until == 3700.0
    assert failed(FRESH, FailureKind.QUOTA_SPENT, hint_s=31536000.0).until == 3700.0


def test_the_last_key_rests_as_it_is_told_to_only_when_the_limit_is_met_again() -> None:
    """A shared quota lets the next call through more often than not; the rest of the only key stops everybody."""
    once = failed(FRESH, FailureKind.RATE_LIMITED, hint_s=60.0, is_last=True)
    assert (once.until, once.limits) == (101.5, 1)
    again = failed(once, FailureKind.RATE_LIMITED, hint_s=60.0, is_last=True, sent_at=102.0, now=103.0)
    assert again.until == 163.0
    assert failed(FRESH, FailureKind.RATE_LIMITED, hint_s=60.0).until == 160.0


def test_a_rest_from_a_clock_that_jumped_is_cut_short() -> None:
    """State from the future is clamped."""
    assert ready_at(Standing(until=10.0**9), now=100.0, policy=POLICY) == 3700.0
    assert ready_at(FRESH, now=100.0, policy=POLICY) == float("-inf")


def test_a_crowd_that_meets_one_limit_rests_the_key_once() -> None:
    """Fifty calls in flight tell one thing; only what was sent after the rest began tells another."""
    first = failed(FRESH, FailureKind.RATE_LIMITED)
    for _ in range(50):
        assert failed(first, FailureKind.RATE_LIMITED, now=100.1) == first
    later = failed(first, FailureKind.RATE_LIMITED, sent_at=102.0, now=102.0)
    assert later.until == 105.0


def test_a_longer_hint_counts_even_of_a_call_sent_before() -> None:
    """What the upstream says is news, whenever it was asked."""
    first = failed(FRESH, FailureKind.RATE_LIMITED, hint_s=5.0)
    assert failed(first, FailureKind.RATE_LIMITED, hint_s=60.0, now=100.1).until == pytest.approx(160.1)
    assert failed(first, FailureKind.RATE_LIMITED, hint_s=1.0, now=100.1) == first


@pytest.mark.parametrize("kind", sorted(EJECTING))
def test_a_refused_key_is_taken_out_at_once_and_longer_each_time(kind: FailureKind) -> None:
    """30 s times the number of ejections in a row, five minutes at most."""
    key, now = FRESH, 100.0
    for n in range(1, 14):
        key = failed(key, kind, sent_at=now, now=now)
        assert key.is_ejected
        assert key.until == now + min(300.0, 30.0 * n)
        assert is_out(key, now=now)
        now = key.until
        assert not is_out(key, now=now)


@pytest.mark.parametrize("kind", sorted(COUNTED))
def test_five_failures_in_a_row_take_a_key_out(kind: FailureKind) -> None:
    """Four may be chance; then one more after the rest is enough."""
    key = FRESH
    for failures in range(1, 5):
        key = failed(key, kind)
        assert (key.failures, key.is_ejected) == (failures, False)
    key = failed(key, kind)
    assert (key.is_ejected, key.until) == (True, 130.0)
    again = failed(key, kind, sent_at=131.0, now=140.0)
    assert (again.ejections, again.until) == (2, 200.0)


def test_calls_in_flight_when_a_key_is_taken_out_do_not_lengthen_that() -> None:
    """A hundred broken connections at one instant are one ejection."""
    key = failed(Standing(failures=4), FailureKind.LOST_REPLY)
    assert key.ejections == 1
    for _ in range(100):
        assert failed(key, FailureKind.LOST_REPLY, now=100.2) == key


def test_the_last_key_is_never_taken_out() -> None:
    """A doubtful key is better than none."""
    for kind in (*EJECTING, *COUNTED):
        key = failed(Standing(failures=20), kind, is_last=True)
        assert ready_at(key, now=100.0, policy=POLICY) <= 100.0
        assert key.failures == 21


def test_which_key_is_the_last_depends_on_those_that_are_taken_out() -> None:
    """One that cools is still there."""
    out, cooling = Standing(is_ejected=True, until=130.0), Standing(until=130.0)
    assert is_last((FRESH,), 0, now=100.0)
    assert is_last((FRESH, out), 0, now=100.0)
    assert not is_last((FRESH, out), 1, now=100.0)
    assert not is_last((FRESH, cooling), 0, now=100.0)
    assert not is_last((FRESH, out), 0, now=130.0)


def test_a_success_makes_a_key_as_new() -> None:
    """Restored: whatever was counted against it is forgotten."""
    key = Standing(failures=4, ejections=3, since=470.0, until=500.0, is_ejected=True)
    assert after_success(key, sent_at=501.0) == FRESH
    assert after_success(FRESH, sent_at=0.0) == FRESH


def test_an_image_that_was_asked_for_before_the_limit_does_not_end_the_rest() -> None:
    """Images take minutes: those in flight when a limit is met tell nothing of it."""
    cooled = failed(FRESH, FailureKind.RATE_LIMITED, hint_s=30.0)
    assert after_success(cooled, sent_at=99.0) == cooled


def test_an_image_begins_every_row_anew() -> None:
    """Under load all images were asked for before the latest rest: what is counted must end all the same."""
    twice = failed(Standing(limits=4, failures=3), FailureKind.RATE_LIMITED)
    assert twice.limits == 5
    after = after_success(twice, sent_at=99.0)
    assert (after.limits, after.failures, after.until) == (0, 0, twice.until)


def test_an_image_that_was_asked_for_after_it_does() -> None:
    """The limit is over."""
    cooled = failed(FRESH, FailureKind.RATE_LIMITED, hint_s=30.0)
    assert after_success(cooled, sent_at=131.0) == FRESH


@pytest.mark.parametrize("kind", sorted(ACCEPTING))
def test_a_refused_picture_proves_the_key(kind: FailureKind) -> None:
    """Whoever looks at the request has taken the key."""
    assert failed(Standing(failures=4), kind) == FRESH


def test_no_key_is_to_blame_for_an_upstream_that_cannot_be_reached_or_for_a_cancel() -> None:
    """Nothing was said of the key."""
    for kind in (FailureKind.UNREACHABLE, FailureKind.CANCELLED):
        assert failed(Standing(failures=4), kind) == Standing(failures=4)


def test_every_kind_of_failure_has_its_place() -> None:
    """A new kind is not passed over by accident."""
    placed = [*COOLING, *EJECTING, *COUNTED, *ACCEPTING, FailureKind.UNREACHABLE, FailureKind.CANCELLED]
    assert sorted(placed) == sorted(FailureKind)


def test_a_limit_met_by_a_key_that_is_out_does_not_bring_it_back() -> None:
    """Cooling never shortens an ejection, and one that outlasts it keeps the word."""
    out = failed(FRESH, FailureKind.CREDENTIAL)
    assert failed(out, FailureKind.RATE_LIMITED, hint_s=5.0) == out
    longer = failed(out, FailureKind.RATE_LIMITED, hint_s=90.0)
    assert (longer.until, longer.is_ejected) == (190.0, True)
