"""The line before one upstream: who has a place there, with which credential, and who is next. Pure.

A place is one call in flight with one credential. Each credential takes so many calls at once, so many in a minute, so
many in a UTC day, and none while it rests. Who is next is `policy.fairness`'s to say. Time is told by whoever asks;
what becomes possible by the passing of time alone is told by `wakes_at`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

from holdfast.policy.fairness import FairOrder
from holdfast.policy.rates import Pace

NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an upstream takes; but for the number of credentials, each figure is of each of them, and 0 is no limit."""

    keys: int
    """How many credentials there are."""
    concurrency: int = 0
    """Calls in flight at once."""
    per_minute: int = 0
    per_day: int = 0
    """In a UTC day."""
    pace: Pace | None = field(init=False)

    def __post_init__(self) -> None:
        assert self.keys >= 1
        assert min(self.concurrency, self.per_minute, self.per_day) >= 0
        object.__setattr__(self, "pace", Pace(per_minute=self.per_minute) if self.per_minute else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A call in flight."""

    key: int
    """Which of the credentials it goes with."""
    since: float
    expected_s: float
    """How long it should take."""

    @property
    def ends_at(self) -> float:
        """The second by which its place should be free."""
        return self.since + self.expected_s


class _Key:
    """What is kept of one credential."""

    __slots__ = ("due_at", "from_at", "in_flight", "is_retired", "rests_until", "sent_today")

    def __init__(self) -> None:
        self.in_flight = 0
        self.rests_until = 0.0
        self.due_at = 0.0
        """Theoretical arrival time of the next call (`policy.rates`)."""
        self.sent_today = 0
        self.from_at = 0.0
        """The second from which on time stands in the way of no call: of rest, minute and day whichever is last."""
        self.is_retired = False
        """It is not in the settings any more: what it has in flight ends, and nothing begins with it."""


class Line:
    """Who is in flight at one upstream, and who waits, by number: of one flow the lower number goes first."""

    __slots__ = ("_day_ends_at", "_expected_s", "_held", "_keys", "_limits", "_order", "_usable")

    def __init__(self, limits: Limits) -> None:
        """Make a line with every place free."""
        self._limits = limits
        self._held: dict[int, Held] = {}
        self._keys = [_Key() for _ in range(limits.keys)]
        self._usable = self._keys
        """Those that are not retired; never empty."""
        self._order = FairOrder()
        self._expected_s: dict[int, float] = {}
        """Of those that wait."""
        self._day_ends_at = float("inf")

    def __repr__(self) -> str:
        places = len(self._usable) * self._limits.concurrency or "any"
        return f"<Line {len(self._held)} of {places} in flight, {len(self._order)} waiting>"

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._order)

    def follow(self, limits: Limits, retired: Container[int]) -> None:
        """Take over other limits, and other credentials; who is in flight or waits stays where he is.

        A credential keeps its place for good: one that is not used any more is retired, a new one comes behind all
        others. What was sent counts on: under another pace the next call is due as if that had held for the last one.

        Args:
            limits: From now on; of as many credentials as before, or more.
            retired: Places of those that are not used any more; at least one is left.
        """
        before = self._limits
        assert limits.keys >= before.keys
        self._limits = limits
        self._keys += [_Key() for _ in range(limits.keys - before.keys)]
        for at, key in enumerate(self._keys):
            key.is_retired = at in retired
            if before.pace is not None:
                longer_s = 0.0 if limits.pace is None else limits.pace.interval_s - before.pace.interval_s
                key.due_at = max(0.0, key.due_at + longer_s)
            self._look(key)
        self._usable = [key for key in self._keys if not key.is_retired]
        assert self._usable

    def is_retired(self, key: int) -> bool:
        """Whether nothing begins with a credential any more."""
        return self._keys[key].is_retired

    # Coming and going

    def enter(self, number: int, *, flow: str, weight: int, expected_s: float, again: bool = False) -> None:
        """Stand in line; `advance` gives places to those whose turn it is.

        Args:
            number: The call's own.
            flow: Whose it is.
            weight: How much it counts.
            expected_s: How long it should keep its place.
            again: It had a place before, and stands where it stood.
        """
        assert number not in self._held
        self._order.enter(number, flow=flow, weight=weight, again=again)
        self._expected_s[number] = expected_s

    def hold(self, number: int, key: int, *, now: float, expected_s: float) -> None:
        """Take a place, also where there is none: the call is in flight already, and was counted when it was sent."""
        assert number not in self._held
        self._held[number] = Held(key=key, since=now, expected_s=expected_s)
        self._keys[key].in_flight += 1

    def has_room(self, key: int, now: float) -> bool:
        """Whether a credential may make one more call at this instant, if it did not rest."""
        spare = self._spare(self._keys[key], now)
        return spare is None or spare > 0

    def press(self, number: int, key: int, *, now: float, expected_s: float) -> None:
        """Take a place though the credential rests; its call counts as any other. There must be room."""
        assert self.has_room(key, now)
        self.hold(number, key, now=now, expected_s=expected_s)
        self._count(self._keys[key], now)

    def leave(self, number: int) -> bool:
        """Give up a place, or wait no longer; True: a place was given up. Whoever is not here leaves nothing."""
        held = self._held.pop(number, None)
        if held is not None:
            self._keys[held.key].in_flight -= 1
        elif self._order.leave(number):
            del self._expected_s[number]
        return held is not None

    def give_back(self, number: int) -> bool:
        """As `leave`, for a call that was not sent: the day has not seen it. Its minute goes on as if it had been."""
        held = self._held.get(number)
        if held is not None:
            key = self._keys[held.key]
            key.sent_today = max(0, key.sent_today - 1)
            self._look(key)
        return self.leave(number)

    def take(self, number: int, *, now: float, expected_s: float) -> int | None:
        """Take a place at once where nobody waits and one is free: as to stand in line and be next; else None.

        The flow must not be barred. Whoever meets no line takes nothing from anybody, so fairness has no say in it.
        """
        if self._order or (key := self._key_for(now)) is None:
            return None
        self.hold(number, key, now=now, expected_s=expected_s)
        self._count(self._keys[key], now)
        return key

    def advance(self, now: float) -> Iterator[int]:
        """Give places to those whose turn it is, and name them in their order. What is barred meanwhile gets none."""
        while self._order and (key := self._key_for(now)) is not None:
            number = self._order.pop()
            if number is None:
                return
            self.hold(number, key, now=now, expected_s=self._expected_s.pop(number))
            self._count(self._keys[key], now)
            yield number

    def bar(self, flow: str) -> None:
        """Give a flow no more places, until it is let in again."""
        self._order.bar(flow)

    def let_in(self, flow: str) -> None:
        """Give a flow places again."""
        self._order.let_in(flow)

    # Time

    def rest(self, key: int, until: float) -> None:
        """Give no place with a credential before that second; the latest word counts, an earlier second too."""
        self._keys[key].rests_until = until
        self._look(self._keys[key])

    def begin_day(self, ends_at: float, *, is_new: bool) -> None:
        """Say when the UTC day is over, and whether it has just begun: then every credential is as if unused."""
        self._day_ends_at = ends_at
        for key in self._keys:
            if is_new:
                key.sent_today = 0
            self._look(key)

    def remember(self, key: int, *, now: float, sent_at: Sequence[float], sent_today: int) -> None:
        """Count what an earlier process has sent with a credential.

        Args:
            key: Which of them.
            now: As everywhere.
            sent_at: Of the last minute, oldest first; seconds on the clock of `now`, and so perhaps below zero.
            sent_today: In this UTC day, those of the last minute included.
        """
        its = self._keys[key]
        if self._limits.pace is not None:
            its.due_at = self._limits.pace.after(sent_at, now)
        its.sent_today = sent_today
        self._look(its)

    def ready_at(self, now: float) -> float:
        """Say from which second on there is a credential that neither rests nor is spent for the day; not before now.

        The pace of a minute is no rest: the line goes on.
        """
        return max(now, min(max(key.rests_until, self._spent_until(key)) for key in self._usable))

    @property
    def closed_until(self) -> float:
        """The second from which on some credential has calls left for its day; 0: one has. `inf` if no day is known."""
        return min(self._spent_until(key) for key in self._usable)

    @property
    def counts_days(self) -> bool:
        """Whether it may be closed before a day is over."""
        return self._limits.per_day > 0

    def wakes_at(self, now: float) -> float | None:
        """Say when `advance` has to be asked though nobody has left; None: nobody waits for time to pass."""
        if not self._order:
            return None
        return min((key.from_at for key in self._usable if key.from_at > now and self._slots(key) != 0), default=None)

    def _count(self, key: _Key, now: float) -> None:
        if self._limits.pace is not None:
            key.due_at = self._limits.pace.sent(self._limits.pace.clamped(key.due_at, now), now)
        key.sent_today += 1
        self._look(key)

    def _look(self, key: _Key) -> None:
        """See from when on time stands in the way of no call."""
        paced_at = 0.0 if self._limits.pace is None else self._limits.pace.ready_at(key.due_at)
        key.from_at = NEVER if key.is_retired else max(key.rests_until, paced_at, self._spent_until(key))

    def _spent_until(self, key: _Key) -> float:
        is_spent = self._limits.per_day and key.sent_today >= self._limits.per_day
        return self._day_ends_at if is_spent else 0.0

    # Looking

    def key_of(self, number: int) -> int | None:
        """Say with which credential a number is in flight; None: it is not."""
        held = self._held.get(number)
        return None if held is None else held.key

    def is_waiting(self, number: int) -> bool:
        """Whether a number stands in line."""
        return number in self._order

    def position_of(self, number: int) -> int | None:
        """Count from 1 where a number stands in line; None: it does not wait."""
        return self._order.position_of(number)

    def place_in_flow(self, number: int) -> int:
        """Count from 0 how many of its own flow are before a number that waits."""
        return self._order.place_in_flow(number)

    def free(self, now: float) -> int | None:
        """Say how many get a place at once; None: all."""
        total = 0
        for key in self._usable:
            if key.from_at > now:
                continue
            spare = self._spare(key, now)
            if spare is None:
                return None
            total += spare
        return total

    def _spare(self, key: _Key, now: float) -> int | None:
        """How many more calls a credential takes at this instant, which stands in the way of none; None: all."""
        limits = self._limits
        spare = [] if (slots := self._slots(key)) is None else [slots]
        if limits.pace is not None:
            spare.append(limits.pace.spare(key.due_at, now))
        if limits.per_day:
            spare.append(limits.per_day - key.sent_today)
        return min(spare, default=None)

    def _slots(self, key: _Key) -> int | None:
        """How many more calls it takes beside those in flight; None: all."""
        return max(0, self._limits.concurrency - key.in_flight) if self._limits.concurrency else None

    def _key_for(self, now: float) -> int | None:
        """Choose the credential for the next call: the least busy of those that may be used, the first of equals."""
        least: _Key | None = None
        chosen: int | None = None
        for at, key in enumerate(self._keys):
            if key.from_at > now or self._slots(key) == 0:
                continue
            if least is None or (key.in_flight, key.sent_today) < (least.in_flight, least.sent_today):
                least, chosen = key, at
        return chosen

    # Estimating

    def estimate_s(self, position: int, *, now: float, expected_s: float) -> float:
        """Say in how many seconds whoever stands at a position should have a place.

        Places become free as the calls in flight end, each after the time that was expected of it, and then again and
        again after as long as those take on average; minute, day and rests are as they are known now. Nothing is said
        of who may still come, give up, or fail.

        Args:
            position: From 1.
            now: As everywhere.
            expected_s: How long a call takes, where none is in flight.
        """
        at = max(now, self._slot_at(position, now, expected_s), self._paced_at(position, now))
        if self._limits.per_day and position > sum(
            max(0, self._limits.per_day - key.sent_today) for key in self._usable
        ):
            at = max(at, self._day_ends_at)
        return at - now

    def mean_s(self, expected_s: float) -> float:
        """Say how long the calls in flight should take, on average; where there is none, as long as is expected."""
        if not self._held:
            return expected_s
        return sum(held.expected_s for held in self._held.values()) / len(self._held)

    def _slot_at(self, position: int, now: float, expected_s: float) -> float:
        """When one of the places that can be had at once is free for it, and its credential may be used."""
        each = self._limits.concurrency
        if not each:
            return now
        ends_at: list[list[float]] = [[] for _ in self._keys]
        for held in self._held.values():
            ends_at[held.key].append(max(now, held.ends_at))
        free_at: list[float] = []
        for key, its in zip(self._keys, ends_at, strict=True):
            if key.is_retired:
                continue
            # More may be in flight than there are places, after settings were narrowed: the first to end free none.
            its.sort()
            places = [now] * (each - len(its)) + its[max(0, len(its) - each) :]
            free_at += (max(key.from_at, at) for at in places)
        free_at.sort()
        rounds, nth = divmod(position - 1, len(free_at))
        return free_at[nth] + rounds * self.mean_s(expected_s)

    def _paced_at(self, position: int, now: float) -> float:
        """When minute and rests let it through."""
        froms = sorted(max(now, key.from_at) for key in self._usable)
        if self._limits.pace is None:
            return froms[0]
        interval_s, left = self._limits.pace.interval_s, position - 1
        while True:
            # Those that may be used within an interval of the first take turns from then on.
            awake = max(1, bisect_left(froms, froms[0] + interval_s))
            rounds, nth = divmod(left, awake)
            at = froms[nth] + rounds * interval_s
            if awake == len(froms) or at <= froms[awake]:
                return at
            # One that rests for longer joins them then.
            rounds = max(1, int((froms[awake] - froms[0]) // interval_s))
            left -= rounds * awake
            froms = sorted([each + rounds * interval_s for each in froms[:awake]] + froms[awake:])
