"""How an upstream feels at a time of day: phases of slowness and of errors, and the seeded draw for one request.

Latencies are drawn from `policy.latency`, a lognormal split at the published percentiles. A request's draw depends on
the seed and on its number alone, so that the same seed brings the same latencies and faults whatever else happens.
Pure, save `load`, which may read a file.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import time
from math import inf, isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from holdfast.config.words import nearest
from holdfast.errors import ConfigError
from holdfast.policy.latency import prior
from holdfast.simulator.faults import Fault, Wish
from holdfast.types import Tier

HINT_S = (5, 60)
"""Least and most of a drawn Retry-After; half of all 429 bring one."""
HOUR_S, DAY_S = 3_600.0, 86_400.0
FOR_WHATIF = ("load", "upstream")
"""Tables of a scenario file that `holdfast whatif` reads (`whatif.scenario`), and that say nothing to the simulator."""
_CUTS = (Fault.RESET_SENT, Fault.RESET_BODY, Fault.TRUNCATE)
_REFUSALS = (Fault.REFUSED_INPUT, Fault.REFUSED_OUTPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of time."""

    until_s: float = inf
    """Seconds since the start at which it ends."""
    latency_factor: float = 1.0
    """Multiplies every latency; 0: at once."""
    statuses: Mapping[int, float] = field(default_factory=dict)
    """Share of requests that end with this status."""
    refused: float = 0.0
    """Share whose content is refused, half of them before and half after the wait."""
    cut: float = 0.0
    """Share whose connection is cut: after the request, or in the middle of the body by RST or FIN."""

    def __post_init__(self) -> None:
        assert self.until_s > 0.0
        assert self.latency_factor >= 0.0
        assert sum(self.statuses.values()) + self.refused + self.cut <= 1.0 + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A name and its phases, in order; the last one lasts."""

    name: str
    phases: tuple[Phase, ...]
    start_s: float = 0.0
    """Time of day, UTC, at which it begins: seconds after midnight."""
    latency_by_hour: Mapping[int, float] = field(default_factory=dict)
    """Hour of the day, UTC, and what it multiplies every latency by; hours that are not named: 1."""
    per_minute: int = 0
    """Calls that each credential is granted in a minute of life; 0: any number."""

    def __post_init__(self) -> None:
        assert self.phases
        assert 0.0 <= self.start_s < DAY_S
        assert all(0 <= hour < 24 and factor >= 0.0 for hour, factor in self.latency_by_hour.items())

    def hour_factor(self, elapsed_s: float) -> float:
        """Give what the hour of the day does to latencies so many seconds after the start."""
        if not self.latency_by_hour:
            return 1.0
        return self.latency_by_hour.get(int((self.start_s + elapsed_s) % DAY_S // HOUR_S), 1.0)

    def phase_at(self, elapsed_s: float) -> Phase:
        """Give the phase that holds so many seconds after the start."""
        return next((phase for phase in self.phases if elapsed_s < phase.until_s), self.phases[-1])


def _always(name: str, **phase: Any) -> Scenario:
    return Scenario(name=name, phases=(Phase(**phase),))


SHIPPED: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (
            _always("instant", latency_factor=0.0),
            _always("steady"),
            # 20-40 s grew to 180 s and more; 429 and 503 as reported for those weeks.
            _always("peak-2026-01-17", latency_factor=4.5, statuses=MappingProxyType({429: 0.20, 503: 0.15})),
            # "Up to 45 % of calls in peak hours", community reports of February 2026.
            _always("overloaded", statuses=MappingProxyType({503: 0.45})),
            _always("refusals", refused=0.25),
            _always("cuts", cut=0.10),
        )
    }
)
"""What `--scenario` knows by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What chance had in store for one request."""

    wish: Wish
    """How it ends; `delay_s` is the latency, seconds of life."""
    is_instant: bool
    """The phase knows no waiting at all."""
    surplus_tokens: int
    """By how much the upstream's count of tokens exceeds its own details: 88 to 630, as relays measured."""


def draw(scenario: Scenario, *, seed: int, number: int, elapsed_s: float, tier: Tier) -> Draw:
    """Draw the fate of one request.

    Args:
        scenario: Whose shares count.
        seed: Of the run.
        number: Of the request, in order of arrival.
        elapsed_s: Seconds of life since the start.
        tier: Size asked for; latency goes by it.
    """
    chance = random.Random(f"{seed}/{number}")
    # Always as many samples, in this order: a share that changes does not move the latencies.
    fate, latency, which, hint, surplus = (chance.random() for _ in range(5))
    phase = scenario.phase_at(elapsed_s)
    factor = phase.latency_factor * scenario.hour_factor(elapsed_s)
    delay_s = prior(tier).quantile(min(max(latency, 1e-6), 1 - 1e-6)) * factor
    wish = Wish(delay_s=delay_s)
    for status, share in sorted(phase.statuses.items()):
        if 0.0 <= fate < share:
            return Draw(
                wish=Wish(status=status, delay_s=delay_s, retry_after=_hint_of(status, which, hint)),
                is_instant=factor == 0.0,
                surplus_tokens=0,
            )
        fate -= share
    if 0.0 <= fate < phase.refused:
        wish = Wish(fault=_REFUSALS[int(which * len(_REFUSALS))], delay_s=delay_s)
    elif 0.0 <= fate - phase.refused < phase.cut:
        wish = Wish(fault=_CUTS[int(which * len(_CUTS))], delay_s=delay_s)
    return Draw(wish=wish, is_instant=factor == 0.0, surplus_tokens=88 + int(surplus * 543))


def _hint_of(status: int, which: float, hint: float) -> str | None:
    least, most = HINT_S
    return str(least + int(hint * (most - least + 1))) if status == 429 and which < 0.5 else None


def load(named: str) -> Scenario:
    """Give a scenario that is shipped, or read one from a TOML file.

    Raises:
        ConfigError: There is none of this name, or the file says something unknown.
    """
    if named in SHIPPED:
        return SHIPPED[named]
    path = Path(named)
    if path.suffix != ".toml" and not path.is_file():
        names = ", ".join(SHIPPED)
        raise ConfigError(f"Unknown scenario {named!r}. {_near(named)}Shipped: {names}; or name a TOML file.")
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as exc:
        raise ConfigError(f"There is no scenario file {path}. Shipped: {', '.join(SHIPPED)}.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The scenario file {path} cannot be read: {exc}.") from exc
    return replace(parse(text, name=str(path)), name=path.stem)


def _near(named: str) -> str:
    found = nearest(named, SHIPPED)
    return f"{found} " if found.startswith("Did you mean") else ""


def parse(text: str, *, name: str) -> Scenario:
    """Read a scenario file.

        start = "09:00"         # time of day, UTC, at which it begins; midnight if it is left out
        [latency_by_hour]
        10 = 2.0                # from 10:00 to 11:00, times the phase's own factor
        [[phase]]
        until_s = 600           # seconds of life; the last phase may leave it out, and lasts
        latency_factor = 1.5
        [phase.errors]
        429 = 0.20              # any status
        refused = 0.05
        cut = 0.02
        [limits]
        per_minute = 60         # with each credential; what is beyond gets 429 at once

    `[load]` and `[[upstream]]` are left to `holdfast whatif`.

    Raises:
        ConfigError: It is no TOML, a key is unknown, or the numbers make no sense.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{name} is not valid TOML: {exc}.") from exc
    return scenario_of(document, name=name)


def scenario_of(document: Mapping[str, Any], *, name: str) -> Scenario:
    """Read a scenario from a document that is TOML already; otherwise as `parse`."""
    known(document, ("start", "latency_by_hour", "phase", "limits", *FOR_WHATIF), name)
    return Scenario(
        name=name,
        phases=phases_of(document.get("phase"), f"{name}: phase"),
        start_s=_time_of_day(document.get("start", "00:00"), f"{name}: start"),
        latency_by_hour=hours_of(document.get("latency_by_hour", {}), f"{name}: latency_by_hour"),
        per_minute=_per_minute(document.get("limits", {}), f"{name}: limits"),
    )


def phases_of(tables: object, where: str) -> tuple[Phase, ...]:
    """Read a list of phases; at least one.

    Raises:
        ConfigError: As `parse`.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        place, _, key = where.rpartition(": ")
        raise ConfigError(f"{place} needs one [[{key}]] or more.", key=key)
    phases = tuple(_phase(table, f"{where}[{at}]") for at, table in enumerate(tables))
    ends_s = [phase.until_s for phase in phases]
    if ends_s != sorted(set(ends_s)):
        place = where.rpartition(": ")[0]
        raise ConfigError(f"{place}: until_s must grow from phase to phase; only the last may leave it out.")
    return phases


def hours_of(table: object, where: str) -> Mapping[int, float]:
    """Read factors by hour of the day.

    Raises:
        ConfigError: A key is no hour, or a factor is no number.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table of hours and factors, such as 10 = 2.0.", key=where)
    for name in table:
        if not (name.isascii() and name.isdigit() and len(name) <= 2 and int(name) < 24):
            raise ConfigError(f"{where}.{name} is no hour of the day: write 0 to 23.", key=f"{where}.{name}")
    return MappingProxyType({int(name): number(raw, f"{where}.{name}", 0.0, 1000.0) for name, raw in table.items()})


def _time_of_day(raw: object, where: str) -> float:
    try:
        moment = time.fromisoformat(raw) if isinstance(raw, str) else raw
    except ValueError:
        moment = None
    # TOML has local times of its own: 09:00:00 without quotes.
    if not isinstance(moment, time) or moment.tzinfo is not None:
        raise ConfigError(f'{where} must be a time of day (UTC) such as "09:00".', key=where)
    return moment.hour * HOUR_S + moment.minute * 60.0 + moment.second


def _per_minute(table: object, where: str) -> int:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table: [limits].")
    known(table, ("per_minute",), where)
    return int(number(table["per_minute"], f"{where}.per_minute", 1, 1e6)) if "per_minute" in table else 0


def _phase(table: Mapping[str, Any], where: str) -> Phase:
    known(table, ("until_s", "latency_factor", "errors"), where)
    errors = table.get("errors", {})
    if not isinstance(errors, dict):
        raise ConfigError(f"{where}.errors must be a table: [phase.errors].")
    shares: dict[str, float] = {}
    for name, raw in errors.items():
        is_status = len(name) == 3 and name.isdigit() and 400 <= int(name) <= 599
        if not is_status and name not in ("refused", "cut"):
            raise ConfigError(f"Unknown {where}.errors.{name}. {nearest(name, ('refused', 'cut', '429', '503'))}")
        shares[name] = number(raw, f"{where}.errors.{name}", 0.0, 1.0)
    if sum(shares.values()) > 1.0 + 1e-9:
        raise ConfigError(f"{where}.errors add up to more than 1.")
    return Phase(
        until_s=number(table["until_s"], f"{where}.until_s", 1e-3, 1e9) if "until_s" in table else inf,
        latency_factor=number(table.get("latency_factor", 1.0), f"{where}.latency_factor", 0.0, 1000.0),
        statuses=MappingProxyType({int(name): share for name, share in shares.items() if name.isdigit()}),
        refused=shares.get("refused", 0.0),
        cut=shares.get("cut", 0.0),
    )


def known(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Refuse a key that has no meaning here.

    Raises:
        ConfigError: With the key, and the near one.
    """
    for name in table:
        if name not in names:
            raise ConfigError(f"Unknown {name!r} in {where}. {nearest(name, names)}", key=name)


def number(raw: object, where: str, least: float, most: float) -> float:
    """Read a number within bounds.

    Raises:
        ConfigError: With the place, and the bounds.
    """
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool) and isfinite(raw)
    if not is_number or not least <= float(str(raw)) <= most:
        raise ConfigError(f"{where} must be a number from {least:g} to {most:g}.", key=where)
    return float(str(raw))
