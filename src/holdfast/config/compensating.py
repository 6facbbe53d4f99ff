"""What makes entries of `[[compensation]]` contradict one another, or a route."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.config.serving import Route
from holdfast.config.tree import Compensation
from holdfast.config.words import nearest
from holdfast.errors import ConfigError

_IDS = (("keys", "key_"), ("groups", "kgr_"))


def check_compensation(entries: Sequence[Compensation], routes: Sequence[Route]) -> None:
    """Refuse entries of which two could be for the same call, and names that mean nothing.

    Raises:
        ConfigError: With the entry to change; of two that overlap both are named.
    """
    for at, entry in enumerate(entries):
        path = f"compensation[{at}]"
        _check_models(entry, path, routes)
        for field, prefix in _IDS:
            for place, id_ in enumerate(getattr(entry, field)):
                if not id_.startswith(prefix):
                    dotted = f"{path}.{field}[{place}]"
                    raise ConfigError(f"{dotted} is no id: the ids of {field} begin with {prefix}.", key=dotted)
        for before, other in enumerate(entries[:at]):
            shared = _shared(entry, other)
            if shared is not None:
                raise ConfigError(
                    f"compensation[{before}] and {path} overlap: both are for {entry.when.value!r}{shared}. "
                    "Keep one, or give them different models, sizes or groups.",
                    key=path,
                )


def _check_models(entry: Compensation, path: str, routes: Sequence[Route]) -> None:
    names = {name: route.model for route in routes for name in (route.model, *route.aliases)}
    if not names:
        # Without routes nothing is sold, and there is nothing to compare with.
        return
    for place, model in enumerate(entry.models):
        dotted = f"{path}.models[{place}]"
        if model not in names:
            raise ConfigError(f"{dotted}: there is no model {model!r}. {nearest(model, names)}", key=dotted)
        if names[model] != model:
            raise ConfigError(f"{dotted}: {model!r} is another name of {names[model]!r}; write that.", key=dotted)


def _shared(one: Compensation, other: Compensation) -> str | None:
    """Say what two entries are both for; None: no call can be one for both."""
    if one.when is not other.when:
        return None
    told = ""
    for field in ("models", "sizes"):
        mine, its = getattr(one, field), getattr(other, field)
        both = sorted({*mine} & {*its}) if mine and its else sorted({*mine, *its})
        if mine and its and not both:
            return None
        told += f", {', '.join(both)}" if both else ""
    who = _shared_who(one, other)
    return None if who is None else told + who


def _shared_who(one: Compensation, other: Compensation) -> str | None:
    """Say of whom; a key and a group may meet: who is in a group is decided elsewhere, and changes."""
    if not (one.keys or one.groups) or not (other.keys or other.groups):
        return ""
    both = sorted({*one.keys, *one.groups} & {*other.keys, *other.groups})
    if both:
        return f", {', '.join(both)}"
    if (one.keys and other.groups) or (one.groups and other.keys):
        return ", a key that may be in the other's group"
    return None
