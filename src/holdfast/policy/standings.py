"""How all upstreams and their keys stand, kept up to date by what becomes of each attempt.

It puts `policy.credentials`, `policy.health` and `policy.retry_budget` together, so that whoever drives attempts, in
earnest or on virtual time, tells it three things (`sent`, `succeeded`, `failed`) and reads one: from when on each
upstream may be asked (`ready`). What has changed is returned as values; the caller logs it, and lets keys rest in line.

Pure: no I/O, clock or randomness; it keeps state, as a line does (`engine.queue.Line`).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from holdfast.policy import credentials, health
from holdfast.policy.credentials import FRESH, RETIRED, KeyPolicy, Standing
from holdfast.policy.health import WELL, Health, HealthPolicy
from holdfast.policy.retry_budget import RetryBudget
from holdfast.types import Failure


class ChangeKind(StrEnum):
    """What happened to a key or an upstream; `upstream.…` in the log."""

    COOLED = "cooled"
    EJECTED = "ejected"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition."""

    upstream: str
    kind: ChangeKind
    key: int | None
    """The key's place in the settings; None: the upstream as a whole."""
    until: float
    """Monotonic second from which on it may be used."""


@dataclass(slots=True, kw_only=True)
class UpstreamStanding:
    """One upstream."""

    keys: list[Standing]
    health: Health
    budget: RetryBudget
    since: float = float("-inf")
    """It is in the settings as it is since that second; what was sent before says nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the settings have of an upstream, as they are read anew."""

    keys: int
    """How many keys it has, and has had in this process; each keeps its place for good."""
    retired: Container[int] = field(default_factory=frozenset)
    """Places of those that are not used any more."""
    is_another: bool = False
    """Whether it bears its name and is at another address: then it stands as if nothing were known of it."""


class _Ready(dict[str, float]):
    """Monotonic seconds by upstream; what is in the settings no longer is never ready."""

    def __missing__(self, upstream: str) -> float:
        return float("inf")


class Standings:
    """All of them, by name. What is told of one that is in the settings no longer changes nothing."""

    def __init__(
        self, keys: Mapping[str, int], *, key_policy: KeyPolicy, health_policy: HealthPolicy, budget: RetryBudget
    ) -> None:
        """Begin: everything is well.

        Args:
            keys: How many keys each upstream has; at least one.
            key_policy: When keys rest.
            health_policy: When an upstream does.
            budget: What each upstream's repeats begin with.
        """
        assert all(count >= 1 for count in keys.values())
        self._keys, self._health, self._budget = key_policy, health_policy, budget
        self._of = {
            name: UpstreamStanding(keys=[FRESH] * count, health=WELL, budget=budget) for name, count in keys.items()
        }
        self.ready: dict[str, float] = _Ready(dict.fromkeys(keys, float("-inf")))
        """Monotonic second from which on each upstream may be asked: it is well, and has a key that does not rest."""
        self._gone = UpstreamStanding(keys=[], health=WELL, budget=RetryBudget.full(share=0.0, burst=0))

    def __repr__(self) -> str:
        out = sum(each.health.is_open for each in self._of.values())
        resting = sum(standing != FRESH for each in self._of.values() for standing in each.keys)
        return f"<Standings of {len(self._of)} upstreams: {out} open, {resting} keys noted>"

    def follow(
        self,
        kept: Mapping[str, Kept],
        *,
        now: float,
        key_policy: KeyPolicy,
        health_policy: HealthPolicy,
        budget: RetryBudget,
    ) -> None:
        """Take over other settings: what they still have stands as it stood, what is new begins well.

        Args:
            kept: All upstreams of the settings, by name.
            now: Monotonic seconds.
            key_policy: As at the beginning.
            health_policy: The same.
            budget: The same; one that has begun keeps what is left of it.
        """
        self._keys, self._health, self._budget = key_policy, health_policy, budget
        for name in self._of.keys() - kept.keys():
            del self._of[name], self.ready[name]
        for name, its in kept.items():
            of = self._of.get(name)
            if of is None:
                of = self._of[name] = UpstreamStanding(keys=[], health=WELL, budget=budget, since=now)
            elif its.is_another:
                of.keys, of.health, of.since = [], WELL, now
            of.budget = of.budget.following(budget)
            before = {at: key for at, key in enumerate(of.keys) if key is not RETIRED}
            of.keys = [RETIRED if at in its.retired else before.get(at, FRESH) for at in range(its.keys)]
            self._refresh(name, now)

    def of(self, upstream: str) -> UpstreamStanding:
        """Give one upstream's; without keys, and with nothing left to repeat, where it is in the settings no longer."""
        return self._of.get(upstream, self._gone)

    def keys_ready_at(self, upstream: str, *, now: float) -> float:
        """Give the monotonic second from which on an upstream has a key that does not rest, however it is itself."""
        usable = [key for key in self._of[upstream].keys if key is not RETIRED]
        return min([credentials.ready_at(key, now=now, policy=self._keys) for key in usable])

    def has_other_key(self, upstream: str, key: int, *, now: float) -> bool:
        """Say whether an upstream has a key, besides this one, that can be used at this moment."""
        keys = self.of(upstream).keys
        return any(each.until <= now for at, each in enumerate(keys) if at != key)

    def rest_s(self, upstream: str, key: int, failure: Failure, *, now: float) -> float | None:
        """Say in how many seconds a part may ask an upstream again after this failure, which was noted before.

        By its keys and its circuit: 0 at once, with another key; None: nothing keeps it but the pause. Where there is
        no other key, a limit's own hint holds for the part that met it.

        Args:
            upstream: Where it failed.
            key: With which of its keys.
            failure: How.
            now: Monotonic seconds.
        """
        rest_s = max(0.0, self.ready[upstream] - now)
        is_useless = failure.kind in credentials.EJECTING
        if rest_s > 0.0 and not is_useless:
            is_alone = credentials.is_last(self.of(upstream).keys, key, now=now)
            hint_s = failure.retry_after_s or 0.0
            return max(rest_s, hint_s) if is_alone else rest_s
        return 0.0 if rest_s == 0.0 and self.has_other_key(upstream, key, now=now) else None

    def allows_repeat(self, upstream: str) -> bool:
        """Say whether one more repeat may be sent there."""
        return self.of(upstream).budget.allows

    def sent(self, upstream: str, *, now: float, is_repeat: bool) -> None:
        """Note that an attempt is sent; one of a part that has not been there before (`is_repeat`) earns a share."""
        of = self.of(upstream)
        if of is self._gone:
            return
        if of.health.is_open:
            of.health = health.begun(of.health, now=now, policy=self._health)
            self._refresh(upstream, now)
        if not is_repeat:
            of.budget = of.budget.earned()

    def repeat(self, upstream: str) -> None:
        """Take a repeat out of the upstream's budget: it was decided on, and is going to be sent."""
        of = self.of(upstream)
        of.budget = of.budget.spent()

    def take_back(self, upstream: str) -> None:
        """Put a repeat back that is not sent after all."""
        of = self.of(upstream)
        of.budget = of.budget.returned()

    def succeeded(self, upstream: str, key: int, *, sent_at: float, now: float) -> tuple[Change, ...]:
        """Note that an image came of an attempt that was sent at this second."""
        of = self.of(upstream)
        if of is self._gone or sent_at < of.since:
            return ()
        before, well_before = of.keys[key], of.health
        if before is not RETIRED:
            of.keys[key] = credentials.after_success(before, sent_at=sent_at)
        of.health = health.after_success(well_before, sent_at=sent_at, now=now)
        self._refresh(upstream, now)
        return (*_of_key(upstream, key, before, of.keys[key], now), *_of_health(upstream, well_before, of.health, now))

    def failed(
        self, upstream: str, key: int, failure: Failure, *, sent_at: float, now: float, jitter: float
    ) -> tuple[Change, ...]:
        """Note how an attempt failed; arguments as `credentials.after_failure` has them."""
        of = self.of(upstream)
        if of is self._gone or sent_at < of.since:
            return ()
        before, well_before = of.keys[key], of.health
        if before is RETIRED and failure.kind in credentials.EJECTING:
            # That it is refused is why it was taken out.
            return ()
        is_last = credentials.is_last(of.keys, key, now=now)
        if before is not RETIRED:
            of.keys[key] = credentials.after_failure(
                before, failure, sent_at=sent_at, now=now, jitter=jitter, is_last=is_last, policy=self._keys
            )
        of.health = health.after_failure(
            well_before, failure.kind, sent_at=sent_at, now=now, is_last_key=is_last, policy=self._health
        )
        self._refresh(upstream, now)
        return (*_of_key(upstream, key, before, of.keys[key], now), *_of_health(upstream, well_before, of.health, now))

    def _refresh(self, upstream: str, now: float) -> None:
        self.ready[upstream] = max(self._of[upstream].health.ready_at, self.keys_ready_at(upstream, now=now))


def _of_key(upstream: str, key: int, before: Standing, after: Standing, now: float) -> tuple[Change, ...]:
    if after == FRESH and before.is_ejected:
        return (Change(upstream=upstream, kind=ChangeKind.RESTORED, key=key, until=now),)
    if after.until <= before.until or after.until <= now:
        return ()
    kind = ChangeKind.EJECTED if after.is_ejected else ChangeKind.COOLED
    return (Change(upstream=upstream, kind=kind, key=key, until=after.until),)


def _of_health(upstream: str, before: Health, after: Health, now: float) -> tuple[Change, ...]:
    if before.is_open and not after.is_open:
        return (Change(upstream=upstream, kind=ChangeKind.RESTORED, key=None, until=now),)
    if after.openings > before.openings:
        return (Change(upstream=upstream, kind=ChangeKind.EJECTED, key=None, until=after.ready_at),)
    return ()
