"""What became of a load: from what callers hold and what upstreams charged, to figures and bars.

Pure: no I/O, clock or randomness. Times are told in seconds of life: the speed is multiplied in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

PATIENCE_S = 600.0
"""Of life: the published timeout of 4K, and what the SDK comes with."""
SUCCESS_BAR = 0.99
PURCHASES_BAR = 1.02
LEVELS = (0.50, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one caller has in the end."""

    number: int
    took_s: float
    """Real seconds, from asking to the end."""
    error: str | None = None
    """None: the image."""
    tries: int = 1
    """Calls that its own loop made; what an SDK repeats by itself is not seen here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The figures of one subject in one arena."""

    orders: int
    delivered: int
    in_time: int
    purchases: int
    """Images that the upstreams have charged, all of them."""
    seconds: Mapping[str, float]
    """`p50`, `p95`, `p99` from asking to the image, of those delivered, seconds of life."""
    errors: Mapping[str, int]
    late_p50_s: float
    """By how much callers asked later than planned, seconds of life: whether the machine kept up."""

    @property
    def success(self) -> float:
        """Share of the orders whose image came within their patience."""
        return self.in_time / self.orders if self.orders else 0.0

    @property
    def purchases_per_image(self) -> float | None:
        """None: nobody has one."""
        return self.purchases / self.delivered if self.delivered else None

    def as_json(self) -> dict[str, Any]:
        """Write it down."""
        return {
            "orders": self.orders,
            "delivered": self.delivered,
            "in_time": self.in_time,
            "success": self.success,
            "purchases": self.purchases,
            "purchases_per_image": self.purchases_per_image,
            "seconds": dict(self.seconds),
            "errors": dict(self.errors),
            "late_p50_s": self.late_p50_s,
        }


def percentile(ordered: Sequence[float], level: float) -> float:
    """Take the nearest rank; 0 of nothing."""
    return ordered[ceil(level * len(ordered)) - 1] if ordered else 0.0


def reckon(outcomes: Sequence[Outcome], *, purchases: int, speed: float, lates_s: Sequence[float] = ()) -> Turn:
    """Sum a turn up.

    Args:
        outcomes: One for each order.
        purchases: Images charged, by the upstreams' own books.
        speed: Divides every time of life.
        lates_s: By how much each caller came later than planned, real seconds.
    """
    took_s = sorted(each.took_s * speed for each in outcomes if each.error is None)
    errors = Counter(each.error for each in outcomes if each.error is not None)
    return Turn(
        orders=len(outcomes),
        delivered=len(took_s),
        in_time=sum(seconds <= PATIENCE_S for seconds in took_s),
        purchases=purchases,
        seconds={f"p{round(100 * level)}": percentile(took_s, level) for level in LEVELS},
        errors=dict(errors.most_common()),
        late_p50_s=percentile(sorted(late * speed for late in lates_s), 0.5),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Something that must hold."""

    title: str
    value: float | None
    limit: float
    is_floor: bool

    @property
    def verdict(self) -> str:
        """`met`, `NOT MET`, or `absent`."""
        if self.value is None:
            return "absent"
        holds = self.value >= self.limit if self.is_floor else self.value <= self.limit
        return "met" if holds else "NOT MET"

    @property
    def row(self) -> str:
        """Its line of the table."""
        value = "-" if self.value is None else f"{self.value:.4f}"
        return f"| {self.title} | {value} | {'>=' if self.is_floor else '<='} {self.limit:g} | {self.verdict} |"


def bars_of(turns: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Bar]:
    """Hold holdfast's figures against what is promised, in each arena that was played.

    Args:
        turns: By arena, then by subject, as `Turn.as_json` writes them.
    """
    bars: list[Bar] = []
    for arena, subjects in turns.items():
        turn = subjects.get("holdfast", {})
        success, paid = turn.get("success"), turn.get("purchases_per_image")
        bars.append(Bar(title=f"{arena}: success within the deadline", value=success, limit=SUCCESS_BAR, is_floor=True))
        bars.append(Bar(title=f"{arena}: purchases per image", value=paid, limit=PURCHASES_BAR, is_floor=False))
    return bars


def table_of(turns: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Lay everything out as Markdown."""
    lines = [
        "| arena | subject | orders | with an image | in time | purchases per image | p50 | p95 | p99 | told instead |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arena, subjects in turns.items():
        for name, turn in subjects.items():
            paid = turn["purchases_per_image"]
            seconds = " | ".join(f"{turn['seconds'][point]:.0f} s" for point in ("p50", "p95", "p99"))
            told = ", ".join(f"{count} {error}" for error, count in turn["errors"].items()) or "-"
            lines.append(
                f"| {arena} | {name} | {turn['orders']:,} | {turn['delivered']:,} | {100 * turn['success']:.2f} % | "
                f"{'-' if paid is None else f'{paid:.3f}'} | {seconds} | {told} |"
            )
    return "\n".join(lines)


BEGIN, END = "<!-- result -->", "<!-- /result -->"


def with_result(page: str, result: str) -> str:
    """Put a result between the marks of a page."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert rest
    assert after
    return f"{before}{BEGIN}\n\n{result}\n\n{END}{after}"
