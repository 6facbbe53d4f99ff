"""Tables, plots and pictures of what became of a load."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.dom import minidom

import pytest

from holdfast.simulator.scenarios import Phase, Scenario
from holdfast.whatif.book import Figures, Percentiles
from holdfast.whatif.render import clock_of, document, heading, horizon_s, plot, share_at, table
from holdfast.whatif.scenario import Incident
from holdfast.whatif.svg import COLOURS, draw

GOOD = Figures(
    policy="holdfast",
    generations=1000,
    delivered=900,
    in_time=800,
    to_image=Percentiles(p50_s=45.0, p95_s=90.4, p99_s=150.0),
    to_failure=Percentiles(p50_s=300.0, p95_s=310.0, p99_s=320.0),
    sends=1800,
    purchases=918,
    told={"overloaded": 60, "outcome_unknown": 40},
    at_risk_micros=2_412_000,
    lost_micros=1_206_000,
    spent_micros=123_012_000,
    queued=12,
    in_queue=Percentiles(p50_s=3.0, p95_s=8.0, p99_s=9.0),
    queue_max=5,
    seconds=3_700.0,
    curve=((30.0, 0.2), (45.0, 0.45), (90.0, 0.85), (150.0, 0.9)),
)
NOBODY = Figures(
    policy="<nobody> & co",
    generations=10,
    delivered=0,
    in_time=0,
    to_image=Percentiles.of([]),
    to_failure=Percentiles.of([1.0]),
    sends=40,
    purchases=0,
    told={"status 503": 10},
    at_risk_micros=0,
    lost_micros=0,
    spent_micros=0,
    queued=0,
    in_queue=Percentiles.of([]),
    queue_max=0,
    seconds=20.0,
    curve=(),
)
INCIDENT = Incident(scenario=Scenario(name="peak", phases=(Phase(),), start_s=23.5 * 3600))


def row(lines: list[str], name: str) -> list[str]:
    """Give the cells of a line of the table."""
    (line,) = [line for line in lines if line.startswith(name)]
    return [cell.strip() for cell in line[len(name) :].split("  ") if cell.strip()]


def test_the_table_tells_everything_side_by_side() -> None:
    """A column for each policy, a line for each figure, a line for each end without an image."""
    lines = table([GOOD, NOBODY], "USD")
    assert row(lines, "images delivered") == ["900", "0"]
    assert row(lines, "share of the orders") == ["90.00 %", "0.00 %"]
    assert row(lines, "share in time") == ["80.00 %", "0.00 %"]
    assert row(lines, "time to the image: p50 / p95 / p99") == ["45 / 90 / 150 s", "-"]
    assert row(lines, "time to the word of failure") == ["300 / 310 / 320 s", "1 / 1 / 1 s"]
    assert row(lines, "purchases per image") == ["1.020", "-"]
    assert row(lines, "calls per image") == ["2.00", "-"]
    assert row(lines, "at risk: may be charged, no image") == ["2.41 USD", "0.00 USD"]
    assert row(lines, "charged beyond the images delivered") == ["1.21 USD", "0.00 USD"]
    assert row(lines, "wait in line: p50 / p95 / p99") == ["3 / 8 / 9 s", "-"]
    assert row(lines, "told overloaded") == ["60", "0"]
    assert row(lines, "told status 503") == ["0", "10"]
    assert len({len(line) for line in lines}) == 1


def test_nearly_all_is_not_all() -> None:
    """And nearly none not none."""
    nearly = replace(GOOD, generations=1_000_000, delivered=999_999, in_time=3)
    lines = table([nearly], "USD")
    assert row(lines, "share of the orders") == ["99.9999 %"]
    assert row(lines, "share in time") == ["0.0003 %"]


def test_rare_ends_are_summed_up() -> None:
    """A table stays a table."""
    many = replace(GOOD, told={f"status {500 + at}": 20 - at for at in range(10)})
    lines = table([many], "USD")
    assert sum(line.startswith("told status") for line in lines) == 6
    assert row(lines, "told something else") == [str(sum(20 - at for at in range(6, 10)))]


def test_the_heading_says_what_was_played() -> None:
    """Scenario, load, time of day, seed; the day after where it comes to that."""
    assert heading(INCIDENT, 1000, 7, 1200.0) == (
        "Scenario peak, 1,000 orders at 4 a second, 23:30 to 23:50 UTC; seed 7."
    )
    assert "23:30 to 00:31 UTC 1 day later" in heading(INCIDENT, 1000, 7, 3700.0)
    assert clock_of(86_400 + 61.0) == "00:01"


def test_the_plot_climbs() -> None:
    """To the share that was served; one below the other, with one axis."""
    lines = plot([GOOD, NOBODY], width=40, rows=4)
    assert lines[0] == "holdfast: share of the callers with their image"
    assert "█" in lines[4]
    assert all("█" not in line for line in lines[6:])
    assert lines[-1].endswith("165 s")
    tops = [line.count("█") for line in lines[1:5]]
    assert tops == sorted(tops)


def test_shares_are_read_off_the_curve() -> None:
    """A step at a time."""
    assert [share_at(GOOD, seconds) for seconds in (0.0, 30.0, 44.0, 45.0, 1e9)] == [0.0, 0.2, 0.2, 0.45, 0.9]
    assert horizon_s([GOOD, NOBODY]) == pytest.approx(165.0)
    assert horizon_s([NOBODY]) == 1.0


def test_the_document_is_json() -> None:
    """With every figure, and without rounding."""
    told = json.loads(json.dumps(document(INCIDENT, [GOOD, NOBODY], seed=7, currency="USD")))
    assert (told["scenario"], told["seed"], told["orders_per_s"], told["currency"]) == ("peak", 7, 4.0, "USD")
    good, nobody = told["policies"]
    assert good["success"] == 0.9
    assert good["purchases_per_image"] == 1.02
    assert good["told"] == {"overloaded": 60, "outcome_unknown": 40}
    assert good["to_image_s"] == {"p50": 45.0, "p95": 90.4, "p99": 150.0}
    assert nobody["purchases_per_image"] is None
    fields = {name for name in good if name not in ("to_image_s", "to_failure_s", "in_queue_s", "success")}
    assert {
        name for name in Figures.__dataclass_fields__ if name not in ("in_time", "to_image", "to_failure", "in_queue")
    } <= fields


def test_the_picture_is_well_formed() -> None:
    """Names are escaped, each policy has its colour, nothing lies outside."""
    text = draw([GOOD, NOBODY], title="peak & more", currency="USD")
    root = minidom.parseString(text).documentElement
    assert root is not None
    assert root.tagName == "svg"
    assert "&lt;nobody&gt; &amp; co" in text
    for colour in COLOURS[:2]:
        assert f'stroke="{colour}"' in text
    _, _, width, height = map(float, root.getAttribute("viewBox").split())
    for rect in root.getElementsByTagName("rect"):
        x, y = (float(rect.getAttribute(name) or 0) for name in ("x", "y"))
        assert x + float(rect.getAttribute("width")) <= width
        assert y + float(rect.getAttribute("height")) <= height


def test_many_policies_have_room() -> None:
    """The picture grows with them."""
    few = draw([GOOD], title="t", currency="USD")
    many = draw([replace(GOOD, policy=f"policy {at}") for at in range(8)], title="t", currency="USD")
    heights = [float(text.split('viewBox="0 0 ')[1].split('"')[0].split()[1]) for text in (few, many)]
    assert heights[1] > heights[0]
