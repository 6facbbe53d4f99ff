"""A line keeps its places and its limits, whoever comes, goes, or comes again, and whichever credential rests."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.policy.line import Limits, Line


class Lines(RuleBasedStateMachine):
    """Against the plainest model there is: who waits, who holds what, and when each credential sent what."""

    @initialize(
        keys=st.integers(1, 3),
        concurrency=st.integers(0, 3),
        per_minute=st.sampled_from([0, 0, 2, 10]),
        per_day=st.sampled_from([0, 0, 7]),
    )
    def begin(self, keys: int, concurrency: int, per_minute: int, per_day: int) -> None:
        """Make a line."""
        self.limits = Limits(keys=keys, concurrency=concurrency, per_minute=per_minute, per_day=per_day)
        self.line = Line(self.limits)
        self.held: dict[int, int] = {}
        self.waiting: dict[int, bool] = {}
        """Number -> whether it comes again."""
        self.rests = [0.0] * keys
        self.sent: list[list[float]] = [[] for _ in range(keys)]
        self.now = 10.0
        self.midnight = 200.0
        self.line.begin_day(self.midnight, is_new=True)
        self.numbers = 0
        self.gone: list[int] = []

    def _usable(self) -> list[int]:
        """Which credentials could take a call, by the plain words of the limits."""
        limits = self.limits
        interval_s = limits.pace.interval_s if limits.pace is not None else 0.0
        found = []
        for key, sent in enumerate(self.sent):
            today = [at for at in sent if self.midnight - 200.0 <= at]
            in_flight = list(self.held.values()).count(key)
            is_well = self.rests[key] <= self.now
            has_slot = not limits.concurrency or in_flight < limits.concurrency
            has_minute = not sent or self.now >= sent[-1] + interval_s
            has_day = not limits.per_day or len(today) < limits.per_day
            if is_well and has_slot and has_minute and has_day:
                found.append(key)
        return found

    def _advance(self) -> None:
        """What got a place is what was first, one for each place there was; nobody waits beside a place."""
        for number in self.line.advance(self.now):
            key = self.line.key_of(number)
            assert key is not None
            assert key in self._usable()
            again = [each for each, is_again in self.waiting.items() if is_again]
            assert number == min(again or self.waiting)
            del self.waiting[number]
            self.held[number] = key
            self.sent[key].append(self.now)
        assert not self.waiting or not self._usable()

    def _enter(self, number: int, *, again: bool) -> None:
        self.line.enter(number, flow="key_a", weight=3 + number % 3, expected_s=40.0, again=again)
        self.waiting[number] = again
        self._advance()

    @rule()
    def enter(self) -> None:
        """Somebody new."""
        self.numbers += 1
        self._enter(self.numbers, again=False)

    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        """Somebody whom an earlier process has sent: in flight, whether there is a place or not."""
        self.numbers += 1
        key = data.draw(st.integers(0, self.limits.keys - 1))
        self.line.hold(self.numbers, key, now=self.now, expected_s=40.0)
        self.held[self.numbers] = key

    @rule(data=st.data())
    def come_again(self, data: st.DataObject) -> None:
        """Somebody who had a place before."""
        if self.gone:
            number = data.draw(st.sampled_from(self.gone))
            self.gone.remove(number)
            self._enter(number, again=True)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Somebody who has a place, or waits, or never was here."""
        number = data.draw(st.integers(1, self.numbers + 1))
        had_place = self.held.pop(number, None) is not None
        assert self.line.leave(number) is had_place
        if had_place:
            self.gone.append(number)
        self.waiting.pop(number, None)
        self._advance()

    @rule(data=st.data(), for_s=st.integers(-2, 20))
    def rest(self, data: st.DataObject, for_s: int) -> None:
        """A credential rests for so long from now on, or no longer."""
        key = data.draw(st.integers(0, self.limits.keys - 1))
        self.line.rest(key, self.now + for_s)
        self.rests[key] = self.now + for_s
        self._advance()

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        """Time passes: the line has said when it must be asked, and nothing moves before."""
        until = self.now + seconds
        while True:
            at = min(each for each in (self.line.wakes_at(self.now), self.midnight) if each is not None)
            if at > until:
                break
            assert at > self.now
            assert list(self.line.advance((self.now + at) / 2)) == []
            self.now = at
            if at == self.midnight:
                self.midnight += 200.0
                self.line.begin_day(self.midnight, is_new=True)
            self._advance()
        self.now = until
        assert list(self.line.advance(self.now)) == []

    @invariant()
    def is_as_the_model(self) -> None:
        """Places, positions and counts."""
        if not hasattr(self, "line"):
            return
        line, limits = self.line, self.limits
        in_order = sorted(self.waiting, key=lambda number: (not self.waiting[number], number))
        assert line.waiting == len(in_order)
        assert [line.position_of(number) for number in in_order] == list(range(1, len(in_order) + 1))
        assert [line.place_in_flow(number) for number in in_order] == list(range(len(in_order)))
        assert all(line.is_waiting(number) for number in in_order)
        assert all(line.position_of(number) is None for number in self.held)
        assert {number: line.key_of(number) for number in self.held} == self.held
        assert f"{len(self.held)} of {limits.keys * limits.concurrency or 'any'} in flight" in repr(line)
        free, usable = line.free(self.now), self._usable()
        assert (free is None) == (bool(usable) and not (limits.concurrency or limits.per_minute or limits.per_day))
        if free is not None:
            assert (free > 0) == bool(usable)

    @invariant()
    def estimates_grow_with_the_position(self) -> None:
        """Whoever is before somebody is not told a later moment; whoever could go now is told now."""
        if not hasattr(self, "line"):
            return
        told = [self.line.estimate_s(position, now=self.now, expected_s=40.0) for position in range(1, 12)]
        assert told[0] >= 0.0
        assert told == sorted(told)
        free = self.line.free(self.now)
        for position in range(1, 12 if free is None else 1 + min(free, 1)):
            assert told[position - 1] == 0.0


TestLines = Lines.TestCase
TestLines.settings = settings(max_examples=80, stateful_step_count=40)
