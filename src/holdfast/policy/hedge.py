"""When a call that is slow is made a second time, at another upstream: what speaks against it, in order.

A second attempt is a purchase that may turn out to be one too many. So it is made only where two purchases of the part
are accepted, within a share of all calls, once the first one is past the time by which most calls of its upstream have
ended, where the other upstream could still be in time, and where it has a fair chance to be first: a call that is past
its P95 may be about to end.

The chance is reckoned from what is known of both upstreams. With T1 and T2 the times to an image, and the first one
at work for e seconds, it is P(T2 < T1 - e | T1 > e): the mean over T2 of (1 - F1(e + T2)) / (1 - F1(e)).

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.config import HedgeAfter
from holdfast.policy.learning import Expectation
from holdfast.policy.retry import RetryPolicy, Tally
from holdfast.policy.retry_budget import RetryBudget

CHANCE_MIN = 0.1
"""Below that nine of ten second attempts would be bought for nothing. With the published latencies a 1K call at its P95
is overtaken in one case of four; one of 4K in one of eleven, and so it is waited for half a minute longer."""
SAVED_MAX = 3
"""Second attempts that may be saved up for a slow hour: what `retry.budget_burst` is for repeats."""
_LEVELS = tuple((2 * at + 1) / 16 for at in range(8))
"""Eight slices of the second one's time, each by its middle: the chance comes out within two hundredths."""


class Against(StrEnum):
    """Why no second attempt is made."""

    NOT_ACCEPTED = "not_accepted"
    """Nothing that may be charged is bought twice for this route or this caller."""
    PURCHASES_SPENT = "purchases_spent"
    SENDS_SPENT = "sends_spent"
    NOT_SLOW = "not_slow"
    BUDGET_SPENT = "budget_spent"
    NOBODY_FREE = "nobody_free"
    """No other upstream of the route is well, and has a place at once."""
    DEADLINE_TOO_CLOSE = "deadline_too_close"
    NO_CHANCE = "no_chance"


LASTING = frozenset({Against.NOT_ACCEPTED, Against.PURCHASES_SPENT, Against.SENDS_SPENT, Against.DEADLINE_TOO_CLOSE})
"""What the passing of time does not mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """A part whose attempt is in flight, as the engine sees it at this moment."""

    elapsed_s: float
    """Since the attempt was sent."""
    remaining_s: float
    """Until the generation's deadline."""
    first: Expectation
    """What is known of the upstream that it was sent to."""
    second: Expectation | None
    """The same of the upstream that a second one would go to; None: nobody is free."""
    tally: Tally | None
    """What the part has used before this attempt; None: nothing."""
    budget_allows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """A second attempt pays: with the figures by which that was decided."""

    elapsed_s: float
    slow_s: float
    """From when on the first one counts as slow."""
    chance: float
    """That the second one is first, in [0, 1]."""
    expected_s: float
    """What it should take."""
    remaining_s: float


def slow_s(first: Expectation, after: HedgeAfter) -> float:
    """Say after how many seconds a call counts as slow."""
    return first.p95_s if after is HedgeAfter.P95 else first.p99_s


def chance_of(first: Expectation, second: Expectation, *, elapsed_s: float) -> float:
    """Say how likely a second attempt that is sent now comes before the first, which has run for a while; in [0, 1]."""
    left = 1.0 - first.fraction_done(elapsed_s)
    if left <= 1e-6:
        # Longer than anything that is known: it hangs.
        return 1.0
    beaten = (1.0 - first.fraction_done(elapsed_s + second.quantile(level)) for level in _LEVELS)
    return min(1.0, sum(beaten) / left / len(_LEVELS))


def first_obstacle(tally: Tally | None, policy: RetryPolicy) -> Against | None:
    """Say what forbids a second attempt beside the one that is about to be sent, however long that takes."""
    if not policy.accepts_double_charge:
        return Against.NOT_ACCEPTED
    sends, purchases = (0, 0) if tally is None else (tally.sends, tally.purchases)
    if purchases + 2 > policy.purchases_max:
        return Against.PURCHASES_SPENT
    return Against.SENDS_SPENT if sends + 2 > policy.sends_max else None


def decide_second(slow: Slow, *, after: HedgeAfter, policy: RetryPolicy) -> Second | Against:
    """Decide whether a second attempt is made now.

    Args:
        slow: The part and its attempt.
        after: By which time a call is slow.
        policy: What may be bought for a part.
    """
    if (obstacle := first_obstacle(slow.tally, policy)) is not None:
        return obstacle
    begins_s = slow_s(slow.first, after)
    if slow.elapsed_s < begins_s:
        return Against.NOT_SLOW
    if not slow.budget_allows:
        return Against.BUDGET_SPENT
    if slow.second is None:
        return Against.NOBODY_FREE
    expected_s = slow.second.expected_s
    if expected_s > slow.remaining_s:
        return Against.DEADLINE_TOO_CLOSE
    chance = chance_of(slow.first, slow.second, elapsed_s=slow.elapsed_s)
    if chance < CHANCE_MIN:
        return Against.NO_CHANCE
    return Second(
        elapsed_s=slow.elapsed_s,
        slow_s=begins_s,
        chance=chance,
        expected_s=expected_s,
        remaining_s=slow.remaining_s,
    )


class SecondBudget:
    """How many second attempts each model may have: a share of its calls. What a process begins with is none."""

    __slots__ = ("_by_model", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._by_model: dict[str, RetryBudget] = {}

    def __repr__(self) -> str:
        left = ", ".join(f"{model}: {budget.tokens:.2f}" for model, budget in self._by_model.items())
        return f"<SecondBudget {left or 'nothing earned'}>"

    def left(self, model: str) -> float:
        """Say how many are left."""
        return self._of(model).tokens

    def allows(self, model: str) -> bool:
        """Whether one more may be made."""
        return self._of(model).allows

    def earned(self, model: str) -> None:
        """Count a call that is no second attempt."""
        self._by_model[model] = self._of(model).earned()

    def spent(self, model: str) -> None:
        """Count a second attempt that is going to be made."""
        self._by_model[model] = self._of(model).spent()

    def returned(self, model: str) -> None:
        """Take back one that is not made after all."""
        self._by_model[model] = self._of(model).returned()

    def _of(self, model: str) -> RetryBudget:
        # What a restart begins with would else be bought at each of them.
        return self._by_model.get(model) or RetryBudget(share=self._share, burst=SAVED_MAX, tokens=0.0)
