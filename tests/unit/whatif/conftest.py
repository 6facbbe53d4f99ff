"""Incidents and policies to vary."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.config import Settings, parse
from holdfast.simulator.scenarios import Phase, Scenario
from holdfast.types import Tier
from holdfast.whatif.policies import GatewayPolicy
from holdfast.whatif.scenario import Incident, Load, Temper

ONLY_1K = MappingProxyType({Tier.K1: 1.0})


def an_incident(
    *, errors: dict[int, float] | None = None, sizes: Any = ONLY_1K, per_s: float = 1.0, tempers: Any = (), **phase: Any
) -> Incident:
    """One phase that lasts, for upstreams that are not named among the tempers."""
    common = Phase(statuses=MappingProxyType(errors or {}), **phase)
    return Incident(
        scenario=Scenario(name="made", phases=(common,)),
        load=Load(per_s=per_s, sizes=sizes),
        tempers={each.name: each for each in tempers},
    )


def a_temper(name: str, *, errors: dict[int, float] | None = None, cut: float = 0.0, **limits: Any) -> Temper:
    """One upstream that feels otherwise."""
    return Temper(name=name, phases=(Phase(statuses=MappingProxyType(errors or {}), cut=cut),), **limits)


def some_settings(upstreams: dict[str, dict[str, Any]] | None = None, **sections: Any) -> Settings:
    """A gateway's, with these upstreams in one route."""
    listed = upstreams or {"google": {}}
    base = {"provider": "gemini", "base_url": "https://up.example", "keys": ["k"]}
    return parse(
        {
            "upstreams": [{**base, "name": name, **more} for name, more in listed.items()],
            "routes": [
                {"model": "nano-banana-pro", "upstreams": [{"upstream": name, "model": "m"} for name in listed]}
            ],
            **sections,
        }
    )


def a_policy(upstreams: dict[str, dict[str, Any]] | None = None, **sections: Any) -> GatewayPolicy:
    """The gateway with these upstreams and settings."""
    settings = some_settings(upstreams, **sections)
    return GatewayPolicy(name="gateway", settings=settings, route=settings.routes[0])


@pytest.fixture
def incident() -> Callable[..., Incident]:
    """Make an incident."""
    return an_incident


@pytest.fixture
def temper() -> Callable[..., Temper]:
    """Make an upstream's temper."""
    return a_temper


@pytest.fixture
def policy() -> Callable[..., GatewayPolicy]:
    """Make a gateway's policy."""
    return a_policy
