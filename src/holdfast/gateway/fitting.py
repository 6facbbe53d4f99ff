"""Refusing what a key may not ask for, or no upstream of a route can make, before anything is held or sent. Pure."""

from __future__ import annotations

from holdfast.config import Route, Settings
from holdfast.engine.course import request_at
from holdfast.gateway.asked import Asked
from holdfast.providers.fit import obstacle
from holdfast.store.records import KeyRow
from holdfast.types import Request, Tier


def check_scopes(key: KeyRow, asked: Asked) -> None:
    """See that a key may ask for this: its model, under any of its names, and its size.

    What it falls back to is the operator's choice, not the caller's, and is not asked about.

    Raises:
        RequestError: 403 `model_not_allowed` or `scope_missing`.
    """
    scopes = key.scopes
    scopes.check_model(asked.route.model, *asked.route.aliases)
    scopes.check_size(asked.request.geometry.tier)


def check_fits(request: Request, route: Route, settings: Settings) -> None:
    """See that at least one upstream of a route, or of its fallback models, can make what was asked for.

    Where a smaller size will do, that counts too, as `engine.course` has it.

    Raises:
        RequestError: None can; the first one's reason is told, with its name.
    """
    upstreams = {upstream.name: upstream for upstream in settings.upstreams}
    served = (route, *(each for each in settings.routes if each.model in route.fallback))
    entries = [entry for each in served for entry in each.upstreams]
    order = tuple(Tier)
    may_degrade = request.may_degrade and request.dialect_body is None
    smaller = order[: order.index(request.geometry.tier)] if may_degrade else ()
    obstacles = [
        obstacle(upstreams[each.upstream], request_at(request, tier), model=each.model)
        for tier in (request.geometry.tier, *smaller)
        for each in entries
        # Settings may have been read anew since the route was found.
        if each.upstream in upstreams
    ]
    if obstacles and all(each is not None for each in obstacles):
        assert obstacles[0] is not None
        raise obstacles[0]
