"""The picture of latencies by hours: well formed, true to its figures, and silent where nothing is known."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.dom import minidom

import pytest

from holdfast.cli.latency_plot import PANEL_PX, WIDTH_PX, svg
from holdfast.clock import rfc3339
from holdfast.wire.latency import LatencyHour, LatencyReport

BEGAN_AT = datetime(2026, 11, 27, 0, 0, tzinfo=UTC)


def hours(*p50_s: float | None, model: str = "nano-banana-pro", timed_out: int = 0) -> list[LatencyHour]:
    """Hour by hour; None: nothing was measured."""
    return [
        LatencyHour(
            model=model,
            size="4K",
            hour=rfc3339(BEGAN_AT + timedelta(hours=at)),
            count=100,
            timed_out=timed_out,
            p50_s=each,
            p95_s=1.5 * each,
            p99_s=2.0 * each,
        )
        for at, each in enumerate(p50_s)
        if each is not None
    ]


def drawn(*told: LatencyHour) -> str:
    """The picture of these."""
    return svg(LatencyReport(at="2026-11-27T12:00:00.000Z", prior_weight=50.0, data=(), hours=told))


def curve(picture: str, colour: str) -> list[list[tuple[float, float]]]:
    """The points of a curve, piece by piece."""
    found = re.findall(rf'<polyline class="{colour}" points="([^"]+)"', picture)
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in each.split())] for each in found]


def test_a_picture_is_well_formed_and_has_a_panel_for_each_model_and_size() -> None:
    """Read by any viewer."""
    picture = drawn(*hours(100.0, 120.0), *hours(30.0, 31.0, model="<seedream> & co"))
    document = minidom.parseString(picture).documentElement
    assert document is not None
    assert document.getAttribute("viewBox") == f"0 0 {WIDTH_PX} {2 * PANEL_PX}"
    assert "&lt;seedream&gt; &amp; co 4K" in picture
    assert picture.count("200 calls") == 2


def test_slower_is_higher_and_later_is_further_right() -> None:
    """The three curves lie above one another and never cross."""
    picture = drawn(*hours(60.0, 120.0, 240.0))
    (fast,), (slow,), (late,) = (curve(picture, colour) for colour in ("fast", "slow", "late"))
    assert [x for x, _ in fast] == sorted(x for x, _ in fast)
    assert [y for _, y in fast] == sorted((y for _, y in fast), reverse=True)
    assert all(p99 < p95 < p50 for (_, p50), (_, p95), (_, p99) in zip(fast, slow, late, strict=True))


def test_a_step_of_the_same_factor_is_of_the_same_height() -> None:
    """The scale is logarithmic, and says so by its marks."""
    (fast,) = curve(drawn(*hours(60.0, 120.0, 240.0)), "fast")
    (_, low), (_, middle), (_, high) = fast
    assert low - middle == pytest.approx(middle - high, abs=0.2)


def test_an_hour_without_calls_parts_the_curve() -> None:
    """No line says what nobody knows."""
    pieces = curve(drawn(*hours(100.0, 110.0, None, 120.0, 130.0, None, 140.0)), "fast")
    assert [len(piece) for piece in pieces] == [2, 2]


def test_everything_lies_inside_its_panel() -> None:
    """Whatever the figures are."""
    for values in ((0.001, 0.002), (0.5, 4000.0), (86_400.0, 1.0), (50.0,)):
        picture = drawn(*hours(*values))
        points = [
            (float(x), float(y)) for x, y in re.findall(r'<circle class="\w+" cx="([\d.]+)" cy="([\d.-]+)"', picture)
        ]
        assert len(points) == 3 * len(values)
        assert all(0 < x < WIDTH_PX and 40 < y < PANEL_PX for x, y in points), values


def test_a_week_is_marked_by_days() -> None:
    """As many marks as there is room for, the last hour among them."""
    picture = drawn(*hours(*[100.0] * 168))
    marks = re.findall(r'text-anchor="middle">([^<]+)<', picture)
    assert marks[0] == "03 Dec 23:00"
    assert 6 <= len(marks) <= 10
    short = re.findall(r'text-anchor="middle">([^<]+)<', drawn(*hours(100.0, 100.0)))
    assert short[0] == "01:00"


def test_calls_that_were_given_up_are_told() -> None:
    """They are in the curve as twice the time that they had."""
    assert "200 calls, 6 of them timed out" in drawn(*hours(100.0, 100.0, timed_out=3))
    assert "timed out" not in drawn(*hours(100.0))


def test_nothing_measured_is_said() -> None:
    """Instead of an empty frame."""
    assert "Nothing was measured in the last week." in drawn()
