"""Settings that are read anew while the gateway runs: what goes on as it was, and under which place.

A key keeps its *slot* for as long as the process lives: attempts in flight, lines and standings know it by that number,
and none of them has to be told that another key was put before it. What is not in the settings any more keeps its slot
too, and is retired; new keys come behind. The entries of a generation's course keep their places in the same way: an
attempt in flight ends where it was sent, whatever the route has become.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from holdfast.config import Upstream
from holdfast.engine.course import Candidate, Course, Target
from holdfast.errors import ConfigError
from holdfast.policy.line import Limits
from holdfast.policy.standings import Kept
from holdfast.providers.registry import images_per_call
from holdfast.types import Tier

SLOTS_MAX = 1000
"""Slots of one upstream, retired ones included. Keys that change every night take years to fill them."""
LEFT_OUT = "it is not in the route any more"
MAKES_FEWER = "it makes fewer images in one call than were planned for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of one upstream, by slot."""

    keys: tuple[str, ...] = field(repr=False)
    numbers: tuple[int | None, ...]
    """Of each: its place in the settings, from 1; None: it is retired."""


def keyring_after(before: Target | None, keys: Sequence[str], *, name: str) -> Keyring:
    """Give the keys of the settings their slots.

    Args:
        before: How the upstream was reached until now; None: it is new.
        keys: Of the settings, resolved, in their order. One that stands there twice has two slots.
        name: The upstream's, for the complaint.

    Raises:
        ConfigError: There have been too many keys in the life of this process.
    """
    slots = [] if before is None else list(before.keys)
    numbers: list[int | None] = [None] * len(slots)
    for place, key in enumerate(keys):
        at = next((at for at, held in enumerate(slots) if held == key and numbers[at] is None), None)
        if at is None:
            slots.append(key)
            numbers.append(place + 1)
        else:
            numbers[at] = place + 1
    if len(slots) > SLOTS_MAX:
        path = f"upstreams.{name}.keys"
        raise ConfigError(
            f"{path}: this process has known {len(slots)} keys of the upstream, and keeps {SLOTS_MAX}; restart it.",
            key=path,
        )
    return Keyring(keys=tuple(slots), numbers=tuple(numbers))


def renewed_targets(
    targets: Mapping[str, Sequence[Target]], before: Mapping[str, Sequence[Target]]
) -> dict[str, tuple[Target, ...]]:
    """Give the targets of new settings the slots that their keys have.

    Args:
        targets: Made from the new settings alone.
        before: Those in use until now.

    Raises:
        ConfigError: As `keyring_after`.
    """
    known, wanted = by_name(before), by_name(targets)
    rings = {name: keyring_after(known.get(name), its.keys, name=name) for name, its in wanted.items()}
    return {
        model: tuple(
            replace(each, keys=rings[each.upstream.name].keys, numbers=rings[each.upstream.name].numbers)
            for each in route
        )
        for model, route in targets.items()
    }


def by_name(targets: Mapping[str, Sequence[Target]]) -> dict[str, Target]:
    """Give one target of each upstream; several routes may lead to one."""
    return {target.upstream.name: target for route in targets.values() for target in route}


def limits_of(targets: Mapping[str, Sequence[Target]]) -> dict[str, Limits]:
    """Say what each upstream takes."""
    return {
        name: Limits(
            keys=len(target.keys),
            concurrency=target.upstream.concurrency,
            per_minute=target.upstream.per_minute,
            per_day=target.upstream.per_day,
        )
        for name, target in by_name(targets).items()
    }


def kept_of(targets: Mapping[str, Sequence[Target]], before: Mapping[str, Sequence[Target]]) -> dict[str, Kept]:
    """Say of each upstream what `policy.standings` goes on with."""
    known = by_name(before)
    return {
        name: Kept(
            keys=len(target.keys),
            retired=target.retired,
            is_another=name in known and not _is_same(known[name].upstream, target.upstream),
        )
        for name, target in by_name(targets).items()
    }


def _is_same(before: Upstream, now: Upstream) -> bool:
    """Whether it is the same service: how it is spoken to may change, and what it takes."""

    def place(upstream: Upstream) -> tuple[object, ...]:
        return upstream.provider, upstream.base_url, upstream.project, upstream.location

    return place(before) == place(now)


def left_of(course: Course, route: Course | None) -> tuple[Course, bool]:
    """Say at once what is left of the course of a generation that is under way.

    Entries keep their places: what the route does not have any more is gone and barred, what it still has is asked as
    the settings say now. What else the route has, and whether it can serve the request, is for `caught_up`.

    Args:
        course: What it has walked until now.
        route: What its model's requests of this kind are given now; None: its model is served no longer.

    Returns:
        What is left, and whether there is something to catch up with.
    """
    now = _places_of(route)
    gone = {at for at, each in enumerate(course.candidates) if _name_of(each) not in now}
    candidates, entries = list(course.candidates), list(course.entries)
    is_behind = len(now) > len(candidates) - len(gone)
    for at, before in enumerate(course.candidates):
        if at in gone:
            continue
        assert route is not None
        its = now[_name_of(before)]
        candidates[at] = route.candidates[its]
        entries[at] = replace(entries[at], weight=route.entries[its].weight)
        is_behind = is_behind or before.target.upstream != candidates[at].target.upstream
    barred = {at: why for at, why in course.barred.items() if why != LEFT_OUT} | dict.fromkeys(gone, LEFT_OUT)
    left = replace(course, candidates=tuple(candidates), entries=tuple(entries), barred=barred, gone=frozenset(gone))
    return left, is_behind


def caught_up(course: Course, now: Course | None, *, planned: int, stream: bool) -> Course:
    """Lead a generation on by all that its route has now: what is new comes behind what it was accepted with.

    Args:
        course: What `left_of` has left.
        now: What its request would be given now; None: its model is served no longer.
        planned: Images that one of its parts asks for at most.
        stream: Whether its caller streams.
    """
    if now is None:
        return course
    known = {_name_of(each): at for at, each in enumerate(course.candidates) if at not in course.gone}
    candidates, entries = list(course.candidates), list(course.entries)
    offers, barred = dict(course.offers), dict.fromkeys(course.gone, LEFT_OUT)
    for its, candidate in enumerate(now.candidates):
        at = known.get(_name_of(candidate))
        if at is None:
            at = len(candidates)
            candidates.append(candidate)
            entries.append(now.entries[its])
        if its in now.barred:
            barred[at] = now.barred[its]
        elif images_per_call(candidate.target.upstream, stream=stream) < planned:
            barred[at] = MAKES_FEWER
        elif its in now.offers:
            # At the price at which it was offered first.
            offers.setdefault(at, now.offers[its])
    return replace(course, candidates=tuple(candidates), entries=tuple(entries), offers=offers, barred=barred)


def _places_of(route: Course | None) -> dict[tuple[str, str, Tier], int]:
    return {} if route is None else {_name_of(each): at for at, each in enumerate(route.candidates)}


def _name_of(candidate: Candidate) -> tuple[str, str, Tier]:
    return candidate.target.upstream.name, candidate.target.model, candidate.tier
