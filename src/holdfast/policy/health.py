"""Whether an upstream is to be asked at all: closed, open, or half-open with one trial at a time.

Failures in a row that tell of the upstream itself (it cannot be reached, it breaks, it never answers) open its circuit:
5 s the first time, 10 s the second, a minute at most. Then one attempt tries it. The next one goes when that has
failed, or when it has not failed for so long that it has at least been taken. A success closes the circuit. An answer
that declines the request is a success: whoever declines, lives. A 429 or 503 is neither, since it rests the key.

What breaks late, or never answers in its time, may only be slow: at a peak every second call is, and the others bring
their images. So it opens the circuit only of an upstream that has brought no image for a minute. One that cannot be
reached at all is taken at its word.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from holdfast.policy.credentials import ACCEPTING, EJECTING
from holdfast.types import FailureKind

BROKEN = frozenset(
    {FailureKind.UNREACHABLE, FailureKind.SERVER_FAULT, FailureKind.UPSTREAM_TIMEOUT, FailureKind.LOST_REPLY}
)
"""What tells of the upstream, not of the request or the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """When a circuit opens, and for how long; seconds."""

    fail_after: int = 5
    """The setting `retry.eject_after`: keys and upstreams are given the same patience."""
    open_s: float = 5.0
    """The first time; the n-th in a row lasts n times as long. A restart or a failover takes seconds."""
    open_s_max: float = 60.0
    """An upstream that is back is found within a minute, at the cost of one call a minute."""
    quiet_s: float = 60.0
    """How long it must have brought nothing before anything but being out of reach counts as being down."""
    trial_s: float = 15.0
    """How long one trial is alone. One that cannot connect fails within `deadlines.connect_s`, 10 s; an image takes
    minutes, and nobody is kept waiting for it."""

    def __post_init__(self) -> None:
        assert self.fail_after >= 1
        assert 0.0 < self.open_s <= self.open_s_max
        assert self.trial_s > 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One upstream's circuit, at one moment. Times are monotonic seconds."""

    failures: int = 0
    """In a row."""
    openings: int = 0
    """In a row; 0: closed."""
    opened_at: float = float("-inf")
    succeeded_at: float = float("-inf")
    """When it brought its latest image, or another answer that only a living upstream gives."""
    ready_at: float = float("-inf")
    """Nothing is sent before that second: the circuit is open, or a trial is on its way."""

    @property
    def is_open(self) -> bool:
        """Whether only trials are sent."""
        return self.openings > 0


WELL = Health()


def tells_of_upstream(kind: FailureKind, *, is_last_key: bool) -> bool:
    """Say whether a failure counts against the upstream; a refused key does where there is no other."""
    return kind in BROKEN or (kind in EJECTING and is_last_key)


def begun(health: Health, *, now: float, policy: HealthPolicy) -> Health:
    """Note that an attempt is sent; while the circuit is half-open, that is the trial."""
    return replace(health, ready_at=now + policy.trial_s) if health.is_open else health


def after_success(health: Health, *, sent_at: float, now: float) -> Health:
    """Note that the upstream answered; what was sent before its circuit opened does not close it.

    An upstream may finish what it has begun while it takes nothing new.
    """
    if sent_at >= health.opened_at:
        return Health(succeeded_at=now)
    return replace(health, succeeded_at=now)


def after_failure(
    health: Health, kind: FailureKind, *, sent_at: float, now: float, is_last_key: bool, policy: HealthPolicy
) -> Health:
    """Note how an attempt failed.

    Args:
        health: Before.
        kind: Of the failure.
        sent_at: When the attempt was sent, monotonic seconds; one sent before the circuit opened says nothing new.
        now: Monotonic seconds.
        is_last_key: Whether every other key of the upstream is taken out.
        policy: The limits.
    """
    if kind in ACCEPTING:
        return after_success(health, sent_at=sent_at, now=now)
    if not tells_of_upstream(kind, is_last_key=is_last_key) or sent_at < health.opened_at:
        return health
    failures = health.failures + 1
    is_certain = kind is FailureKind.UNREACHABLE or kind in EJECTING
    is_down = failures >= policy.fail_after and (is_certain or now - health.succeeded_at >= policy.quiet_s)
    if not health.is_open and not is_down:
        return replace(health, failures=failures)
    openings = health.openings + 1
    rest_s = min(policy.open_s_max, policy.open_s * openings)
    return replace(health, failures=failures, openings=openings, opened_at=now, ready_at=now + rest_s)
