"""What is looked at when `/metrics` is asked for, and costs nothing before: how full, how healthy, how much is owed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from holdfast.policy.credentials import RETIRED, Standing
from holdfast.telemetry import catalog
from holdfast.telemetry.catalog import Kind, Metric

Values = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStands:
    """One upstream, at one moment."""

    name: str
    waiting: int
    places_free: int | None
    """None: no limit."""
    ready_at: float
    """Monotonic second."""
    keys: Sequence[Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """Everything, at one moment."""

    now: float
    """Monotonic second."""
    version: str
    currency: str
    is_draining: bool
    is_ready: bool
    open: int
    waiting: int
    requests: int
    beats: int
    bytes_held: int
    bytes_held_max: int
    disk_free_bytes: int
    upstreams: Sequence[UpstreamStands] = ()
    balances: Mapping[str, int] = field(default_factory=dict)
    """Micro-units by account; empty where the database does not say."""


def values_of(stands: Stands) -> Iterator[tuple[Metric, Values]]:
    """Say it in the catalog's words."""
    yield catalog.INFO, {(stands.version, stands.currency): 1}
    for metric, value in (
        (catalog.DRAINING, stands.is_draining),
        (catalog.READY, stands.is_ready),
        (catalog.OPEN, stands.open),
        (catalog.WAITING, stands.waiting),
        (catalog.REQUESTS, stands.requests),
        (catalog.BEATS, stands.beats),
        (catalog.HELD_BYTES, stands.bytes_held),
        (catalog.HELD_BYTES_MAX, stands.bytes_held_max),
        (catalog.DISK_FREE, stands.disk_free_bytes),
    ):
        yield metric, {(): value}
    upstreams = stands.upstreams
    yield catalog.QUEUE, {(each.name,): each.waiting for each in upstreams}
    yield catalog.PLACES, {(each.name,): each.places_free for each in upstreams if each.places_free is not None}
    yield catalog.UPSTREAM_READY, {(each.name,): each.ready_at <= stands.now for each in upstreams}
    yield (
        catalog.KEYS,
        {(each.name, state): count for each in upstreams for state, count in key_states(each.keys, stands.now).items()},
    )
    yield catalog.BALANCE, {(account,): micros for account, micros in stands.balances.items()}


def key_states(keys: Sequence[Standing], now: float) -> dict[str, int]:
    """Count keys by how they stand; those that left the settings count nowhere."""
    states = {"ready": 0, "cooling": 0, "ejected": 0}
    for key in keys:
        if key is not RETIRED:
            states["ready" if key.until <= now else "ejected" if key.is_ejected else "cooling"] += 1
    return states


class Snapshot(Collector):
    """Gives what was looked at last to whoever renders the registry."""

    def __init__(self) -> None:
        self.stands: Stands | None = None

    def collect(self) -> Iterator[Family]:
        """Give it family by family; nothing before the first look."""
        if self.stands is None:
            return
        for metric, values in values_of(self.stands):
            make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = make(metric.name, f"{metric.means}.", labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, float(value))
            yield family
