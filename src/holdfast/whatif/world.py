"""Upstreams that a policy meets: what each call comes to, when, and whether it is charged.

They follow the rules of the simulator (`simulator.plan`, `simulator.charges`): an upstream that is busy says so within
a second and charges nothing; a picture is made and charged to its end, caller there or not; what is cut on its way back
was made. What a status means is read by the table that the gateway reads it by (`providers.error_answers`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from heapq import heappop, heappush
from typing import NamedTuple

from holdfast.policy.latency import prior
from holdfast.providers.error_answers import RETRY_AFTER_S_MAX, meaning_of
from holdfast.simulator.limits import MinuteLimit
from holdfast.simulator.plan import CENSOR_S, QUICK_S
from holdfast.simulator.scenarios import DAY_S, HINT_S, Phase
from holdfast.types import Charge, Failure, FailureKind, Tier
from holdfast.types import Phase as Stage
from holdfast.whatif.chance import Luck
from holdfast.whatif.scenario import Incident, Temper
from holdfast.wire.answers import UpstreamError

QUANTILES = 4096
"""Points of the latency table: the slowest stands for one image in 8,192."""
_GAVE_UP = frozenset({504, 524})
"""The front end stopped waiting; what works behind it goes on, and is charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An upstream as a policy has it."""

    name: str
    keys: int = 1
    is_gemini: bool = True
    """What it declines after drawing it does not bill; others do."""
    is_relay: bool = False

    def __post_init__(self) -> None:
        assert self.keys >= 1


class Fate(NamedTuple):
    """What one call comes to."""

    after_s: float
    """Until whoever called is told, if he waits for so long."""
    failure: Failure | None
    """None: the image."""
    is_charged: bool
    """What the upstream takes it for; known to nobody but it."""


class _End(NamedTuple):
    """A way in which calls fail."""

    failure: Failure
    is_charged: bool
    within_s: float | None
    """Told so early, or when the picture would have come, whichever is first; None: then."""


class _Mix(NamedTuple):
    """A phase, ready to draw from."""

    factor: float
    thresholds: tuple[float, ...]
    ends: tuple[_End, ...]


@cache
def quantiles(tier: Tier) -> tuple[float, ...]:
    """Tabulate the published latency of a size, seconds, in steps of equal probability."""
    latency = prior(tier)
    return tuple(latency.quantile((at + 0.5) / QUANTILES) for at in range(QUANTILES))


def failure_of_status(status: int, upstream: Served, *, retry_after_s: float | None = None) -> Failure:
    """Make the failure that the gateway reads out of an error answer with this status and nothing else."""
    meaning = meaning_of(status, UpstreamError(status=status, message=""), is_relay=upstream.is_relay)
    return Failure(
        kind=meaning.kind,
        phase=Stage.RECEIVE,
        charge=meaning.charge,
        detail=f"{upstream.name} answered {status}",
        retry_after_s=retry_after_s,
        status=status,
    )


def _ends_of(phase: Phase, upstream: Served) -> list[tuple[float, _End]]:
    """List the ways in which calls of a phase fail, each with its share, in the simulator's order."""
    found: list[tuple[float, _End]] = []
    for status, share in sorted(phase.statuses.items()):
        is_quick = status < 500 or status == 503
        failure = failure_of_status(status, upstream)
        end = _End(failure, is_charged=status in _GAVE_UP, within_s=QUICK_S if is_quick else None)
        found.append((share, end))
    refusal = Failure(
        kind=FailureKind.REFUSED_INPUT,
        phase=Stage.RECEIVE,
        charge=Charge.YES if upstream.is_relay else Charge.NO,
        detail=f"{upstream.name} declined the prompt",
    )
    declined = replace(
        refusal,
        kind=FailureKind.REFUSED_OUTPUT,
        charge=Charge.YES if upstream.is_relay else Charge.NO if upstream.is_gemini else Charge.UNKNOWN,
        detail=f"{upstream.name} declined what it had drawn",
    )
    found.append((phase.refused / 2, _End(refusal, is_charged=upstream.is_relay, within_s=CENSOR_S)))
    found.append((phase.refused / 2, _End(declined, is_charged=declined.charge is not Charge.NO, within_s=None)))
    lost = Failure(
        kind=FailureKind.LOST_REPLY,
        phase=Stage.WAIT,
        charge=Charge.UNKNOWN,
        detail=f"the connection to {upstream.name} was reset",
    )
    torn = replace(lost, kind=FailureKind.MALFORMED, phase=Stage.RECEIVE, charge=Charge.YES, status=200)
    found.append((phase.cut / 3, _End(lost, is_charged=True, within_s=0.0)))
    found.append((phase.cut * 2 / 3, _End(torn, is_charged=True, within_s=None)))
    return [(share, end) for share, end in found if share > 0.0]


def _mix_of(phase: Phase, upstream: Served, factor: float) -> _Mix:
    thresholds: list[float] = []
    ends = _ends_of(phase, upstream)
    for share, _ in ends:
        thresholds.append((thresholds[-1] if thresholds else 0.0) + share)
    return _Mix(phase.latency_factor * factor, tuple(thresholds), tuple(end for _, end in ends))


class _Key:
    """One credential, as the upstream counts its calls."""

    __slots__ = ("busy", "day", "today")

    def __init__(self) -> None:
        self.busy: list[float] = []
        """When each of its calls is done; a heap."""
        self.day = 0
        self.today = 0


class _Upstream:
    """One endpoint and its counters."""

    def __init__(self, served: Served, temper: Temper, start_s: float) -> None:
        self._served = served
        self._temper = temper
        self._start_s = start_s
        self._untils = [phase.until_s for phase in temper.phases]
        self._mixes = [_mix_of(phase, served, temper.latency_factor) for phase in temper.phases]
        self._keys = [_Key() for _ in range(served.keys)]
        self._minute = MinuteLimit(temper.per_minute)
        self._is_limited = max(temper.per_minute, temper.per_day, temper.concurrency) > 0
        self._hinted: dict[tuple[int, int], Failure] = {}

    def call(self, key: int, tier: Tier, luck: Luck, now: float, hour_factor: float) -> Fate:
        at = min(bisect_right(self._untils, now), len(self._mixes) - 1)
        factor, thresholds, ends = self._mixes[at]
        works_s = quantiles(tier)[int(luck.latency * QUANTILES)] * factor * hour_factor
        if self._is_limited and (turned_away := self._limit(key, now, works_s)) is not None:
            return Fate(min(QUICK_S, works_s), turned_away, False)
        which = bisect_right(thresholds, luck.fate)
        if which == len(ends):
            return Fate(works_s, None, True)
        failure, is_charged, within_s = ends[which]
        if failure.status == 429 and luck.which < 0.5:
            failure = self._with_hint(failure, int(HINT_S[0] + luck.hint * (HINT_S[1] - HINT_S[0] + 1)))
        return Fate(works_s if within_s is None else min(within_s, works_s), failure, is_charged)

    def _with_hint(self, failure: Failure, hint_s: int) -> Failure:
        assert failure.status is not None
        known = self._hinted.get((failure.status, hint_s))
        if known is None:
            known = self._hinted[failure.status, hint_s] = replace(failure, retry_after_s=float(hint_s))
        return known

    def _limit(self, number: int, now: float, works_s: float) -> Failure | None:
        """Count a call against the limits of its key; one too many is told when to come again."""
        temper, key = self._temper, self._keys[number]
        day = int((self._start_s + now) // DAY_S)
        if key.day != day:
            key.day, key.today = day, 0
        while key.busy and key.busy[0] <= now:
            heappop(key.busy)
        if temper.per_day and key.today >= temper.per_day:
            until_s = (day + 1) * DAY_S - (self._start_s + now)
            spent = failure_of_status(429, self._served, retry_after_s=min(until_s, RETRY_AFTER_S_MAX))
            return replace(spent, kind=FailureKind.QUOTA_SPENT)
        if temper.concurrency and len(key.busy) >= temper.concurrency:
            return failure_of_status(429, self._served)
        early_s = self._minute.refuses(str(number), now)
        if early_s is not None:
            return failure_of_status(429, self._served, retry_after_s=early_s)
        key.today += 1
        if temper.concurrency:
            heappush(key.busy, now + works_s)
        return None


class World:
    """All upstreams of a policy."""

    def __init__(self, incident: Incident, upstreams: Sequence[Served]) -> None:
        scenario = incident.scenario
        self._hours: Mapping[int, float] = scenario.latency_by_hour
        self._hour_factor = scenario.hour_factor
        self._upstreams = [_Upstream(each, incident.temper_of(each.name), scenario.start_s) for each in upstreams]

    def call(self, upstream: int, key: int, tier: Tier, luck: Luck, now: float) -> Fate:
        """Send one call.

        Args:
            upstream: Index into those that the policy has.
            key: Index of one of its credentials.
            tier: Size asked for.
            luck: Of this call.
            now: Seconds since the start; never less than in the call before.
        """
        hour_factor = self._hour_factor(now) if self._hours else 1.0
        return self._upstreams[upstream].call(key, tier, luck, now, hour_factor)
