"""Draws percentiles by hours as SVG, by hand: a panel for each model and size. Values in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import groupby
from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.wire.latency import LatencyHour, LatencyReport

WIDTH_PX, PANEL_PX, LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 1000, 260, 70, 50, 44, 36
HOURS_MIN = 12
"""Fewer hours than this would be drawn as if they were a day."""
LINES = (("p50_s", "p50", "fast"), ("p95_s", "p95", "slow"), ("p99_s", "p99", "late"))
MARKS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_STYLE = """<style>
    .bg { fill: #ffffff; stroke: #d0d7de }
    .ink { fill: #1f2328 } .soft { fill: #59636e } .rule { stroke: #d0d7de }
    .fast { stroke: #1a7f37; fill: #1a7f37 } .slow { stroke: #bf8700; fill: #bf8700 }
    .late { stroke: #cf222e; fill: #cf222e }
    polyline { fill: none !important; stroke-width: 2 } text { font-size: 13px; stroke: none !important }
    .h { font-size: 16px; font-weight: 600 }
    @media (prefers-color-scheme: dark) {
      .bg { fill: #0d1117; stroke: #30363d } .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .rule { stroke: #30363d }
      .fast { stroke: #3fb950; fill: #3fb950 } .slow { stroke: #d29922; fill: #d29922 }
      .late { stroke: #f85149; fill: #f85149 }
    }
  </style>"""


def svg(report: LatencyReport) -> str:
    """Draw the report's hours; of models and sizes of which nothing was measured there is no panel."""
    panels = [
        (f"{model} {size}", list(hours))
        for (model, size), hours in groupby(report.hours, key=lambda hour: (hour.model, hour.size))
    ]
    height = max(1, len(panels)) * PANEL_PX
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height}" role="img" '
        "font-family=\"ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\">",
        f"  <title>Latency by hour, {escape(report.at)}</title>",
        f"  {_STYLE}",
        f'  <rect class="bg" x="0.5" y="0.5" width="{WIDTH_PX - 1}" height="{height - 1}" rx="10"/>',
    ]
    if not panels:
        lines.append(f'  <text class="soft" x="24" y="{PANEL_PX // 2}">Nothing was measured in the last week.</text>')
    for number, (title, hours) in enumerate(panels):
        lines += [f"  {line}" for line in _Panel(title, hours, number * PANEL_PX).lines()]
    return "\n".join([*lines, "</svg>"]) + "\n"


class _Panel:
    """One model and size: time from left to right, seconds upwards on a logarithmic scale."""

    def __init__(self, title: str, hours: Sequence[LatencyHour], top_px: int) -> None:
        self._title = title
        self._hours = hours
        self._moments = [datetime.fromisoformat(hour.hour) for hour in hours]
        self._top_px = top_px
        self._last = self._moments[-1]
        self._length_h = max(HOURS_MIN, round((self._last - self._moments[0]) / timedelta(hours=1)))
        low, high = min(hour.p50_s for hour in hours), max(hour.p99_s for hour in hours)
        self._low = floor(log10(low) * 4) / 4
        self._high = max(ceil(log10(high) * 4) / 4, self._low + 0.5)

    def lines(self) -> list[str]:
        """Draw it."""
        calls = sum(hour.count for hour in self._hours)
        given_up = sum(hour.timed_out for hour in self._hours)
        told = f"{calls:,} calls" + (f", {given_up:,} of them timed out" if given_up else "")
        head = f'<text class="ink h" x="24" y="{self._top_px + 28}">{escape(self._title)}</text>'
        more = f'<text class="soft" x="{WIDTH_PX - 24}" y="{self._top_px + 28}" text-anchor="end">{told}</text>'
        names = [
            f'<text class="{colour}" x="{WIDTH_PX // 2 + 44 * at}" y="{self._top_px + 28}">{name}</text>'
            for at, (_, name, colour) in enumerate(LINES)
        ]
        return [head, more, *names, *self._grid(), *self._days(), *self._curves()]

    def _x(self, moment: datetime) -> float:
        back_h = (self._last - moment) / timedelta(hours=1)
        return WIDTH_PX - RIGHT_PX - back_h / self._length_h * (WIDTH_PX - LEFT_PX - RIGHT_PX)

    def _y(self, seconds: float) -> float:
        share = (log10(seconds) - self._low) / (self._high - self._low)
        return self._top_px + PANEL_PX - BOTTOM_PX - share * (PANEL_PX - TOP_PX - BOTTOM_PX)

    def _grid(self) -> list[str]:
        lines = []
        for mark_s in MARKS_S:
            if self._low <= log10(mark_s) <= self._high:
                y = self._y(mark_s)
                right = WIDTH_PX - RIGHT_PX
                lines.append(f'<line class="rule" x1="{LEFT_PX}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
                label = f'<text class="soft" x="{LEFT_PX - 8}" y="{y + 4:.1f}" text-anchor="end">{mark_s:g} s</text>'
                lines.append(label)
        return lines

    def _days(self) -> list[str]:
        """Write hours under the axis: as many as there is room for, the last one at the right."""
        lines = []
        step_h = max(1, ceil(self._length_h / 8))
        for back_h in range(0, self._length_h + 1, step_h):
            moment = self._last - timedelta(hours=back_h)
            x, y = self._x(moment), self._top_px + PANEL_PX - BOTTOM_PX + 20
            told = f"{moment:%d %b %H:%M}" if self._length_h > 24 else f"{moment:%H:%M}"
            lines.append(f'<text class="soft" x="{x:.1f}" y="{y}" text-anchor="middle">{told}</text>')
        return lines

    def _curves(self) -> list[str]:
        lines = []
        for field, _, colour in LINES:
            points = [
                (self._x(at), self._y(getattr(hour, field)))
                for at, hour in zip(self._moments, self._hours, strict=True)
            ]
            for run in self._unbroken(points):
                spelled = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
                lines.append(f'<polyline class="{colour}" points="{spelled}"/>')
            lines += [f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points]
        return lines

    def _unbroken(self, points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
        """Part a curve where an hour has no calls: nothing is known of it, and no line says otherwise."""
        runs: list[list[tuple[float, float]]] = []
        for number, point in enumerate(points):
            is_next = number > 0 and self._moments[number] - self._moments[number - 1] <= timedelta(hours=1)
            if is_next:
                runs[-1].append(point)
            else:
                runs.append([point])
        return [run for run in runs if len(run) > 1]
