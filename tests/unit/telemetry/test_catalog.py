"""The catalog of metrics: names as Prometheus wants them, labels that cannot grow."""

from __future__ import annotations

import re

import pytest

from holdfast.telemetry.catalog import CATALOG, LAG_S, LONG_S, SHORT_S, Kind, Metric

BOUNDED = {
    *("model", "size", "state", "code", "status", "upstream", "outcome", "kind", "how", "held", "caller", "change"),
    *("version", "currency", "account"),
}
"""Whose values come from settings or from tables of ours."""


def test_each_name_is_there_once() -> None:
    """A family declared twice is refused at start, by whoever comes second."""
    names = [metric.name for metric in CATALOG]
    assert len(names) == len(set(names)) > 35


@pytest.mark.parametrize("metric", CATALOG, ids=lambda metric: metric.name)
def test_names_and_labels_are_what_prometheus_takes(metric: Metric) -> None:
    """Small letters, the unit last, no label that whoever asks could fill."""
    assert re.fullmatch(r"holdfast_[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert set(metric.labels) <= BOUNDED
    assert len(set(metric.labels)) == len(metric.labels)
    assert metric.means[0].isupper() or metric.means[0] in "`1"
    assert not metric.means.endswith(".")
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_long_times_have_their_edges_where_something_changes() -> None:
    """First beat, idle limit, slow rule, deadlines; and they reach as far as a generation may take."""
    assert {20.0, 60.0, 180.0, 300.0, 600.0} <= set(LONG_S)
    assert max(LONG_S) == 600.0
    assert max(SHORT_S) == 120.0
    assert 0.05 in LAG_S


def test_a_counter_is_called_one() -> None:
    """A name that says another kind than it is would be rated as what it is not."""
    with pytest.raises(AssertionError):
        Metric(name="holdfast_things", kind=Kind.COUNTER, means="Things")
    with pytest.raises(AssertionError):
        Metric(name="holdfast_things_total", kind=Kind.GAUGE, means="Things")
    with pytest.raises(AssertionError):
        Metric(name="holdfast_things_seconds", kind=Kind.HISTOGRAM, means="Things")
