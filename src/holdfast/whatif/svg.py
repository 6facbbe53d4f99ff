"""The same as a picture: SVG, written by hand, so that a plot needs no library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from holdfast.money import MICROS_PER_UNIT
from holdfast.whatif.book import Figures
from holdfast.whatif.render import horizon_s, share_at

COLOURS = ("#cf222e", "#1a7f37", "#0969da", "#bf8700", "#8250df", "#59636e")
WIDTH, HEIGHT = 920, 430
LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 56, 52, 460, 300
STEPS = 230
BARS_LEFT, BARS_WIDTH = 590, 300
GREY = "#59636e"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bars:
    """One small chart."""

    title: str
    value: Callable[[Figures], float]
    text: Callable[[float], str]


def _bars(currency: str) -> tuple[_Bars, ...]:
    return (
        _Bars(
            title="orders with an image in time",
            value=lambda each: each.success_in_time,
            text=lambda value: f"{100 * value:.2f} %",
        ),
        _Bars(
            title="purchases per image",
            value=lambda each: each.purchases_per_image or 0.0,
            text=lambda value: f"{value:.3f}",
        ),
        _Bars(
            title="at risk: may be charged, no image",
            value=lambda each: each.at_risk_micros / MICROS_PER_UNIT,
            text=lambda value: f"{value:,.0f} {currency}",
        ),
        _Bars(
            title="calls per image", value=lambda each: each.sends_per_image or 0.0, text=lambda value: f"{value:.2f}"
        ),
    )


def draw(figures: Sequence[Figures], *, title: str, currency: str) -> str:
    """Draw which share of the callers had their image by when, and beside it what that took.

    Args:
        figures: Of one policy or more; each gets a colour, in order.
        title: Stands above it all.
        currency: Of the amounts.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(16, 24, title, size=13),
        *_axes(horizon_s(figures)),
        *(_curve(each, horizon_s(figures), _colour(at)) for at, each in enumerate(figures)),
        *_legend(figures),
    ]
    top = TOP
    for chart in _bars(currency):
        parts += _chart(chart, figures, top)
        top += 30 + 18 * len(figures)
    height = max(HEIGHT, top + 10)
    parts[0] = parts[0].replace(f"0 0 {WIDTH} {HEIGHT}", f"0 0 {WIDTH} {height}")
    parts[2] = parts[2].replace(f'height="{HEIGHT}"', f'height="{height}"')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _colour(at: int) -> str:
    return COLOURS[at % len(COLOURS)]


def _text(x: float, y: float, text: str, *, size: int = 12, fill: str = "#1f2328", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'


def _axes(until_s: float) -> list[str]:
    parts = [_text(LEFT, TOP - 10, "share of the callers with their image, by seconds since they asked", fill=GREY)]
    for part in range(5):
        y = TOP + PLOT_HEIGHT * (1 - part / 4)
        x = LEFT + PLOT_WIDTH * part / 4
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + PLOT_WIDTH}" y1="{y:g}" y2="{y:g}" stroke="#d1d9e0"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{25 * part} %", fill=GREY, anchor="end"))
        parts.append(_text(x, TOP + PLOT_HEIGHT + 18, f"{until_s * part / 4:,.0f} s", fill=GREY, anchor="middle"))
    return parts


def _curve(figures: Figures, until_s: float, colour: str) -> str:
    shares = (share_at(figures, until_s * step / STEPS) for step in range(STEPS + 1))
    points = (
        f"{LEFT + PLOT_WIDTH * step / STEPS:.1f},{TOP + PLOT_HEIGHT * (1 - share):.1f}"
        for step, share in enumerate(shares)
    )
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(points)}"/>'


def _legend(figures: Sequence[Figures]) -> list[str]:
    parts: list[str] = []
    for at, each in enumerate(figures):
        y = TOP + PLOT_HEIGHT + 40 + 16 * (at // 2)
        x = LEFT + PLOT_WIDTH / 2 * (at % 2)
        parts.append(f'<rect x="{x:g}" y="{y - 9:g}" width="10" height="10" fill="{_colour(at)}"/>')
        parts.append(_text(x + 16, y, each.policy))
    return parts


def _chart(chart: _Bars, figures: Sequence[Figures], top: float) -> list[str]:
    values = [chart.value(each) for each in figures]
    most = max(values) or 1.0
    parts = [_text(BARS_LEFT, top, chart.title, fill=GREY)]
    for at, value in enumerate(values):
        y = top + 8 + 18 * at
        width = max(1.0, (BARS_WIDTH - 90) * value / most)
        parts.append(f'<rect x="{BARS_LEFT}" y="{y:g}" width="{width:.1f}" height="12" fill="{_colour(at)}"/>')
        parts.append(_text(BARS_LEFT + width + 6, y + 10, chart.text(value), size=11))
    return parts
