"""Which upstream of a route is asked next.

A route is a list of entries: its own, then those of its fallback models. They are walked in order, and the first that
is well, has a usable key and a free place is taken. Entries with a weight that stand side by side are one step of that
walk, and share what comes to it by their weights. What has failed for a part is passed over by that part until it has
rested, or for good.

Where nobody can be asked at once there are three ways, in this order: stand in line at an entry that is well and merely
full; wait for the entry that is ready soonest; be told that there is none. Another model than the one that was asked
for is taken only where the model itself would make its caller wait longer than `patience_s`.

Pure: no I/O, clock or randomness. A choice among 50 entries takes a few microseconds: what the entries stand for is
kept up to date by whoever learns of it (`policy.standings`), not looked up here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

NEVER = float("inf")
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a route."""

    upstream: str
    weight: int = 0
    """0: it stands for itself, in its order."""
    is_lesser: bool = False
    """Of a fallback model, or a smaller size: not quite what was asked for."""

    def __post_init__(self) -> None:
        assert self.weight >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """This entry, now."""

    at: int
    """Its place in the route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Nobody can be asked now; this entry is ready soonest."""

    at: int
    ready_at: float
    """Monotonic seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nowhere:
    """There is no entry that this part may still be sent to."""


Choice = Pick | Later | Nowhere


def choose(
    entries: Sequence[Entry],
    ready: Mapping[str, float],
    *,
    now: float,
    sample: float,
    avoided: Mapping[int, float] | None = None,
    full: Container[str] = NONE,
    patience_s: float = 0.0,
) -> Choice:
    """Choose where a part is sent.

    Args:
        entries: Of its route, own ones first.
        ready: Monotonic second from which on each upstream may be asked, by its name.
        now: Monotonic seconds.
        sample: Uniform sample in [0, 1), drawn by the caller; decides among weighted neighbours.
        avoided: Entries that have failed for this part, by their place: until which second they are passed over,
            `NEVER`: for good.
        full: Upstreams where a part would have to stand in line.
        patience_s: How long the model that was asked for is waited for before another one is taken.
    """
    assert 0.0 <= sample < 1.0
    own = _among(entries, ready, now, sample, avoided or {}, full, lesser=False)
    if isinstance(own, Pick) and entries[own.at].upstream not in full:
        return own
    if isinstance(own, Later) and own.ready_at - now <= patience_s:
        return own
    other = _among(entries, ready, now, sample, avoided or {}, full, lesser=True)
    if isinstance(own, Pick):
        # In line for what was asked for, unless the other one has a place and nobody has patience.
        takes_other = isinstance(other, Pick) and patience_s <= 0.0 and entries[other.at].upstream not in full
        return other if takes_other else own
    if isinstance(other, Pick):
        return other
    if isinstance(own, Later) and isinstance(other, Later):
        return own if own.ready_at <= other.ready_at else other
    return own if isinstance(own, Later) else other


def _among(
    entries: Sequence[Entry],
    ready: Mapping[str, float],
    now: float,
    sample: float,
    avoided: Mapping[int, float],
    full: Container[str],
    *,
    lesser: bool,
) -> Choice:
    """Choose among the entries of one kind: what was asked for, or what is less."""
    soonest, soonest_at = NEVER, -1
    in_line = -1
    group: list[int] = []
    last = len(entries) - 1
    for at, entry in enumerate(entries):
        if entry.is_lesser is not lesser:
            continue
        usable_at = ready[entry.upstream]
        if avoided and at in avoided:
            usable_at = max(usable_at, avoided[at])
        if usable_at > now:
            if usable_at < soonest:
                soonest, soonest_at = usable_at, at
        elif entry.upstream in full:
            in_line = at if in_line < 0 else in_line
        elif not entry.weight:
            return Pick(at=at)
        else:
            group.append(at)
        # A group ends where its neighbour has no weight, or is of another kind.
        if group and (at == last or not entries[at + 1].weight or entries[at + 1].is_lesser is not lesser):
            break
    if group:
        return Pick(at=_weighted(entries, group, sample))
    if in_line >= 0:
        return Pick(at=in_line)
    return Later(at=soonest_at, ready_at=soonest) if soonest_at >= 0 else Nowhere()


def _weighted(entries: Sequence[Entry], group: Sequence[int], sample: float) -> int:
    """Give each member its share of the unit interval, and find whose share the sample falls into."""
    left = sample * sum(entries[at].weight for at in group)
    for at in group:
        left -= entries[at].weight
        if left < 0.0:
            return at
    return group[-1]
