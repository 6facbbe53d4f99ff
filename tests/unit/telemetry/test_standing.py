"""What is looked at when it is asked for, in the words of the catalog."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from holdfast.policy.credentials import FRESH, RETIRED, Standing
from holdfast.telemetry.catalog import CATALOG, Kind
from holdfast.telemetry.standing import Snapshot, Stands, UpstreamStands, key_states, values_of

NOW = 1000.0
COOLING = Standing(until=NOW + 5)
EJECTED = Standing(until=NOW + 5, is_ejected=True)
BACK = Standing(until=NOW - 5, is_ejected=True)
GOOGLE = UpstreamStands(name="google", waiting=3, places_free=0, ready_at=NOW - 1, keys=(FRESH, COOLING, RETIRED))
STANDS = Stands(
    now=NOW,
    version="1.2.3",
    currency="USD",
    is_draining=False,
    is_ready=True,
    open=7,
    waiting=5,
    requests=6,
    beats=1234,
    bytes_held=4096,
    bytes_held_max=8192,
    disk_free_bytes=10**12,
    upstreams=(GOOGLE, replace(GOOGLE, name="relay", waiting=0, places_free=None, ready_at=NOW + 9, keys=(EJECTED,))),
    balances={"unknown_exposure": 240_000},
)


def shown(stands: Stands | None) -> CollectorRegistry:
    """Register what was looked at."""
    registry, snapshot = CollectorRegistry(), Snapshot()
    snapshot.stands = stands
    registry.register(snapshot)
    return registry


def test_it_says_how_everything_stands() -> None:
    """Each number under its name and labels."""
    registry = shown(STANDS)
    read = registry.get_sample_value
    assert read("holdfast_info", {"version": "1.2.3", "currency": "USD"}) == 1
    assert (read("holdfast_ready"), read("holdfast_draining")) == (1, 0)
    assert read("holdfast_generations_open") == 7
    assert read("holdfast_callers_waiting") == 5
    assert read("holdfast_requests_in_progress") == 6
    assert read("holdfast_beats_total") == 1234
    assert (read("holdfast_answer_bytes_held"), read("holdfast_answer_bytes_held_max")) == (4096, 8192)
    assert read("holdfast_queue_parts", {"upstream": "google"}) == 3
    assert read("holdfast_queue_places_free", {"upstream": "google"}) == 0
    assert read("holdfast_ledger_balance_micros", {"account": "unknown_exposure"}) == 240_000


def test_an_upstream_without_a_limit_has_no_places_to_show() -> None:
    """Any number there would be made up."""
    assert shown(STANDS).get_sample_value("holdfast_queue_places_free", {"upstream": "relay"}) is None


def test_an_upstream_that_rests_is_not_ready() -> None:
    """Whatever its keys."""
    registry = shown(STANDS)
    assert registry.get_sample_value("holdfast_upstream_ready", {"upstream": "google"}) == 1
    assert registry.get_sample_value("holdfast_upstream_ready", {"upstream": "relay"}) == 0


def test_keys_are_counted_by_how_they_stand() -> None:
    """One whose rest is over is ready again, however it came to it; one that left the settings is nowhere."""
    states = key_states((FRESH, BACK, COOLING, EJECTED, RETIRED), NOW)
    assert states == {"ready": 2, "cooling": 1, "ejected": 1}
    assert key_states((), NOW) == {"ready": 0, "cooling": 0, "ejected": 0}


def test_every_gauge_of_the_catalog_is_looked_at() -> None:
    """One that is declared and never shown would be an alert that never rings."""
    seen = {metric.name for metric, _ in values_of(STANDS)}
    wanted = {metric.name for metric in CATALOG if metric.kind is Kind.GAUGE} | {"holdfast_beats_total"}
    assert seen == wanted


def test_before_the_first_look_there_is_nothing() -> None:
    """Not zeros: nobody knows yet."""
    assert generate_latest(shown(None)) == b""


def test_a_database_that_does_not_answer_leaves_the_rest() -> None:
    """Balances are missing, not zero."""
    registry = shown(replace(STANDS, balances={}))
    assert registry.get_sample_value("holdfast_ledger_balance_micros", {"account": "unknown_exposure"}) is None
    assert registry.get_sample_value("holdfast_generations_open") == 7
