"""Our attempts against a provider's list of charges: what agrees, what differs, and what turns out about the unknown.

A line and an attempt belong together where the line names the attempt: by the idempotency key that we sent, the handle
that the provider gave, or one of our ids. What names nothing is paired by model and time: attempts
that we know to be charged come first, then those of which nobody knows, then those that we take for free.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from holdfast.types import Charge, ListedCharge

WITHIN_S = 120.0
"""How far a line's time may lie outside an attempt's own: clocks differ, and some list the begin, others the end."""


class Found(StrEnum):
    """What the comparison says of an attempt, or of a line that belongs to none."""

    AGREES = "agrees"
    AMOUNT_DIFFERS = "amount_differs"
    """Both sides have it, at different amounts."""
    NOT_LISTED = "not_listed"
    """We count it as charged, and the provider does not list it."""
    NOT_OURS = "not_ours"
    """The provider lists it, and no attempt of ours belongs to it."""
    CHARGED_AFTER_ALL = "charged_after_all"
    """The provider lists an attempt that we took for free."""
    UNKNOWN_CHARGED = "unknown_charged"
    """Nobody knew, and the provider lists it."""
    UNKNOWN_FREE = "unknown_free"
    """Nobody knew, and the provider does not list it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """One attempt that has ended."""

    attempt_id: str
    generation_id: str
    charge: Charge
    model: str
    """As the upstream calls it."""
    sent_at: datetime
    ended_at: datetime
    booked_micros: int
    """What the ledger says that it cost, or may have cost."""
    names: frozenset[str]
    """Whatever the provider may call it by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An attempt or a line, and what is to be said of it."""

    found: Found
    ours: Ours | None = None
    line: ListedCharge | None = None
    by_reference: bool = False
    """Whether the line names the attempt; otherwise they were paired by model and time."""


def reconcile(
    lines: Sequence[ListedCharge], attempts: Sequence[Ours], *, within_s: float = WITHIN_S
) -> tuple[Finding, ...]:
    """Compare a provider's list with our attempts of the same upstream and time.

    Args:
        lines: The list.
        attempts: Those that ended within the time that the list covers; what is not listed counts as not charged.
        within_s: See `WITHIN_S`.
    """
    by_name = {name: ours for ours in attempts for name in ours.names}
    pairs: dict[str, tuple[Ours, ListedCharge, bool]] = {}
    rest: list[ListedCharge] = []
    for line in lines:
        ours = None if line.reference is None else by_name.get(line.reference)
        if ours is None or ours.attempt_id in pairs:
            rest.append(line)
        else:
            pairs[ours.attempt_id] = ours, line, True
    for charge in (Charge.YES, Charge.UNKNOWN, Charge.NO):
        left = [ours for ours in attempts if ours.charge is charge and ours.attempt_id not in pairs]
        paired, rest = _by_time(rest, left, within_s)
        pairs |= {ours.attempt_id: (ours, line, False) for ours, line in paired}
    findings = [
        Finding(found=_of_pair(ours, line), ours=ours, line=line, by_reference=named)
        for ours, line, named in pairs.values()
    ]
    unlisted = {Charge.YES: Found.NOT_LISTED, Charge.UNKNOWN: Found.UNKNOWN_FREE}
    findings += [
        Finding(found=unlisted[ours.charge], ours=ours)
        for ours in attempts
        if ours.attempt_id not in pairs and ours.charge in unlisted
    ]
    findings += [Finding(found=Found.NOT_OURS, line=line) for line in rest]
    return tuple(findings)


def _of_pair(ours: Ours, line: ListedCharge) -> Found:
    if ours.charge is Charge.UNKNOWN:
        # Some list what they did not charge, at nothing.
        return Found.UNKNOWN_FREE if line.micros == 0 else Found.UNKNOWN_CHARGED
    if ours.charge is Charge.NO:
        return Found.AGREES if line.micros == 0 else Found.CHARGED_AFTER_ALL
    return Found.AGREES if line.micros in (None, ours.booked_micros) else Found.AMOUNT_DIFFERS


def _by_time(
    lines: Iterable[ListedCharge], attempts: Sequence[Ours], within_s: float
) -> tuple[list[tuple[Ours, ListedCharge]], list[ListedCharge]]:
    """Pair what names nothing: each line, in the order of time, with the first of its model that was under way."""
    within = timedelta(seconds=within_s)
    by_model: dict[str, list[Ours]] = defaultdict(list)
    for ours in sorted(attempts, key=lambda each: each.ended_at):
        by_model[ours.model].append(ours)
    groups = {model: _Group(each) for model, each in by_model.items()}
    pairs, rest = [], []
    for line in sorted(lines, key=lambda each: 0.0 if each.at is None else each.at.timestamp()):
        found = None if line.at is None else _under_way(groups, line.model, line.at, within)
        if found is None:
            rest.append(line)
        else:
            pairs.append((found, line))
    return pairs, sorted(rest, key=lambda each: each.number)


def _under_way(groups: Mapping[str, _Group], model: str | None, at: datetime, within: timedelta) -> Ours | None:
    """Take the attempt that ended first of those of a model, or of any, that were under way at a moment."""
    asked = list(groups.values()) if model is None else [groups[model]] if model in groups else []
    found = [(group, place) for group in asked if (place := group.find(at, within)) is not None]
    if not found:
        return None
    group, place = min(found, key=lambda each: each[0].attempts[each[1]].ended_at)
    return group.take(place)


class _Group:
    """The attempts of one model in the order of their ends; those that are taken are stepped over at once."""

    def __init__(self, attempts: Sequence[Ours]) -> None:
        self.attempts = attempts
        self._next = list(range(len(attempts) + 1))
        """For each place the next one that may be free."""

    def find(self, at: datetime, within: timedelta) -> int | None:
        """Find the first that is free and was under way."""
        place = self._free(bisect_left(self.attempts, at - within, key=lambda each: each.ended_at))
        while place < len(self.attempts) and self.attempts[place].ended_at <= at + _LONGEST:
            if self.attempts[place].sent_at - within <= at:
                return place
            place = self._free(place + 1)
        return None

    def take(self, place: int) -> Ours:
        """Take one."""
        self._next[place] = place + 1
        return self.attempts[place]

    def _free(self, place: int) -> int:
        end = place
        while self._next[end] != end:
            end = self._next[end]
        while self._next[place] != end:
            self._next[place], place = end, self._next[place]
        return end


_LONGEST = timedelta(hours=1)
"""No attempt takes longer: where to stop looking for one that was under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What an operator has found out about an attempt of unknown outcome."""

    attempt_id: str
    micros: int | None
    """What the upstream took; None: nothing."""


def resolutions(findings: Iterable[Finding], *, only_named: bool) -> tuple[Resolution, ...]:
    """Say what a comparison makes known about attempts of unknown outcome.

    Args:
        findings: Of `reconcile`.
        only_named: Only those that the list names; what was paired by time, or is not listed, stays unknown.
    """
    found = []
    for each in findings:
        if each.ours is None or (only_named and not each.by_reference):
            continue
        if each.found is Found.UNKNOWN_FREE:
            found.append(Resolution(attempt_id=each.ours.attempt_id, micros=None))
        elif each.found is Found.UNKNOWN_CHARGED:
            listed = None if each.line is None else each.line.micros
            micros = each.ours.booked_micros if listed is None else listed
            found.append(Resolution(attempt_id=each.ours.attempt_id, micros=micros))
    return tuple(found)
