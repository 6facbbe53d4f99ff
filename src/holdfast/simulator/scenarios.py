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
    per_minute: int = 0
    """Calls that each credential is granted in a minute of life; 0: any number."""

    def __post_init__(self) -> None:
        assert self.phases

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
    delay_s = prior(tier).quantile(min(max(latency, 1e-6), 1 - 1e-6)) * phase.latency_factor
    wish = Wish(delay_s=delay_s)
    for status, share in sorted(phase.statuses.items()):
        if 0.0 <= fate < share:
            return Draw(
                wish=Wish(status=status, delay_s=delay_s, retry_after=_hint_of(status, which, hint)),
                is_instant=phase.latency_factor == 0.0,
                surplus_tokens=0,
            )
        fate -= share
    if 0.0 <= fate < phase.refused:
        wish = Wish(fault=_REFUSALS[int(which * len(_REFUSALS))], delay_s=delay_s)
    elif 0.0 <= fate - phase.refused < phase.cut:
        wish = Wish(fault=_CUTS[int(which * len(_CUTS))], delay_s=delay_s)
    return Draw(wish=wish, is_instant=phase.latency_factor == 0.0, surplus_tokens=88 + int(surplus * 543))


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

        [[phase]]
        until_s = 600           # seconds of life; the last phase may leave it out, and lasts
        latency_factor = 1.5
        [phase.errors]
        429 = 0.20              # any status
        refused = 0.05
        cut = 0.02
        [limits]
        per_minute = 60         # with each credential; what is beyond gets 429 at once

    Raises:
        ConfigError: It is no TOML, a key is unknown, or the numbers make no sense.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{name} is not valid TOML: {exc}.") from exc
    _known(document, ("phase", "limits"), name)
    tables = document.get("phase")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{name} needs one [[phase]] or more.", key="phase")
    phases = tuple(_phase(table, f"{name}: phase[{at}]") for at, table in enumerate(tables))
    ends_s = [phase.until_s for phase in phases]
    if ends_s != sorted(set(ends_s)):
        raise ConfigError(f"{name}: until_s must grow from phase to phase; only the last may leave it out.")
    return Scenario(name=name, phases=phases, per_minute=_per_minute(document.get("limits", {}), f"{name}: limits"))


def _per_minute(table: object, where: str) -> int:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table: [limits].")
    _known(table, ("per_minute",), where)
    return int(_number(table["per_minute"], f"{where}.per_minute", 1, 1e6)) if "per_minute" in table else 0


def _phase(table: Mapping[str, Any], where: str) -> Phase:
    _known(table, ("until_s", "latency_factor", "errors"), where)
    errors = table.get("errors", {})
    if not isinstance(errors, dict):
        raise ConfigError(f"{where}.errors must be a table: [phase.errors].")
    shares: dict[str, float] = {}
    for name, raw in errors.items():
        is_status = len(name) == 3 and name.isdigit() and 400 <= int(name) <= 599
        if not is_status and name not in ("refused", "cut"):
            raise ConfigError(f"Unknown {where}.errors.{name}. {nearest(name, ('refused', 'cut', '429', '503'))}")
        shares[name] = _number(raw, f"{where}.errors.{name}", 0.0, 1.0)
    if sum(shares.values()) > 1.0 + 1e-9:
        raise ConfigError(f"{where}.errors add up to more than 1.")
    return Phase(
        until_s=_number(table["until_s"], f"{where}.until_s", 1e-3, 1e9) if "until_s" in table else inf,
        latency_factor=_number(table.get("latency_factor", 1.0), f"{where}.latency_factor", 0.0, 1000.0),
        statuses=MappingProxyType({int(name): share for name, share in shares.items() if name.isdigit()}),
        refused=shares.get("refused", 0.0),
        cut=shares.get("cut", 0.0),
    )


def _known(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            raise ConfigError(f"Unknown {name!r} in {where}. {nearest(name, known)}", key=name)


def _number(raw: object, where: str, least: float, most: float) -> float:
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool) and isfinite(raw)
    if not is_number or not least <= float(str(raw)) <= most:
        raise ConfigError(f"{where} must be a number from {least:g} to {most:g}.", key=where)
    return float(str(raw))
