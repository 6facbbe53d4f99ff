"""Second calls beside slow ones, as `engine.hedging` allows them: which calls may have one, and how many are left."""

from __future__ import annotations

from holdfast.config import HedgeAfter, HedgeSettings
from holdfast.policy.hedge import SecondBudget, first_obstacle
from holdfast.policy.retry import RetryPolicy, Tally
from holdfast.types import Failure

SECOND_LOOK_S = 5.0
MOMENT_S = 0.1
"""As `engine.hedging` looks."""


class Seconds:
    """Of one model."""

    def __init__(self, settings: HedgeSettings, rules: RetryPolicy, model: str) -> None:
        self.after: HedgeAfter = settings.after
        self._rules = rules
        self._model = model
        self._budget = SecondBudget(settings.budget_share)

    def may_follow(self, had_second: bool, failures: tuple[Failure, ...]) -> bool:
        """Whether a second call may come to stand beside the one that is sent now; that one is counted."""
        self._budget.earned(self._model)
        if had_second:
            return False
        return first_obstacle(Tally.of(failures) if failures else None, self._rules) is None

    @property
    def budget_allows(self) -> bool:
        """Whether one more may be made."""
        return self._budget.allows(self._model)

    def spent(self) -> None:
        """Count one that is made."""
        self._budget.spent(self._model)
