"""What follows a failed attempt, with the reasons and figures by which it was decided, as it is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.engine.course import Candidate, place_of
from holdfast.policy.retry import Decision, Fallback, GiveUp, Retry, Wait
from holdfast.types import Failure, FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequel:
    """Decided before the attempt's commit, which writes it down."""

    decision: Decision
    kind: FailureKind
    """Of the failure that it follows."""
    decided_at: float
    """Monotonic seconds."""
    remaining_s: float
    """Seconds that were left before the deadline."""
    budget_left: float
    """Repeats that the upstream's budget still has."""
    to: Candidate | None = None
    """Where the part goes on; None: nowhere."""
    expected_s: float | None = None
    """What the attempt there should take."""
    skipped: tuple[dict[str, str], ...] = ()
    """Entries of the route that cannot serve the request."""

    @property
    def again_at(self) -> float | None:
        """Monotonic seconds at which the part goes on; None: it has ended."""
        return None if self.after_s is None else self.decided_at + self.after_s

    @property
    def after_s(self) -> float | None:
        """Seconds until the part goes on; None: it has ended."""
        match self.decision:
            case Retry(after_s=after_s) | Wait(after_s=after_s) | Fallback(after_s=after_s):
                return after_s
            case GiveUp():
                return None

    @property
    def follows(self) -> str:
        """One word for it."""
        match self.decision:
            case Retry():
                return "retry"
            case Wait():
                return "wait"
            case Fallback():
                return "fallback"
            case GiveUp():
                return "give_up"

    def document(self) -> dict[str, Any]:
        """Give what the record keeps; `docs/discussions/decisions.md` describes it."""
        is_end = isinstance(self.decision, GiveUp)
        told: dict[str, Any] = {
            "follows": self.follows,
            "reason": self.decision.reason.value if isinstance(self.decision, GiveUp) else self.kind.value,
            "after_s": None if self.after_s is None else round(self.after_s, 3),
            "to": None if is_end or self.to is None else place_of(self.to),
            "remaining_s": round(self.remaining_s, 3),
            "expected_s": None if is_end or self.expected_s is None else round(self.expected_s, 3),
            "budget_left": round(self.budget_left, 3),
        }
        return told | ({"skipped": list(self.skipped)} if self.skipped else {})

    def told(self) -> dict[str, Any]:
        """What the log line says of it."""
        match self.decision:
            case Retry(after_s=after_s) | Wait(after_s=after_s):
                return {"follows": self.follows, "after_s": round(after_s, 3)}
            case Fallback(after_s=after_s):
                to = None if self.to is None else f"{self.to.target.upstream.name}/{self.to.target.model}"
                return {"follows": self.follows, "after_s": round(after_s, 3), "to": to}
            case GiveUp(reason=reason):
                return {"follows": self.follows, "why": reason.value}


Decide = Callable[[Failure], Sequel]
