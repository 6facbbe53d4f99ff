"""A scenario, as `whatif` plays it: the simulator's phases and hours, and beyond them who comes and what keys allow.

    start = "08:00"                       # as the simulator has it, and so are hours and phases
    [latency_by_hour]
    10 = 4.5
    [[phase]]
    until_s = 7200
    [phase.errors]
    429 = 0.05
    [load]
    per_s = 3.5                           # orders a second, at random moments
    sizes = { "1K" = 0.8, "2K" = 0.15, "4K" = 0.05 }
    patience_s = { "1K" = 300, "2K" = 300, "4K" = 600 }    # an image later than this is there, and not in time
    [[upstream]]
    name = "relay"                        # as policies name it; upstreams that are not named feel the phases above
    latency_factor = 1.2                  # beside that of hour and phase
    per_minute = 60                       # what each of its keys is allowed, instead of what [limits] says; 0: no limit
    per_day = 0
    concurrency = 0
    [[upstream.phase]]                    # a mix of its own; left out: the common phases
    [upstream.phase.errors]
    503 = 0.45

Pure: text in, values out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from holdfast.config import Deadlines
from holdfast.config.words import nearest
from holdfast.errors import ConfigError
from holdfast.simulator.scenarios import Phase, Scenario, known, number, phases_of, scenario_of
from holdfast.types import Tier

SIZES: Mapping[Tier, float] = MappingProxyType({Tier.K1: 0.80, Tier.K2: 0.15, Tier.K4: 0.05})
"""What is asked for where a scenario does not say it. Assumed: nobody has published a mix."""
PER_S = 4.0
_UPSTREAM = ("name", "latency_factor", "per_minute", "per_day", "concurrency", "phase")


def _patience() -> Mapping[Tier, float]:
    return MappingProxyType(dict(Deadlines().generation_s.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Who comes."""

    per_s: float = PER_S
    """Orders a second, at random moments (Poisson)."""
    sizes: Mapping[Tier, float] = field(default_factory=lambda: SIZES)
    """Shares, which add up to 1."""
    patience_s: Mapping[Tier, float] = field(default_factory=_patience)
    """Until when an image counts as in time; default: the published timeouts."""

    def __post_init__(self) -> None:
        assert self.per_s > 0.0
        assert abs(sum(self.sizes.values()) - 1.0) < 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """How one upstream feels, and what it allows each of its keys; 0: no limit."""

    name: str
    phases: tuple[Phase, ...]
    latency_factor: float = 1.0
    per_minute: int = 0
    per_day: int = 0
    concurrency: int = 0

    def __post_init__(self) -> None:
        assert self.phases
        assert self.latency_factor >= 0.0
        assert min(self.per_minute, self.per_day, self.concurrency) >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A scenario with its load, and with upstreams that are not all alike."""

    scenario: Scenario
    load: Load = field(default_factory=Load)
    tempers: Mapping[str, Temper] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The scenario's."""
        return self.scenario.name

    def temper_of(self, upstream: str) -> Temper:
        """Say how an upstream feels; one that is not named feels what all do."""
        found = self.tempers.get(upstream)
        if found is not None:
            return found
        return Temper(name=upstream, phases=self.scenario.phases, per_minute=self.scenario.per_minute)


def parse(text: str, *, name: str) -> Incident:
    """Read a scenario file.

    Raises:
        ConfigError: It is no TOML, a key is unknown, or the numbers make no sense; with the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{name} is not valid TOML: {exc}.") from exc
    scenario = scenario_of(document, name=name)
    return Incident(
        scenario=scenario,
        load=_load(document.get("load", {}), f"{name}: load"),
        tempers=_tempers(document.get("upstream", []), scenario, f"{name}: upstream"),
    )


def _load(table: object, where: str) -> Load:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table: [load].", key="load")
    known(table, ("per_s", "sizes", "patience_s"), where)
    per_s = number(table.get("per_s", PER_S), f"{where}.per_s", 1e-6, 1e6)
    sizes = _by_size(table["sizes"], f"{where}.sizes", 0.0, 1.0) if "sizes" in table else SIZES
    if abs(sum(sizes.values()) - 1.0) > 1e-6:
        told = sum(sizes.values())
        raise ConfigError(f"{where}.sizes add up to {told:g}; shares make 1 together.", key=f"{where}.sizes")
    patience_s = dict(_patience())
    if "patience_s" in table:
        patience_s |= _by_size(table["patience_s"], f"{where}.patience_s", 1.0, 1e6)
    return Load(per_s=per_s, sizes=sizes, patience_s=MappingProxyType(patience_s))


def _by_size(table: object, where: str, least: float, most: float) -> Mapping[Tier, float]:
    if not isinstance(table, dict) or not table:
        raise ConfigError(f'{where} must be a table such as {{ "1K" = 0.8, "4K" = 0.2 }}.', key=where)
    words = [tier.value for tier in Tier]
    for word in table:
        if word not in words:
            raise ConfigError(f"Unknown size {where}.{word}. {nearest(str(word), words)}", key=f"{where}.{word}")
    return MappingProxyType(
        {Tier(word): number(raw, f"{where}.{word}", least, most) for word, raw in sorted(table.items())}
    )


def _tempers(tables: object, scenario: Scenario, where: str) -> Mapping[str, Temper]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where} must be written as [[upstream]].", key="upstream")
    found: dict[str, Temper] = {}
    for at, table in enumerate(tables):
        temper = _temper(table, scenario, f"{where}[{at}]")
        if temper.name in found:
            raise ConfigError(f"{where}[{at}].name: two entries are for {temper.name!r}; keep one.", key="name")
        found[temper.name] = temper
    return MappingProxyType(found)


def _temper(table: Mapping[str, Any], scenario: Scenario, where: str) -> Temper:
    known(table, _UPSTREAM, where)
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}.name is missing: the upstream's name in the policies.", key=f"{where}.name")
    return Temper(
        name=name,
        phases=phases_of(table["phase"], f"{where}.phase") if "phase" in table else scenario.phases,
        latency_factor=number(table.get("latency_factor", 1.0), f"{where}.latency_factor", 0.0, 1000.0),
        per_minute=_whole(table.get("per_minute", scenario.per_minute), f"{where}.per_minute"),
        per_day=_whole(table.get("per_day", 0), f"{where}.per_day"),
        concurrency=_whole(table.get("concurrency", 0), f"{where}.concurrency"),
    )


def _whole(raw: object, where: str) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise ConfigError(f"{where} must be a whole number, 0 (no limit) or more.", key=where)
    return raw
