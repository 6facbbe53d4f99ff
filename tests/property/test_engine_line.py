"""A line keeps its order and its places, whoever comes, goes, or comes again."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.engine.queue import Line


class Lines(RuleBasedStateMachine):
    """Against the plainest model there is: two sorted lists."""

    @initialize(limit=st.integers(0, 4))
    def begin(self, limit: int) -> None:
        """Make a line."""
        self.limit = limit
        self.line = Line(limit)
        self.held: set[int] = set()
        self.waiting: list[int] = []
        self.numbers = 0
        self.gone: list[int] = []

    def _enter(self, number: int) -> None:
        has_place = not self.limit or len(self.held) < self.limit
        assert self.line.enter(number) is has_place
        if has_place:
            self.held.add(number)
        else:
            self.waiting = sorted([*self.waiting, number])

    @rule()
    def enter(self) -> None:
        """Somebody new."""
        self.numbers += 1
        self._enter(self.numbers)

    @rule()
    def hold(self) -> None:
        """Somebody whom an earlier process has sent: in flight, whether there is a place or not."""
        self.numbers += 1
        self.line.hold(self.numbers)
        self.held.add(self.numbers)

    @rule(data=st.data())
    def come_again(self, data: st.DataObject) -> None:
        """Somebody who was here before."""
        if self.gone:
            number = data.draw(st.sampled_from(self.gone))
            self.gone.remove(number)
            self._enter(number)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Somebody who has a place, or waits, or never was here."""
        number = data.draw(st.integers(1, self.numbers + 1))
        following = self.line.leave(number)
        if number in self.held:
            self.held.remove(number)
            self.gone.append(number)
            has_place = not self.limit or len(self.held) < self.limit
            expected = self.waiting.pop(0) if self.waiting and has_place else None
            assert following == expected
            if expected is not None:
                self.held.add(expected)
            return
        assert following is None
        if number in self.waiting:
            self.waiting.remove(number)
            self.gone.append(number)

    @invariant()
    def is_as_the_model(self) -> None:
        """Places, positions and counts; nobody waits while a place is free."""
        if not hasattr(self, "line"):
            return
        assert self.line.waiting == len(self.waiting)
        assert [self.line.position_of(number) for number in self.waiting] == list(range(1, len(self.waiting) + 1))
        assert all(self.line.position_of(number) is None for number in self.held)
        assert self.line.free == (max(0, self.limit - len(self.held)) if self.limit else None)
        assert not self.waiting or self.line.free == 0
        assert f"{len(self.held)} of {self.limit or 'any'} in flight, {len(self.waiting)} waiting" in repr(self.line)


TestLines = Lines.TestCase
