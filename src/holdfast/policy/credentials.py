"""How one key of one upstream stands: in use, cooling after a 429 or 503, or taken out for a while.

The strategy. A limit is waited out: as long as the upstream says, else for a jittered while that doubles from limit to
limit. The last key rests only for that while at first, whatever the hint: shared quotas let the next call through more
often than not, and the rest of the only key stops everybody. Whoever met the limit waits as long as it was told; if the
next call meets it again, the key rests as long too.

A key that is refused, or whose money is gone, is taken out at once; one with which five calls in a row went wrong, too:
30 s the first time, 60 s the second, five minutes at most. The last key of an upstream is never taken out, since a
doubtful key is better than none. One success, and it is as new.

Two things keep a crowd from being counted as a row. What was sent before the present rest began says nothing new: of
fifty calls in flight that all meet the same limit the first one rests the key, and the others change nothing. And no
rest lasts longer than its limit from now, whatever a clock that jumped, or an upstream that said "a year", has left.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast.types import Failure, FailureKind

COOLING = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})
"""The key is good, and has to wait."""
EJECTING = frozenset({FailureKind.CREDENTIAL, FailureKind.QUOTA_SPENT})
"""The key is of no use, whatever is asked for with it."""
COUNTED = frozenset(
    {FailureKind.SERVER_FAULT, FailureKind.UPSTREAM_TIMEOUT, FailureKind.LOST_REPLY, FailureKind.MALFORMED}
)
"""What counts in a row. Of an upstream that cannot be reached no key is to blame: that is `policy.health`."""
ACCEPTING = frozenset(
    {FailureKind.BAD_REQUEST, FailureKind.REFUSED_INPUT, FailureKind.REFUSED_OUTPUT, FailureKind.NO_IMAGE}
)
"""The upstream has looked at the request: whatever it made of that, the key was good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """The limits chosen by the operator; seconds."""

    eject_after: int = 5
    eject_s: float = 30.0
    """The first time; the n-th in a row lasts n times as long."""
    eject_s_max: float = 300.0
    cool_s_first: float = 2.0
    cool_s_max: float = 60.0
    hint_s_max: float = 3600.0
    """Longest that an upstream's own hint is believed: asked once an hour, a spent day's quota costs nothing."""

    def __post_init__(self) -> None:
        assert self.eject_after >= 1
        assert 0.0 < self.eject_s <= self.eject_s_max
        assert 0.0 < self.cool_s_first <= self.cool_s_max

    @property
    def rest_s_max(self) -> float:
        """Nothing rests longer than this."""
        return max(self.eject_s_max, self.cool_s_max, self.hint_s_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One key, at one moment. Times are monotonic seconds."""

    failures: int = 0
    """In a row, of those that count."""
    limits: int = 0
    """Rate limits without a hint in a row, each met after the rest of the one before."""
    ejections: int = 0
    """In a row."""
    since: float = float("-inf")
    """When its latest rest began."""
    until: float = float("-inf")
    """It rests before that second."""
    is_ejected: bool = False
    """Whether its latest rest is an ejection; a success ends that, and time ends the rest."""


FRESH = Standing()
RETIRED = Standing(since=float("inf"), until=float("inf"), is_ejected=True)
"""A key that is not in the settings any more; nothing that is still heard of it brings it back."""


def ready_at(standing: Standing, *, now: float, policy: KeyPolicy) -> float:
    """Give the monotonic second from which on a key may be used; a rest that reaches too far is cut short."""
    return min(standing.until, now + policy.rest_s_max)


def is_out(standing: Standing, *, now: float) -> bool:
    """Say whether a key is taken out at this moment; one that cools is not."""
    return standing.is_ejected and standing.until > now


def is_last(standings: Sequence[Standing], key: int, *, now: float) -> bool:
    """Say whether every other key of an upstream is taken out.

    Args:
        standings: Of all its keys, by their place in the settings.
        key: The place of the one in question.
        now: Monotonic seconds.
    """
    return all(is_out(standing, now=now) for at, standing in enumerate(standings) if at != key)


def after_success(standing: Standing, *, sent_at: float) -> Standing:
    """Note that an image came, or an answer that only a good key gets.

    One that was sent before the latest rest began does not end that rest: it was taken before the limit was met. But
    what is counted in a row begins anew, since images take minutes: under load every one of them was sent before the
    latest rest, and what was counted would never end.
    """
    return FRESH if sent_at >= standing.since else replace(standing, failures=0, limits=0)


def after_failure(
    standing: Standing,
    failure: Failure,
    *,
    sent_at: float,
    now: float,
    jitter: float,
    is_last: bool,
    policy: KeyPolicy,
) -> Standing:
    """Note how an attempt with this key failed.

    Args:
        standing: Before.
        failure: How the attempt ended.
        sent_at: When it was sent, monotonic seconds.
        now: Monotonic seconds.
        jitter: Uniform sample in [0, 1), drawn by the caller.
        is_last: Whether every other key of the upstream is taken out: then this one stays.
        policy: The limits chosen by the operator.
    """
    assert 0.0 <= jitter < 1.0
    kind = failure.kind
    if kind in ACCEPTING:
        return after_success(standing, sent_at=sent_at)
    hint_s = min(failure.retry_after_s or 0.0, policy.hint_s_max)
    is_news = sent_at >= standing.since
    if kind in COOLING:
        if is_last and kind is FailureKind.RATE_LIMITED and standing.limits == 0:
            hint_s = 0.0
        return _cooled(standing, kind, hint_s, is_news=is_news, now=now, jitter=jitter, policy=policy)
    if kind in EJECTING:
        counted = replace(standing, failures=standing.failures + 1)
        return counted if is_last else _ejected(counted, hint_s, is_news=is_news, now=now, policy=policy)
    if kind not in COUNTED or not is_news:
        return standing
    counted = replace(standing, failures=standing.failures + 1)
    if is_last or counted.failures < policy.eject_after:
        return counted
    return _ejected(counted, 0.0, is_news=True, now=now, policy=policy)


def _cooled(
    standing: Standing,
    kind: FailureKind,
    hint_s: float,
    *,
    is_news: bool,
    now: float,
    jitter: float,
    policy: KeyPolicy,
) -> Standing:
    limits = standing.limits
    if hint_s > 0.0:
        rest_s = hint_s
    elif not is_news:
        return standing
    else:
        # A 503 tells of a moment: while it lasts nearly every second call gets through, so it is not made a minute of.
        # A limit is counted by the minute: who meets it again has come too soon.
        base_s = policy.cool_s_first * 2.0 ** min(limits, 32) if kind is FailureKind.RATE_LIMITED else 0.0
        rest_s = min(policy.cool_s_max, max(base_s, policy.cool_s_first)) * (1 + jitter) / 2
        limits += kind is FailureKind.RATE_LIMITED
    until = now + rest_s
    if until <= standing.until:
        return standing
    is_ejected = is_out(standing, now=now)
    return replace(
        standing, limits=limits, since=now if is_news else standing.since, until=until, is_ejected=is_ejected
    )


def _ejected(standing: Standing, hint_s: float, *, is_news: bool, now: float, policy: KeyPolicy) -> Standing:
    ejections = standing.ejections + 1 if is_news or not standing.ejections else standing.ejections
    rest_s = max(min(policy.eject_s_max, policy.eject_s * ejections), hint_s)
    return replace(standing, ejections=ejections, since=now, until=max(standing.until, now + rest_s), is_ejected=True)
