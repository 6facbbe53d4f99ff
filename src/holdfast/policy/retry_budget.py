"""How many repeats a process allows itself: a share of its calls, and a few at once.

When an upstream is down every call fails, and a gateway that repeats each of them three times makes four times the load
of it. Each first call earns a share of a repeat; each repeat costs one.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """What is left at a moment. Source: retry budgets of Finagle (2013), and Google SRE Book, ch. 21."""

    share: float
    """Repeats that one call earns."""
    burst: int
    """Most that is saved up; what a new process begins with."""
    tokens: float
    """Repeats that are left."""

    def __post_init__(self) -> None:
        assert 0.0 <= self.share <= 1.0
        assert 0.0 <= self.tokens <= self.burst

    @classmethod
    def full(cls, *, share: float, burst: int) -> Self:
        """Begin."""
        return cls(share=share, burst=burst, tokens=float(burst))

    def following(self, other: RetryBudget) -> RetryBudget:
        """Go on by the share and the burst of another one, with what is left of this."""
        return replace(other, tokens=min(self.tokens, other.burst))

    @property
    def allows(self) -> bool:
        """Whether one more repeat may be made."""
        # Ten tenths are not quite one.
        return self.tokens >= 1.0 - 1e-9

    def earned(self) -> Self:
        """Count a first call."""
        return self if self.tokens >= self.burst else replace(self, tokens=min(self.burst, self.tokens + self.share))

    def spent(self) -> Self:
        """Count a repeat that is going to be made."""
        assert self.allows
        return replace(self, tokens=max(0.0, self.tokens - 1.0))

    def returned(self) -> Self:
        """Take back a repeat that is not made after all."""
        return replace(self, tokens=min(float(self.burst), self.tokens + 1.0))
