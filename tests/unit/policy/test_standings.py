"""What becomes of keys and upstreams as attempts end: what is told, and from when on whom may be asked."""

from __future__ import annotations

from holdfast.policy.credentials import KeyPolicy
from holdfast.policy.health import HealthPolicy
from holdfast.policy.retry_budget import RetryBudget
from holdfast.policy.standings import Change, ChangeKind, Standings
from holdfast.types import Charge, Failure, FailureKind, Phase


def some(**keys: int) -> Standings:
    return Standings(
        keys or {"a": 2, "b": 1},
        key_policy=KeyPolicy(),
        health_policy=HealthPolicy(),
        budget=RetryBudget.full(share=0.1, burst=3),
    )


def failed(
    standings: Standings,
    kind: FailureKind,
    *,
    upstream: str = "a",
    key: int = 0,
    now: float = 100.0,
    hint_s: float | None = None,
) -> tuple[Change, ...]:
    failure = Failure(kind=kind, phase=Phase.WAIT, charge=Charge.NO, detail="", retry_after_s=hint_s)
    return standings.failed(upstream, key, failure, sent_at=now, now=now, jitter=0.5)


def test_everything_can_be_asked_in_the_beginning() -> None:
    """Nothing is held against anybody."""
    assert all(ready_at <= 0.0 for ready_at in some().ready.values())


def test_a_cooled_key_leaves_its_upstream_to_the_other() -> None:
    """With the last key the upstream rests too, until the first of them is back."""
    standings = some()
    assert failed(standings, FailureKind.RATE_LIMITED, hint_s=20.0) == (
        Change(upstream="a", kind=ChangeKind.COOLED, key=0, until=120.0),
    )
    assert standings.ready["a"] <= 100.0
    assert standings.has_other_key("a", 0, now=100.0)
    failed(standings, FailureKind.RATE_LIMITED, key=1, hint_s=40.0)
    assert standings.ready["a"] == 120.0
    assert standings.keys_ready_at("a", now=100.0) == 120.0
    assert not standings.has_other_key("a", 0, now=100.0)
    assert standings.ready["b"] <= 100.0


def test_when_a_part_may_ask_again_depends_on_the_other_keys() -> None:
    """At once with another key; else when the first of them is ready; alone, as long as it was told to wait."""
    limited = Failure(kind=FailureKind.RATE_LIMITED, phase=Phase.WAIT, charge=Charge.NO, detail="", retry_after_s=40.0)
    standings = some()
    standings.failed("a", 0, limited, sent_at=100.0, now=100.0, jitter=0.5)
    assert standings.rest_s("a", 0, limited, now=100.0) == 0.0
    failed(standings, FailureKind.RATE_LIMITED, key=1, hint_s=5.0)
    assert standings.rest_s("a", 0, limited, now=100.0) == 5.0
    standings.failed("b", 0, limited, sent_at=100.0, now=100.0, jitter=0.5)
    assert standings.ready["b"] == 101.5
    assert standings.rest_s("b", 0, limited, now=100.0) == 40.0
    gone = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="")
    assert some().rest_s("b", 0, gone, now=100.0) is None
    refused = Failure(kind=FailureKind.CREDENTIAL, phase=Phase.WAIT, charge=Charge.NO, detail="")
    assert some().rest_s("b", 0, refused, now=100.0) is None


def test_a_dead_key_is_told_once_and_told_again_when_it_is_back() -> None:
    """One line of the log for each transition."""
    standings = some()
    assert failed(standings, FailureKind.CREDENTIAL) == (
        Change(upstream="a", kind=ChangeKind.EJECTED, key=0, until=130.0),
    )
    assert standings.succeeded("a", 0, sent_at=131.0, now=140.0) == (
        Change(upstream="a", kind=ChangeKind.RESTORED, key=0, until=140.0),
    )
    assert standings.succeeded("a", 0, sent_at=132.0, now=141.0) == ()


def test_the_last_key_stays_and_the_upstream_opens_instead() -> None:
    """An upstream whose only key is dead is asked by five, then by one at a time."""
    standings = some()
    changes = [failed(standings, FailureKind.CREDENTIAL, upstream="b") for _ in range(5)]
    assert changes == [(), (), (), (), (Change(upstream="b", kind=ChangeKind.EJECTED, key=None, until=105.0),)]
    assert standings.ready["b"] == 105.0


def test_an_open_upstream_is_tried_by_one_at_a_time_until_it_answers() -> None:
    """From the trial on the others wait; its success lets all of them in."""
    standings = some()
    for _ in range(5):
        failed(standings, FailureKind.UNREACHABLE)
    assert standings.ready["a"] == 105.0
    standings.sent("a", now=105.0, is_repeat=False)
    assert standings.ready["a"] == 120.0
    assert standings.succeeded("a", 1, sent_at=105.0, now=110.0) == (
        Change(upstream="a", kind=ChangeKind.RESTORED, key=None, until=110.0),
    )
    assert standings.ready["a"] <= 110.0


def test_each_upstream_has_its_own_budget_of_repeats() -> None:
    """What one of them wastes is not taken from the other."""
    standings = some()
    for _ in range(3):
        assert standings.allows_repeat("a")
        standings.repeat("a")
        standings.sent("a", now=100.0, is_repeat=True)
    assert not standings.allows_repeat("a")
    assert standings.allows_repeat("b")
    standings.take_back("a")
    assert standings.allows_repeat("a")
    standings.repeat("a")
    for _ in range(10):
        assert not standings.allows_repeat("a")
        standings.sent("a", now=100.0, is_repeat=False)
    assert standings.allows_repeat("a")


def test_it_says_in_a_line_what_is_wrong() -> None:
    """An operator reads it in a log or a debugger."""
    standings = some()
    assert repr(standings) == "<Standings of 2 upstreams: 0 open, 0 keys noted>"
    failed(standings, FailureKind.CREDENTIAL)
    assert repr(standings) == "<Standings of 2 upstreams: 0 open, 1 keys noted>"
