"""Whether routes lead somewhere: their steps, their fallback models, and what may be tried along them.

Each complaint names the key to change. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.config.retrying import RetrySettings
from holdfast.config.serving import OnUnknown, Route
from holdfast.config.words import nearest
from holdfast.errors import ConfigError


def check_steps(route: Route, path: str) -> None:
    """See that no entry of a route stands there twice.

    Raises:
        ConfigError: One does.
    """
    seen: set[tuple[str, str]] = set()
    for place, entry in enumerate(route.upstreams):
        if (entry.upstream, entry.model) in seen:
            dotted = f"{path}.upstreams[{place}]"
            raise ConfigError(
                f"{dotted}: {entry.model!r} at {entry.upstream!r} stands in this route already; what failed there is "
                "not asked again under the same name.",
                key=dotted,
            )
        seen.add((entry.upstream, entry.model))


def check_fallbacks(routes: Sequence[Route]) -> None:
    """See that every fallback is a model of its own that is served here, and that none leads back.

    Raises:
        ConfigError: One is missing, named twice, or part of a loop.
    """
    by_model = {route.model: route for route in routes}
    aliases = {alias: route.model for route in routes for alias in route.aliases}
    for at, route in enumerate(routes):
        for place, model in enumerate(route.fallback):
            dotted = f"routes[{at}].fallback[{place}]"
            if model in aliases:
                raise ConfigError(f"{dotted}: {model!r} is another name of {aliases[model]!r}; write that.", key=dotted)
            if model not in by_model:
                raise ConfigError(
                    f"{dotted}: no route serves {model!r}, so it has neither upstream nor price. "
                    f"{nearest(model, by_model)} Or add it under [[routes]].",
                    key=dotted,
                )
            if model in route.fallback[:place]:
                raise ConfigError(f"{dotted}: {model!r} stands in this list already.", key=dotted)
    for at, route in enumerate(routes):
        loop = _loop_from(route.model, by_model, (route.model,))
        if loop is not None:
            path = f"routes[{at}].fallback"
            raise ConfigError(f"{path}: the fallbacks lead in a circle: {' -> '.join(loop)}. Break it.", key=path)


def _loop_from(start: str, by_model: Mapping[str, Route], walked: tuple[str, ...]) -> tuple[str, ...] | None:
    for model in by_model[walked[-1]].fallback:
        if model == start:
            return (*walked, model)
        # A circle that this model is no part of is told where it begins.
        if model not in walked and (loop := _loop_from(start, by_model, (*walked, model))) is not None:
            return loop
    return None


def check_retry(retry: RetrySettings) -> None:
    """See that the limits of what is tried again agree with one another.

    Raises:
        ConfigError: Two of them do not.
    """
    for low, high, why in (
        ("backoff_s_first", "backoff_s_max", "pauses grow from the one to the other"),
        ("eject_s", "eject_s_max", "a key is taken out for longer each time, from the one to the other"),
    ):
        if getattr(retry, low) > getattr(retry, high):
            raise ConfigError(f"retry.{low} is above retry.{high}: {why}.", key=f"retry.{low}")
    buys = retry.on_unknown is OnUnknown.BUY_ONCE_MORE and retry.purchases_max > 1
    if buys and not retry.exposure_share and not retry.exposure_images_min:
        raise ConfigError(
            "retry.exposure_images_min and retry.exposure_share are both 0, so nothing can be bought once more: raise "
            'one of them, or say it by retry.on_unknown = "fail".',
            key="retry.exposure_images_min",
        )
