"""When a call that is slow is made a second time, elsewhere: as settings."""

# ruff: noqa: RUF009 - `key` gives a dataclass field, not a shared value.
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from holdfast.config.keys import key
from holdfast.config.retrying import RetrySettings
from holdfast.config.serving import OnUnknown, Route, RouteOnUnknown
from holdfast.errors import ConfigError


class HedgeAfter(StrEnum):
    """By which time of its upstream a call is slow."""

    P95 = "p95"
    P99 = "p99"


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeSettings:
    """A second attempt beside one that is slow, at another upstream of the route: the first image is delivered and
    charged once; the other one is kept as an extra, and is the operator's cost."""

    enabled: bool = key(
        False,
        "Whether second attempts are made",
        source="it buys some images twice: only who pays for that can want it",
    )
    budget_share: float = key(
        0.0,
        "Most second attempts, as a share of the calls for a model; needed where they are made",
        source="past the P95 there is one call in twenty: 0.05 is all of them",
        at_least=0.0,
        at_most=1.0,
    )
    after: HedgeAfter = key(
        HedgeAfter.P95,
        "A call is slow when its upstream has brought so many of its images in less time: `p95` or `p99` of what was "
        "learnt of that upstream, model and size",
        source="before the P95 most calls are about to end by themselves",
    )


def check_hedge(hedge: HedgeSettings, retry: RetrySettings, routes: Sequence[Route]) -> None:
    """See that second attempts that are asked for can be made at all.

    Raises:
        ConfigError: Something else forbids every one of them.
    """
    if not hedge.enabled:
        return
    if not hedge.budget_share:
        raise ConfigError(
            "hedge.enabled is true and hedge.budget_share is 0, so no second attempt would ever be made: set a share "
            "of calls, such as 0.05.",
            key="hedge.budget_share",
        )
    if retry.purchases_max < 2:
        raise ConfigError(
            "hedge.enabled is true and retry.purchases_max is 1: a second attempt is a second call that may be "
            "charged. Allow two, or leave hedge.enabled away.",
            key="retry.purchases_max",
        )
    ways = {
        retry.on_unknown is OnUnknown.BUY_ONCE_MORE
        if route.on_unknown is RouteOnUnknown.GATEWAY
        else route.on_unknown is RouteOnUnknown.BUY_ONCE_MORE
        for route in routes
    }
    if routes and not any(ways):
        raise ConfigError(
            'hedge.enabled is true and nothing may be bought twice: retry.on_unknown = "fail". Set "buy_once_more" '
            "there or for a route, or leave hedge.enabled away.",
            key="hedge.enabled",
        )
