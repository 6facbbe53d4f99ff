"""Settings from environment variables, given as a mapping: `HOLDFAST_SERVER__PORT=8080`, and the vendors' own keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from holdfast.config.google_keys import check_google_key
from holdfast.config.key_files import PREFIX as FILE
from holdfast.config.key_files import read_key_file
from holdfast.config.keys import ByTier
from holdfast.config.parse import check
from holdfast.config.serving import Provider, Route, RouteUpstream, Upstream
from holdfast.config.tree import Settings
from holdfast.config.words import nearest
from holdfast.errors import ConfigError

PREFIX = "HOLDFAST_"
SHORT_FORMS: Mapping[str, tuple[str, str]] = {
    "HOLDFAST_PORT": ("server", "port"),
    "HOLDFAST_DATA": ("store", "data"),
}
OTHERS = ("HOLDFAST_API_KEY", "HOLDFAST_BASE_URL", "HOLDFAST_CONFIG", "HOLDFAST_FAULT", "HOLDFAST_SECRET")
"""Variables of ours that are no settings."""

_GOOGLE = Upstream(
    name="google",
    provider=Provider.GEMINI,
    base_url="https://generativelanguage.googleapis.com",
    keys=("env:GEMINI_API_KEY",),
)
_OPENAI = Upstream(
    name="openai", provider=Provider.OPENAI, base_url="https://api.openai.com/v1", keys=("env:OPENAI_API_KEY",)
)
_FAL = Upstream(name="fal", provider=Provider.FAL, base_url="https://queue.fal.run", keys=("env:FAL_KEY",))
# Ids and keys of the two clouds are not interchangeable; the shipped price is this one's.
_ARK = Upstream(
    name="ark",
    provider=Provider.ARK,
    base_url="https://ark.ap-southeast.bytepluses.com/api/v3",
    keys=("env:ARK_API_KEY",),
)
_REPLICATE = Upstream(
    name="replicate",
    provider=Provider.REPLICATE,
    base_url="https://api.replicate.com",
    keys=("env:REPLICATE_API_TOKEN",),
)


def _route(model: str, upstream: str, upstream_model: str, *aliases: str) -> Route:
    target = RouteUpstream(upstream=upstream, model=upstream_model)
    return Route(model=model, aliases=aliases, upstreams=(target,))


_PRO_ALIASES = ("gemini-3-pro-image", "gemini-3-pro-image-preview")
# What each vendor's key opens, by the vendors' own model names. Several vendors of one model make up one route, in this
# order: the model's own maker first.
_BY_KEY: tuple[tuple[str, Upstream, tuple[Route, ...]], ...] = (
    (
        "GEMINI_API_KEY",
        _GOOGLE,
        (
            _route("nano-banana-pro", "google", "gemini-3-pro-image", *_PRO_ALIASES),
            _route("nano-banana-2", "google", "gemini-3.1-flash-image", "gemini-3.1-flash-image"),
            _route("nano-banana", "google", "gemini-2.5-flash-image", "gemini-2.5-flash-image"),
        ),
    ),
    ("OPENAI_API_KEY", _OPENAI, (_route("gpt-image-2", "openai", "gpt-image-2"),)),
    ("ARK_API_KEY", _ARK, (_route("seedream-4.5", "ark", "seedream-4-5-251128"),)),
    (
        "FAL_KEY",
        _FAL,
        (
            _route("nano-banana-pro", "fal", "fal-ai/nano-banana-pro", *_PRO_ALIASES),
            _route("nano-banana-2", "fal", "fal-ai/nano-banana-2", "gemini-3.1-flash-image"),
        ),
    ),
    (
        "REPLICATE_API_TOKEN",
        _REPLICATE,
        (_route("nano-banana-pro", "replicate", "google/nano-banana-pro", *_PRO_ALIASES),),
    ),
)


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Gather the settings that the environment names, as a mapping for `merged` and `parse`.

    Raises:
        ConfigError: A variable names no setting, or its text is not of the setting's kind.
    """
    sections = _sections()
    result: dict[str, dict[str, Any]] = {}
    # A long form wins over its short form, so the short ones go first.
    for name in sorted(environ, key=lambda name: (name not in SHORT_FORMS, name)):
        place = SHORT_FORMS.get(name) or _place(name, sections)
        if place is not None:
            section, item = place
            result.setdefault(section, {})[item] = _typed(sections[section][item], environ[name], name)
    return dict(result)


def slips(environ: Mapping[str, str]) -> list[str]:
    """Say of each variable that bears our prefix and means nothing here what was probably meant.

    They are no errors: a container's platform makes variables of this kind from a service's name.
    """
    known = (*SHORT_FORMS, *OTHERS)
    unknown = [name for name in sorted(environ) if name.startswith(PREFIX) and "__" not in name and name not in known]
    return [f"The variable {name} means nothing here, and was ignored. {nearest(name, known)}" for name in unknown]


def _sections() -> dict[str, dict[str, Any]]:
    hints = get_type_hints(Settings)
    return {item.name: get_type_hints(hints[item.name]) for item in fields(Settings) if is_dataclass(hints[item.name])}


def _place(name: str, sections: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    if not name.startswith(PREFIX):
        return None
    section, double, item = name.removeprefix(PREFIX).partition("__")
    if not double:
        # Others pass, and `slips` tells of them; a single underscore is a likely slip.
        head, _, tail = section.lower().partition("_")
        if tail in sections.get(head, {}):
            raise ConfigError(f"{name}: write {PREFIX}{head.upper()}__{tail.upper()}, with two underscores.", key=name)
        return None
    section, item = section.lower(), item.lower()
    if section in ("upstreams", "routes", "prices", "compensation"):
        raise ConfigError(f"{name}: {section} are lists of tables; write them in the settings file.", key=name)
    if section not in sections:
        raise ConfigError(f"{name} names no section {section!r}. {nearest(section, sections)}", key=name)
    if item not in sections[section]:
        raise ConfigError(f"{name} names no setting {section}.{item}. {nearest(item, sections[section])}", key=name)
    return section, item


def _typed(hint: Any, text: str, name: str) -> Any:
    """Turn the text of a variable into what TOML would have given."""
    try:
        if hint is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.strip().lower()]
        if hint is int:
            return int(text)
        if hint is float:
            return float(text)
        if hint is ByTier:
            return _by_tier(text)
    except (KeyError, ValueError) as exc:
        kind = {bool: "true or false", int: "a whole number", float: "a number", ByTier: "1K=300,2K=300,4K=600"}[hint]
        raise ConfigError(f"{name} must be {kind}.", key=name) from exc
    if get_origin(hint) is tuple and get_args(hint)[0] is str:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _by_tier(text: str) -> float | dict[str, float]:
    if "=" not in text:
        return float(text)
    pairs = [pair.partition("=") for pair in text.split(",")]
    return {tier.strip(): float(value) for tier, _, value in pairs}


def with_provider_keys(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Make upstreams and routes from the vendors' keys in the environment, if the settings name no upstream at all.

    Settings that name upstreams stay as they are: a key that happens to be set must not open a paid upstream beside
    the ones that were chosen.
    """
    if settings.upstreams:
        return settings
    upstreams: list[Upstream] = []
    opened: dict[str, Route] = {}
    taken = {name for route in settings.routes for name in (route.model, *route.aliases)}
    for variable, upstream, models in _BY_KEY:
        if environ.get(variable, "").strip():
            upstreams.append(upstream)
            for route in models:
                if not taken & {route.model, *route.aliases}:
                    opened[route.model] = _joined(opened.get(route.model), route)
    made = replace(settings, upstreams=tuple(upstreams), routes=(*settings.routes, *opened.values()))
    check(made)
    return made


def _joined(before: Route | None, route: Route) -> Route:
    """Put a vendor's route for a model behind what others have of it."""
    return route if before is None else replace(before, upstreams=(*before.upstreams, *route.upstreams))


def upstream_keys(settings: Settings, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Resolve each upstream's credentials: `env:NAME` from the environment, `file:PATH` from a file, else as they are.

    Returns:
        Secrets by upstream name, at least one each. The caller keeps them out of logs.

    Raises:
        ConfigError: A variable is not set, a file cannot be read, or it holds what no header can carry.
    """
    return {
        upstream.name: tuple(
            _secret(reference, environ, f"upstreams[{at}].keys[{place}]", upstream)
            for place, reference in enumerate(upstream.keys)
        )
        for at, upstream in enumerate(settings.upstreams)
    }


def _secret(reference: str, environ: Mapping[str, str], path: str, upstream: Upstream) -> str:
    if reference.startswith(FILE) and upstream.provider is not Provider.VERTEX:
        secret = read_key_file(reference, path)
        if not (secret.isprintable() and " " not in secret):
            raise ConfigError(f"{path}: the file holds more than a key; put nothing else into it.", key=path)
        return secret
    variable = reference.removeprefix("env:") if reference.startswith("env:") else None
    secret = (environ.get(variable, "") if variable is not None else reference).strip()
    if not secret:
        raise ConfigError(
            f"{path}: the environment variable {variable} is not set; export it, then start again.", key=path
        )
    if upstream.provider is Provider.VERTEX and check_google_key(secret, upstream, path).gives_tokens:
        # A path, or what such a file holds: it is read, and never sent.
        return secret
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        where = path if variable is None else f"{path}: the environment variable {variable}"
        raise ConfigError(
            f"{where} is no key: it holds a character that no HTTP header can carry. Put your own key there.", key=path
        )
    return secret
