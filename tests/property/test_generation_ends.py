"""Whatever happens in whatever order, a generation ends exactly once and its money is settled exactly once a drive."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.generation import (
    EVENTS,
    ROWS,
    Accepted,
    AttemptFailed,
    AttemptSent,
    CancelAsked,
    DeadlinePassed,
    Effect,
    Event,
    GaveUp,
    ImagesStored,
    LateImageStored,
    LeftUnwatched,
    OwnerLost,
    PartEnd,
    PartEnded,
    Redriven,
    State,
    apply,
    conclude,
)
from holdfast.types import Charge

codes = st.sampled_from(["outcome_unknown", "deadline_exceeded", "overloaded", "content_refused"])
counts = st.integers(0, 3)
charges = st.sampled_from(Charge)
events: st.SearchStrategy[Any] = st.one_of(
    st.just(Accepted()),
    st.just(AttemptSent()),
    st.just(AttemptFailed()),
    st.just(PartEnded()),
    st.builds(ImagesStored, delivered=st.integers(1, 4), wanted=st.integers(1, 4)),
    st.builds(GaveUp, code=codes, charge=charges, cancel_asked=st.booleans()),
    st.builds(DeadlinePassed, delivered=counts, open_attempts=counts, caller_waits=st.booleans(), charge=charges),
    st.builds(CancelAsked, delivered=counts, open_attempts=counts, charge=charges),
    st.just(LeftUnwatched()),
    st.just(OwnerLost()),
    st.builds(Redriven, charge=charges, is_definite=st.booleans()),
    st.builds(LateImageStored, code=st.none() | codes),
)

RESOLVES = {Effect.CAPTURE_DELIVERED, Effect.CAPTURE_PAID, Effect.VOID}


@given(st.sampled_from([None, *State]), events)
def test_each_case_stands_in_exactly_one_row(state: State | None, event: Event) -> None:
    """No event is read two ways, and a pair that has rows leaves no case open."""
    rows = [row for row in ROWS if row.state is state and row.event is type(event)]
    assert sum(row.applies(event) for row in rows) == (1 if rows else 0)


def test_every_state_answers_what_may_happen_at_any_time() -> None:
    """Timers, cancels, departures and restarts come when they like: no living or ended generation trips over them."""
    at_any_time = (DeadlinePassed, CancelAsked, LeftUnwatched, OwnerLost)
    pairs = {(row.state, row.event) for row in ROWS}
    assert set(product(State, at_any_time)) <= pairs
    assert {event for state, event in pairs if state is None} == {Accepted}
    assert {event for _, event in pairs} == set(EVENTS)


@given(st.lists(events, max_size=60))
@settings(max_examples=300)
def test_a_hold_is_resolved_once_a_drive_and_an_end_is_told_once(story: list[Event]) -> None:
    """Any sequence at all, impossible events left out: money in equals money out, and no end is undone by accident."""
    state: State | None = None
    holds = resolved = ends = late = 0
    for event in story:
        try:
            transition = apply(state, event)
        except AssertionError:
            continue
        before, state = state, transition.state
        holds += transition.effects.count(Effect.HOLD)
        resolved += sum(effect in RESOLVES for effect in transition.effects)
        late += Effect.MARK_LATE in transition.effects
        if state.is_final and (before is None or not before.is_final):
            ends += 1
            assert Effect.NOTIFY in transition.effects
        # A hold stands exactly while the generation lives.
        assert holds - resolved == (0 if state.is_final else 1)
        assert ends == resolved
        if before in (State.SUCCEEDED, State.CANCELLED):
            assert state is before
        if before is State.FAILED and state is not State.FAILED:
            assert isinstance(event, Redriven | LateImageStored)
    assert late <= 1


@given(st.permutations([0, 1, 2]), st.lists(st.sampled_from([0, 1]), min_size=3, max_size=3), st.booleans())
def test_the_order_in_which_parts_end_does_not_matter(order: list[int], images: list[int], cancel: bool) -> None:
    """The same parts give the same end."""
    parts = [PartEnd(part=at, images=count, code=None if count else f"code_{at}") for at, count in enumerate(images)]
    shuffled = [parts[at] for at in order]
    assert conclude(shuffled, wanted=3, cancel_asked=cancel) == conclude(parts, wanted=3, cancel_asked=cancel)


@dataclass
class _Part:
    open: bool = False
    images: int = 0
    code: str | None = None

    @property
    def ended(self) -> bool:
        return self.images > 0 or self.code is not None


@dataclass
class _Books:
    effects: list[Effect] = field(default_factory=list)

    def count(self, *effects: Effect) -> int:
        return sum(effect in effects for effect in self.effects)


class Lifecycle(RuleBasedStateMachine):
    """A generation of several parts, driven as the engine drives it; it must never meet an impossible pair."""

    @initialize(parts=st.integers(1, 3))
    def accept(self, parts: int) -> None:
        self.parts = [_Part() for _ in range(parts)]
        self.books = _Books()
        self.state: State | None = None
        self.buying = True
        self.cancelled = False
        self._on(Accepted())

    def _on(self, event: Event) -> None:
        transition = apply(self.state, event)
        self.state = transition.state
        self.books.effects += transition.effects
        if Effect.STOP_BUYING in transition.effects:
            self.buying = False

    @property
    def open(self) -> list[_Part]:
        return [part for part in self.parts if part.open]

    @property
    def delivered(self) -> int:
        return sum(part.images for part in self.parts)

    def _end_part(self) -> None:
        if not self.buying:
            # Nothing more is bought, so parts that have nothing in flight end with what stopped them.
            for idle in self.parts:
                if not idle.open and not idle.ended:
                    idle.code = "deadline_exceeded"
        if all(other.ended for other in self.parts):
            ends = [
                PartEnd(part=at, images=other.images, code=other.code, charge=Charge.NO)
                for at, other in enumerate(self.parts)
            ]
            self._on(conclude(ends, wanted=len(self.parts), cancel_asked=self.cancelled))
        else:
            self._on(PartEnded())

    @precondition(lambda self: self.state in (State.QUEUED, State.RUNNING) and self.buying)
    @rule(at=st.integers(0, 2))
    def send(self, at: int) -> None:
        part = self.parts[at % len(self.parts)]
        if not part.open and not part.ended:
            part.open = True
            self._on(AttemptSent())

    @precondition(lambda self: bool(self.open))
    @rule(image=st.booleans(), again=st.booleans())
    def attempt_ends(self, image: bool, again: bool) -> None:
        part = self.open[0]
        part.open = False
        if self.state is not None and self.state.is_final:
            self._on(LateImageStored(code="deadline_exceeded") if image else GaveUp(code="late", charge=Charge.NO))
        elif image:
            part.images = 1
            self._end_part()
        elif again and self.buying:
            self._on(AttemptFailed())
        else:
            part.code = "upstream_failed"
            self._end_part()

    @rule(waits=st.booleans())
    def deadline(self, waits: bool) -> None:
        self._on(DeadlinePassed(delivered=self.delivered, open_attempts=len(self.open), caller_waits=waits))

    @rule()
    def cancel(self) -> None:
        self.cancelled = True
        self._on(CancelAsked(delivered=self.delivered, open_attempts=len(self.open)))

    @rule(event=st.sampled_from([LeftUnwatched(), OwnerLost()]))
    def disturb(self, event: Event) -> None:
        self._on(event)

    def teardown(self) -> None:
        """Let all that is in flight fail and the deadline pass: then it must have ended."""
        if not hasattr(self, "state"):
            return
        while self.open:
            self.attempt_ends(image=False, again=False)
        was_final = self.state is not None and self.state.is_final
        self.deadline(waits=True)
        assert self.state is not None
        assert self.state.is_final
        assert was_final or self.buying, "when buying has stopped, the last attempt ends it"
        self.money_is_held_while_it_lives_and_resolved_once()
        self.images_on_hand_are_never_told_as_a_failure()

    @invariant()
    def money_is_held_while_it_lives_and_resolved_once(self) -> None:
        if self.state is None:
            return
        resolved = self.books.count(*RESOLVES)
        assert resolved == (1 if self.state.is_final else 0)
        assert self.books.count(Effect.HOLD) == 1

    @invariant()
    def images_on_hand_are_never_told_as_a_failure(self) -> None:
        if self.state in (State.FAILED, State.CANCELLED):
            assert self.delivered == 0


Lifecycle.TestCase.settings = settings(max_examples=150, stateful_step_count=25)


class TestLifecycle(Lifecycle.TestCase):
    """Runs the machine: every generation ends exactly once."""
