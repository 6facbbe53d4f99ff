"""How upstreams, their keys and the lines before them stand at one moment, for whoever looks. No key is shown, only its
place in the settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.engine.core import Core
from holdfast.engine.parts import Parts
from holdfast.engine.renewal import by_name
from holdfast.policy.credentials import RETIRED, Standing
from holdfast.policy.health import Health


class KeyState(StrEnum):
    """How a key stands."""

    READY = "ready"
    COOLING = "cooling"
    """It waits, after a limit."""
    EJECTED = "ejected"
    """It was refused, or too much went wrong with it."""


class UpstreamState(StrEnum):
    """How an upstream stands."""

    READY = "ready"
    RESTING = "resting"
    """Its circuit is open: nothing is sent."""
    HALF_OPEN = "half_open"
    """One attempt may try it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNow:
    """One key."""

    number: int
    """Its place in the settings, from 1."""
    state: KeyState
    until_s: float | None
    """Seconds from now; None: it can be used."""
    failures: int
    """In a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamNow:
    """One upstream."""

    name: str
    provider: str
    base_url: str
    state: UpstreamState
    until_s: float | None
    places: int | None
    """That are free; None: any number."""
    places_max: int | None
    """Of all keys together."""
    waiting: int
    """Parts in line."""
    models: tuple[str, ...]
    """Public names of the routes that lead there."""
    keys: tuple[KeyNow, ...]


def upstreams_now(core: Core, parts: Parts) -> tuple[UpstreamNow, ...]:
    """Tell of every upstream that a route leads to, by name."""
    now, targets = core.clock.monotonic(), by_name(core.targets)
    found: list[UpstreamNow] = []
    for name in sorted(targets):
        target, standing = targets[name], parts.upstreams.standings.of(name)
        state, until_s = upstream_state(standing.health, now)
        keys = [
            key_now(number, each, now)
            for at, each in enumerate(standing.keys)
            if each is not RETIRED and (number := target.number_of(at)) is not None
        ]
        limit = target.upstream.concurrency
        found.append(
            UpstreamNow(
                name=name,
                provider=target.upstream.provider.value,
                base_url=target.upstream.base_url,
                state=state,
                until_s=until_s,
                places=parts.queue.free(name),
                places_max=limit * len(keys) if limit else None,
                waiting=parts.queue.line(name).waiting,
                models=tuple(
                    model for model, route in core.targets.items() if any(to.upstream.name == name for to in route)
                ),
                keys=tuple(sorted(keys, key=lambda key: key.number)),
            )
        )
    return tuple(found)


def upstream_state(health: Health, now: float) -> tuple[UpstreamState, float | None]:
    """Say how an upstream stands, and for how many seconds more nothing is sent there."""
    if not health.is_open:
        return UpstreamState.READY, None
    if health.ready_at > now:
        return UpstreamState.RESTING, round(health.ready_at - now, 1)
    return UpstreamState.HALF_OPEN, None


def key_now(number: int, standing: Standing, now: float) -> KeyNow:
    """Say how a key stands."""
    rests = standing.until > now
    state = KeyState.READY if not rests else KeyState.EJECTED if standing.is_ejected else KeyState.COOLING
    return KeyNow(
        number=number,
        state=state,
        until_s=round(standing.until - now, 1) if rests else None,
        failures=standing.failures,
    )
