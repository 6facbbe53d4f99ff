"""What follows a failed attempt: the circumstances are gathered here, `policy.retry` decides.

The failure is first noted against its key and upstream, so that the decision knows whether the upstream can be asked
again at all; then the next entry of the route is looked for; then it is decided. Nothing here waits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from holdfast.config import OnUnknown, RetrySettings, RouteOnUnknown, Settings
from holdfast.engine.core import Core, Live
from holdfast.engine.course import Candidate
from holdfast.engine.part import Part
from holdfast.engine.sequel import Sequel
from holdfast.engine.upstreams import Upstreams
from holdfast.policy.credentials import EJECTING
from holdfast.policy.health import BROKEN
from holdfast.policy.retry import (
    Circumstances,
    Fallback,
    GiveUp,
    GiveUpReason,
    Retry,
    RetryPolicy,
    Tally,
    decide_after_failure,
    is_unknown_there,
    pause_s,
)
from holdfast.policy.routing import NEVER, Later, Nowhere, Pick
from holdfast.types import Failure, FailureKind

PATIENCE_SHARE = 0.25
"""How long the model that was asked for is waited for before another one is taken: a share of the time that its image
takes anyway, counted from when it was accepted. Whoever waits 45 s for an image hardly minds 11 s more; another model
is another picture."""


def policy_of(settings: RetrySettings) -> RetryPolicy:
    """Say within which limits something is tried again."""
    return RetryPolicy(
        attempts_max=settings.attempts_max,
        backoff_s_first=settings.backoff_s_first,
        backoff_s_max=settings.backoff_s_max,
        sends_max=settings.sends_max,
        accepts_double_charge=settings.on_unknown is OnUnknown.BUY_ONCE_MORE,
        purchases_max=settings.purchases_max,
    )


def policies_of(settings: Settings) -> dict[str, RetryPolicy]:
    """Say it for each public model: a route may be stricter, or less so."""
    usual = policy_of(settings.retry)
    return {
        route.model: usual
        if route.on_unknown is RouteOnUnknown.GATEWAY
        else replace(usual, accepts_double_charge=route.on_unknown is RouteOnUnknown.BUY_ONCE_MORE)
        for route in settings.routes
    }


def limited(policy: RetryPolicy, purchases_max: int | None) -> RetryPolicy:
    """Heed a caller who wants fewer purchases than the operator would make."""
    if purchases_max is None or purchases_max >= policy.purchases_max:
        return policy
    return replace(policy, purchases_max=purchases_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    """Another entry that a part may go to."""

    at: int
    after_s: float
    expected_s: float


class Decider:
    """Decides for all parts of this process."""

    def __init__(self, core: Core, upstreams: Upstreams) -> None:
        self._core = core
        self._upstreams = upstreams
        self.follow()

    def follow(self) -> None:
        """Decide by the settings as they are now."""
        self._usual = policy_of(self._core.settings.retry)
        self._policies = policies_of(self._core.settings)

    def expected_s(self, candidate: Candidate) -> float:
        """Say how long an attempt should take there."""
        target = candidate.target
        latencies = self._core.latencies
        return latencies.expect(upstream=target.upstream.name, model=target.route, tier=candidate.tier).expected_s

    def patience_s(self, live: Live) -> float:
        """Say for how long the model that was asked for is still waited for."""
        waited_s = self._core.clock.monotonic() - live.accepted_at
        usual_s = self._core.latencies.expect(model=live.model, tier=live.tier).expected_s
        return max(0.0, PATIENCE_SHARE * usual_s - waited_s)

    def decide(self, part: Part, failure: Failure, *, key: int, sent_at: float) -> Sequel:
        """Decide what follows the failure of a part's attempt at its present entry.

        Args:
            part: Which; the failure is noted in it, and where it goes on.
            failure: How the attempt ended.
            key: The upstream's key that it was sent with, by its place.
            sent_at: When it was sent, monotonic seconds.
        """
        core, live, upstream = self._core, part.live, part.upstream
        part.note(failure)
        self._upstreams.failed(upstream, key, failure, sent_at=sent_at)
        standings = self._upstreams.standings
        now_s, jitter, policy = core.clock.monotonic(), core.clock.random(), self.policy(live.model, live.purchases_max)
        remaining_s = live.deadline_at - now_s
        tally = Tally.of(part.failures, here=part.failures_here, no_images=part.no_images)
        pause = pause_s(failure, attempt=tally.pauses_after(failure), jitter=jitter, policy=policy)
        following = self._next(part, failure, remaining_s=remaining_s, pause=pause)
        expected_s = self.expected_s(part.candidate)
        now = Circumstances(
            remaining_s=remaining_s,
            expected_s=expected_s,
            jitter=jitter,
            next_after_s=None if following is None else following.after_s,
            next_expected_s=None if following is None else following.expected_s,
            next_is_lesser=following is not None and live.course.entries[following.at].is_lesser,
            patience_s=self.patience_s(live),
            rest_s=standings.rest_s(upstream, key, failure, now=now_s),
            budget_allows=standings.allows_repeat(upstream),
        )
        decision = decide_after_failure(failure, tally=tally, now=now, policy=policy)
        to: int | None = part.at
        if isinstance(decision, Fallback):
            assert following is not None
            to, expected_s = following.at, following.expected_s
            part.avoid(part.at, NEVER if _is_for_good(failure, tally, policy) else now_s + pause)
        elif isinstance(decision, Retry):
            standings.repeat(upstream)
        elif isinstance(decision, GiveUp):
            to = None
        part.goes_to = to
        return Sequel(
            decision=decision,
            kind=failure.kind,
            decided_at=now_s,
            remaining_s=remaining_s,
            budget_left=standings.of(upstream).budget.tokens,
            to=None if to is None else live.course.candidates[to],
            expected_s=expected_s,
            skipped=tuple(live.course.skipped()),
        )

    def leave_to_other(self, part: Part, failure: Failure, *, at: int, key: int, sent_at: float) -> Sequel:
        """Note that one of two attempts of a part has failed: how the other one ends decides what follows.

        Args:
            part: Which; the failure is noted in it.
            failure: How the attempt ended.
            at: The entry that it was sent to, by its place.
            key: The upstream's key that it was sent with, by its place.
            sent_at: When it was sent, monotonic seconds.
        """
        live, upstream, now_s = part.live, part.live.course.entries[at].upstream, self._core.clock.monotonic()
        part.note(failure, at)
        self._upstreams.failed(upstream, key, failure, sent_at=sent_at)
        policy = self.policy(live.model, live.purchases_max)
        part.avoid(at, now_s + pause_s(failure, attempt=1, jitter=self._core.clock.random(), policy=policy))
        return Sequel(
            decision=GiveUp(reason=GiveUpReason.OTHER_IN_FLIGHT),
            kind=failure.kind,
            decided_at=now_s,
            remaining_s=live.deadline_at - now_s,
            budget_left=self._upstreams.standings.of(upstream).budget.tokens,
        )

    def take_back(self, sequel: Sequel, upstream: str) -> None:
        """Undo what a decision has taken that was not carried out: a cancel came first."""
        if isinstance(sequel.decision, Retry):
            self._upstreams.standings.take_back(upstream)

    def policy(self, model: str, purchases_max: int | None) -> RetryPolicy:
        """Say within which limits a part is bought: those of its route, or fewer purchases where its caller says so."""
        return limited(self._policies.get(model, self._usual), purchases_max)

    def _next(self, part: Part, failure: Failure, *, remaining_s: float, pause: float) -> _Next | None:
        """Find the entry that comes next: the first that would be in time; if none would, the first."""
        course = part.live.course
        if len(course.entries) == 1:
            return None
        now_s, first = self._core.clock.monotonic(), None
        avoided = {**part.passes_over(), part.at: NEVER}
        if failure.kind in BROKEN:
            # By another name, or at a smaller size, it is the same upstream, and as broken.
            for at, entry in enumerate(course.entries):
                if entry.upstream == part.upstream:
                    avoided[at] = max(avoided.get(at, 0.0), now_s + pause)
        for _ in course.entries:
            match self._upstreams.choose(course, avoided, patience_s=self.patience_s(part.live)):
                case Pick(at=at):
                    after_s = 0.0
                case Later(at=at, ready_at=ready_at):
                    after_s = max(0.0, ready_at - now_s)
                case Nowhere():
                    break
            expected_s = self.expected_s(course.candidates[at])
            found = _Next(at=at, after_s=after_s, expected_s=expected_s)
            if after_s + expected_s <= remaining_s:
                return found
            first, avoided[at] = first or found, NEVER
        return first


def _is_for_good(failure: Failure, tally: Tally, policy: RetryPolicy) -> bool:
    """Whether an entry that a part leaves is not to be asked by it again."""
    is_empty = failure.kind is FailureKind.NO_IMAGE and tally.no_images > 1
    is_spent = tally.counted >= policy.attempts_max or tally.sends_here >= policy.sends_max
    return failure.kind in EJECTING or is_unknown_there(failure) or is_empty or is_spent
