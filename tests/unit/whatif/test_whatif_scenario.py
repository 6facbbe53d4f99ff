"""A scenario file: what it says, what is assumed where it is silent, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigError
from holdfast.simulator import scenarios
from holdfast.simulator.scenarios import SHIPPED
from holdfast.types import Tier
from holdfast.whatif.files import load_scenario, scenario_names
from holdfast.whatif.scenario import PER_S, SIZES, Incident, parse

WHOLE = """
start = "08:30"
[latency_by_hour]
9 = 2.0
10 = 4.5
[load]
per_s = 2.5
sizes = { "1K" = 0.25, "4K" = 0.75 }
patience_s = { "4K" = 700 }
[[phase]]
until_s = 600
latency_factor = 1.5
[phase.errors]
429 = 0.2
refused = 0.05
[[phase]]
[[upstream]]
name = "relay"
latency_factor = 1.2
per_minute = 60
per_day = 1000
concurrency = 8
[[upstream.phase]]
[upstream.phase.errors]
503 = 0.45
[[upstream]]
name = "second"
"""


def test_everything_that_is_written_is_read() -> None:
    """Load, hours, phases, and an upstream with a mix and limits of its own."""
    incident = parse(WHOLE, name="mine")
    assert incident.name == "mine"
    assert incident.scenario.start_s == 8.5 * 3600
    assert dict(incident.scenario.latency_by_hour) == {9: 2.0, 10: 4.5}
    assert dict(incident.load.sizes) == {Tier.K1: 0.25, Tier.K4: 0.75}
    assert incident.load.per_s == 2.5
    assert dict(incident.load.patience_s) == {Tier.K1: 300.0, Tier.K2: 300.0, Tier.K4: 700.0}
    relay = incident.temper_of("relay")
    assert (relay.latency_factor, relay.per_minute, relay.per_day, relay.concurrency) == (1.2, 60, 1000, 8)
    assert [dict(phase.statuses) for phase in relay.phases] == [{503: 0.45}]
    assert incident.temper_of("second").phases == incident.scenario.phases


def test_an_upstream_that_is_not_named_feels_what_all_feel() -> None:
    """Without limits."""
    temper = parse(WHOLE, name="mine").temper_of("google")
    assert temper.phases == parse(WHOLE, name="mine").scenario.phases
    assert (temper.latency_factor, temper.per_minute, temper.per_day, temper.concurrency) == (1.0, 0, 0, 0)


def test_the_simulator_plays_the_same_file() -> None:
    """It leaves load and single upstreams aside, and feels the hours."""
    scenario = scenarios.parse(WHOLE, name="mine")
    assert scenario == parse(WHOLE, name="mine").scenario
    assert [scenario.hour_factor(seconds) for seconds in (0.0, 1799.0, 1800.0, 5400.0, 9000.0)] == [1, 1, 2.0, 4.5, 1]


def test_a_file_of_the_simulator_is_a_scenario() -> None:
    """Files that were written before there was more to say still hold."""
    incident = parse("[[phase]]\nuntil_s = 60\n[phase.errors]\n503 = 0.1\n[[phase]]", name="old")
    assert incident.load.per_s == PER_S
    assert incident.load.sizes == SIZES
    assert incident.tempers == {}


@pytest.mark.parametrize("name", scenario_names())
def test_every_shipped_scenario_is_read(name: str) -> None:
    """Those of the simulator, and those with a file of their own."""
    incident = load_scenario(name)
    assert isinstance(incident, Incident)
    assert incident.name == name
    assert sum(incident.load.sizes.values()) == pytest.approx(1.0)


def test_the_simulators_scenarios_are_all_there() -> None:
    """Under the same names."""
    assert set(SHIPPED) <= set(scenario_names())


def test_the_peak_is_as_bad_as_the_simulators() -> None:
    """One name, one incident: its worst hours are those that the simulator plays all the time."""
    incident, simulated = load_scenario("peak-2026-01-17").scenario, SHIPPED["peak-2026-01-17"].phases[0]
    at_noon_s = 4 * 3600.0
    assert incident.start_s + at_noon_s == 12 * 3600.0
    phase = incident.phase_at(at_noon_s)
    assert dict(phase.statuses) == dict(simulated.statuses)
    assert phase.latency_factor * incident.hour_factor(at_noon_s) == simulated.latency_factor
    assert incident.hour_factor(0.0) == 1.0


def test_overloaded_turns_away_as_many_as_the_simulators() -> None:
    """And its second upstream is well."""
    incident = load_scenario("overloaded")
    assert dict(incident.temper_of("google").phases[0].statuses) == dict(SHIPPED["overloaded"].phases[0].statuses)
    assert dict(incident.temper_of("second").phases[0].statuses) == {}
    assert (incident.load.per_s, dict(incident.load.sizes)) == (20.0, {Tier.K4: 1.0})


PHASE = "[[phase]]\n"
WRONG = [
    ("", "needs one [[phase]]"),
    ("[[fase]]", "Did you mean 'phase'"),
    (PHASE + "[load]\nper_sec = 3", "Did you mean 'per_s'"),
    (PHASE + "[load]\nper_s = 0", "load.per_s must be a number"),
    (PHASE + '[load]\nper_s = "3"', "load.per_s must be a number"),
    (PHASE + '[load]\nsizes = { "1K" = 0.5 }', "load.sizes add up to 0.5"),
    (PHASE + '[load]\nsizes = { "8K" = 1 }', "Unknown size mine: load.sizes.8K"),
    (PHASE + "[load]\nsizes = {}", "load.sizes must be a table"),
    (PHASE + '[load]\npatience_s = { "4K" = 0 }', "load.patience_s.4K must be a number"),
    (PHASE + '[[upstream]]\nnam = "a"', "Did you mean 'name'"),
    (PHASE + "[[upstream]]\nper_minute = 3", "upstream[0].name is missing"),
    (PHASE + '[[upstream]]\nname = "a"\nper_minute = -1', "upstream[0].per_minute must be a whole number"),
    (PHASE + '[[upstream]]\nname = "a"\nconcurrency = 1.5', "upstream[0].concurrency must be a whole number"),
    (PHASE + '[[upstream]]\nname = "a"\n[[upstream]]\nname = "a"', "two entries are for 'a'"),
    (PHASE + '[[upstream]]\nname = "a"\nphase = []', "upstream[0].phase"),
    (PHASE + '[[upstream]]\nname = "a"\n[[upstream.phase]]\n[upstream.phase.errors]\n42 = 1', "upstream[0].phase[0]"),
    (PHASE + '[upstream]\nname = "a"', "[[upstream]]"),
    (PHASE + "[latency_by_hour]\n24 = 2", "latency_by_hour.24 is no hour"),
    (PHASE + "[latency_by_hour]\nnoon = 2", "latency_by_hour.noon is no hour"),
    (PHASE + "[latency_by_hour]\n9 = -1", "latency_by_hour.9 must be a number"),
    ('start = "25:00"\n' + PHASE, "start must be a time of day"),
    ("start = 9\n" + PHASE, "start must be a time of day"),
    ('start = "09:00+02:00"\n' + PHASE, "start must be a time of day"),
    ("latency_by_hour = 3\n" + PHASE, "latency_by_hour must be a table"),
    (PHASE + "until_s = 5\n[[phase]]\nuntil_s = 3", "until_s must grow"),
    ("not toml", "is not valid TOML"),
]


@pytest.mark.parametrize(("text", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_makes_no_sense_is_refused_with_its_place(text: str, told: str) -> None:
    """So that it is found, and mended."""
    with pytest.raises(ConfigError) as caught:
        parse(text, name="mine")
    assert told in str(caught.value)
    assert "mine" in str(caught.value)


def test_a_time_of_day_may_stand_without_quotes() -> None:
    """TOML has times of its own."""
    assert parse("start = 08:30:00\n[[phase]]", name="mine").scenario.start_s == 8.5 * 3600


def test_an_unknown_name_is_told_with_the_near_one() -> None:
    """And with what there is."""
    with pytest.raises(ConfigError, match="Did you mean 'overloaded'"):
        load_scenario("overlaoded")
    with pytest.raises(ConfigError, match="There is no scenario file"):
        load_scenario("absent.toml")
