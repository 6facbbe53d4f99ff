"""What became of a load under several policies, as text: a table, and the share of callers served by time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from holdfast.money import MICROS_PER_UNIT
from holdfast.whatif.book import Figures, Percentiles
from holdfast.whatif.scenario import Incident

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 72
ROWS = 8
TOLD_MAX = 6
"""Kinds of ends without an image that are listed; the others are summed up."""


def clock_of(seconds: float) -> str:
    """Spell a time of day: `09:30`."""
    minutes = int(seconds // 60) % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def heading(incident: Incident, count: int, seed: int, seconds: float) -> str:
    """Say what was played."""
    start_s = incident.scenario.start_s
    until_s = start_s + seconds
    days = int(until_s // 86_400) - int(start_s // 86_400)
    day = f" {days} day{'s' if days > 1 else ''} later" if days else ""
    span = f"{clock_of(start_s)} to {clock_of(until_s)} UTC{day}"
    return f"Scenario {incident.name}, {count:,} orders at {incident.load.per_s:g} a second, {span}; seed {seed}."


def table(figures: Sequence[Figures], currency: str) -> list[str]:
    """Lay the figures of several policies out side by side, one line each."""
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("images delivered", lambda each: f"{each.delivered:,}"),
        ("share of the orders", lambda each: _percent(each.success)),
        ("share in time", lambda each: _percent(each.success_in_time)),
        ("time to the image: p50 / p95 / p99", lambda each: _times(each.to_image) if each.delivered else "-"),
        ("time to the word of failure", lambda each: _times(each.to_failure) if each.told else "-"),
        ("purchases per image", lambda each: _ratio(each.purchases_per_image, 3)),
        ("calls per image", lambda each: _ratio(each.sends_per_image, 2)),
        ("at risk: may be charged, no image", lambda each: _money(each.at_risk_micros, currency)),
        ("charged beyond the images delivered", lambda each: _money(each.lost_micros, currency)),
        ("orders that waited in line", lambda each: f"{each.queued:,}"),
        ("wait in line: p50 / p95 / p99", lambda each: _times(each.in_queue) if each.queued else "-"),
        ("most in line at once", lambda each: f"{each.queue_max:,}"),
    ]
    cells = [("", *(each.policy for each in figures))]
    cells += [(name, *(tell(each) for each in figures)) for name, tell in rows]
    cells += [(f"told {code}", *(f"{each.told.get(code, 0):,}" for each in figures)) for code in _codes(figures)]
    left = [sum(each.told.values()) - sum(each.told.get(code, 0) for code in _codes(figures)) for each in figures]
    if any(left):
        cells.append(("told something else", *(f"{count:,}" for count in left)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]


def _codes(figures: Sequence[Figures]) -> list[str]:
    """List what was told most, over all policies."""
    total: dict[str, int] = {}
    for each in figures:
        for code, count in each.told.items():
            total[code] = total.get(code, 0) + count
    return sorted(total, key=lambda code: (-total[code], code))[:TOLD_MAX]


def _percent(share: float) -> str:
    # 99.996 % are not all.
    text = f"{100 * share:.2f}"
    return f"{text} %" if share in (0.0, 1.0) or text not in ("100.00", "0.00") else f"{100 * share:.4f} %"


def _times(times: Percentiles) -> str:
    return " / ".join(f"{seconds:,.0f}" for seconds in (times.p50_s, times.p95_s, times.p99_s)) + " s"


def _ratio(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _money(micros: int, currency: str) -> str:
    return f"{micros / MICROS_PER_UNIT:,.2f} {currency}"


def horizon_s(figures: Sequence[Figures]) -> float:
    """Choose the time axis: long enough for nearly every image of every policy."""
    return max([each.to_image.p99_s for each in figures if each.delivered], default=0.0) * 1.1 or 1.0


def share_at(figures: Figures, seconds: float) -> float:
    """Give the share of all orders that had their image by then."""
    share = 0.0
    for at_s, reached in figures.curve:
        if at_s > seconds:
            break
        share = reached
    return share


def plot(figures: Sequence[Figures], *, width: int = WIDTH, rows: int = ROWS) -> list[str]:
    """Draw, one above the other, which share of the callers had their image by when."""
    until_s = horizon_s(figures)
    lines: list[str] = []
    for each in figures:
        shares = [share_at(each, until_s * (column + 1) / width) for column in range(width)]
        lines.append(f"{each.policy}: share of the callers with their image")
        for row in range(rows, 0, -1):
            label = {rows: "100 %", 1: "0 %"}.get(row, "")
            lines.append(f"{label:>6} |" + "".join(_cell(share, row, rows) for share in shares).rstrip())
        lines.append("       +" + "-" * width)
    ticks = [f"{until_s * part / 4:,.0f} s" for part in range(5)]
    axis = list(" " * (8 + width))
    for part, tick in enumerate(ticks):
        at = min(8 + width * part // 4, 8 + width - len(tick))
        axis[at : at + len(tick)] = tick
    return [*lines, "".join(axis).rstrip()]


def _cell(share: float, row: int, rows: int) -> str:
    filled = share * rows - (row - 1)
    return BARS[max(0, min(len(BARS) - 1, round(filled * (len(BARS) - 1))))]


def document(incident: Incident, figures: Sequence[Figures], *, seed: int, currency: str) -> dict[str, Any]:
    """Write all of it for a program."""
    return {
        "scenario": incident.name,
        "seed": seed,
        "orders_per_s": incident.load.per_s,
        "currency": currency,
        "policies": [_of(each) for each in figures],
    }


def _of(figures: Figures) -> dict[str, Any]:
    return {
        "policy": figures.policy,
        "generations": figures.generations,
        "delivered": figures.delivered,
        "success": figures.success,
        "success_in_time": figures.success_in_time,
        "to_image_s": _points(figures.to_image),
        "to_failure_s": _points(figures.to_failure),
        "sends": figures.sends,
        "sends_per_image": figures.sends_per_image,
        "purchases": figures.purchases,
        "purchases_per_image": figures.purchases_per_image,
        "at_risk_micros": figures.at_risk_micros,
        "lost_micros": figures.lost_micros,
        "spent_micros": figures.spent_micros,
        "queued": figures.queued,
        "in_queue_s": _points(figures.in_queue),
        "queue_max": figures.queue_max,
        "told": dict(figures.told),
        "seconds": figures.seconds,
        "curve": [list(point) for point in figures.curve],
    }


def _points(times: Percentiles) -> dict[str, float]:
    return {"p50": times.p50_s, "p95": times.p95_s, "p99": times.p99_s}
