"""From a gateway's settings to the rules of its decisions, as `engine.parts` makes them; a test compares the two."""

from __future__ import annotations

from holdfast.config import OnUnknown, RetrySettings, Route, RouteOnUnknown, Settings
from holdfast.policy.credentials import KeyPolicy
from holdfast.policy.health import HealthPolicy
from holdfast.policy.line import Limits
from holdfast.policy.retry import RetryPolicy
from holdfast.policy.retry_budget import RetryBudget
from holdfast.policy.routing import Entry
from holdfast.policy.standings import Standings

PATIENCE_SHARE = 0.25
"""How long the model that was asked for is waited for before another one is taken: `engine.deciding` says why."""
LOOK_S = 5.0
"""How often an order that stands in line looks whether it could be sent elsewhere at once, as `engine.parts` does."""


def retry_policy_of(settings: RetrySettings, route: Route) -> RetryPolicy:
    """Say within which limits something is tried again."""
    accepts = settings.on_unknown is OnUnknown.BUY_ONCE_MORE
    if route.on_unknown is not RouteOnUnknown.GATEWAY:
        accepts = route.on_unknown is RouteOnUnknown.BUY_ONCE_MORE
    return RetryPolicy(
        attempts_max=settings.attempts_max,
        backoff_s_first=settings.backoff_s_first,
        backoff_s_max=settings.backoff_s_max,
        sends_max=settings.sends_max,
        accepts_double_charge=accepts,
        purchases_max=settings.purchases_max,
    )


def standings_of(settings: Settings) -> Standings:
    """Begin with every upstream and key well."""
    retry = settings.retry
    return Standings(
        {each.name: len(each.keys) for each in settings.upstreams},
        key_policy=KeyPolicy(
            eject_after=retry.eject_after,
            eject_s=retry.eject_s,
            eject_s_max=retry.eject_s_max,
            cool_s_first=retry.backoff_s_first,
            cool_s_max=retry.backoff_s_max,
        ),
        health_policy=HealthPolicy(fail_after=retry.eject_after),
        budget=RetryBudget.full(share=retry.budget_share, burst=retry.budget_burst),
    )


def limits_of(settings: Settings) -> dict[str, Limits]:
    """Say what each upstream takes, as the gateway holds itself to it."""
    return {
        each.name: Limits(
            keys=len(each.keys),
            concurrency=each.concurrency,
            per_minute=each.per_minute,
            per_day=each.per_day,
        )
        for each in settings.upstreams
    }


def entries_of(settings: Settings, route: Route) -> tuple[tuple[Entry, str], ...]:
    """List the entries of a route, those of its fallback models last, each with the public model that it is of."""
    routes = {each.model: each for each in settings.routes}
    found: list[tuple[Entry, str]] = []
    for model in (route.model, *route.fallback):
        for each in routes[model].upstreams:
            entry = Entry(upstream=each.upstream, weight=each.weight, is_lesser=model != route.model)
            found.append((entry, model))
    return tuple(found)
