"""Refusing what no upstream of a route can make, before anything is held or sent. Pure."""

from __future__ import annotations

from holdfast.config import Route, Settings
from holdfast.providers.fit import obstacle
from holdfast.types import Request


def check_fits(request: Request, route: Route, settings: Settings) -> None:
    """See that at least one upstream of a route, or of its fallback models, can make what was asked for.

    Raises:
        RequestError: None can; the first one's reason is told, with its name.
    """
    upstreams = {upstream.name: upstream for upstream in settings.upstreams}
    served = (route, *(each for each in settings.routes if each.model in route.fallback))
    entries = [entry for each in served for entry in each.upstreams]
    obstacles = [obstacle(upstreams[each.upstream], request, model=each.model) for each in entries]
    if obstacles and all(each is not None for each in obstacles):
        assert obstacles[0] is not None
        raise obstacles[0]
