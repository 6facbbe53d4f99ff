"""The lifecycle table, row by row."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.generation import (
    ATTEMPT_MOVES,
    EVENTS,
    FINAL_STATES,
    LATE_IMAGE_CODES,
    OPEN_ATTEMPT_STATES,
    ROWS,
    SETTLEABLE_ATTEMPT_STATES,
    Accepted,
    AttemptFailed,
    AttemptSent,
    AttemptState,
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
    end_of_attempt,
    move_attempt,
    told_part,
)
from holdfast.types import Charge

GAVE_UP = GaveUp(code="upstream_failed", charge=Charge.NO)
END = (Effect.RECORD, Effect.NOTIFY)
DELIVERED = (Effect.CAPTURE_DELIVERED, Effect.COMPENSATE)
COSTS = (Charge.NO, Charge.UNKNOWN, Charge.YES)


def after(*events: Event) -> tuple[State, list[Effect]]:
    """Walk from acceptance; give the state, and the effects of the last event."""
    transition = apply(None, Accepted())
    for event in events:
        transition = apply(transition.state, event)
    return transition.state, list(transition.effects)


def test_acceptance_holds_the_money_and_queues() -> None:
    """Nothing is bought before the hold stands."""
    assert after() == (State.QUEUED, [Effect.HOLD, Effect.DISPATCH, Effect.RECORD])


def test_sending_takes_the_generation_from_its_former_owner() -> None:
    """A stale owner cannot send after it."""
    assert after(AttemptSent()) == (State.RUNNING, [Effect.BUMP_EPOCH, Effect.RECORD])
    assert after(AttemptSent(), AttemptFailed(), AttemptSent()) == (State.RUNNING, [Effect.BUMP_EPOCH, Effect.RECORD])


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (DeadlinePassed(), State.FAILED),
        (CancelAsked(), State.CANCELLED),
        (LeftUnwatched(), State.CANCELLED),
        (GAVE_UP, State.FAILED),
        (GaveUp(code="generation_cancelled", charge=Charge.NO, cancel_asked=True), State.CANCELLED),
    ],
)
def test_what_ends_in_the_queue_is_free(event: Event, state: State) -> None:
    """Nothing was sent, so the whole hold goes back."""
    assert after(event) == (state, [Effect.VOID, Effect.RECORD, Effect.NOTIFY])


def test_a_restart_dispatches_what_was_queued() -> None:
    """An accepted generation is never forgotten."""
    assert after(OwnerLost()) == (State.QUEUED, [Effect.DISPATCH])


def test_a_failed_attempt_with_another_due_changes_nothing_for_the_caller() -> None:
    """It sets a timer and is recorded."""
    assert after(AttemptSent(), AttemptFailed()) == (State.RUNNING, [Effect.SET_TIMER, Effect.RECORD])
    assert after(AttemptSent(), PartEnded()) == (State.RUNNING, [Effect.RECORD])


def test_stored_images_are_captured_as_far_as_delivered() -> None:
    """Success charges what there is; what is missing is voided."""
    state, effects = after(AttemptSent(), ImagesStored(delivered=1, wanted=4))
    assert (state, effects) == (State.SUCCEEDED, [*DELIVERED, *END])


@pytest.mark.parametrize("charge", [Charge.NO, Charge.UNKNOWN])
@pytest.mark.parametrize("cancel_asked", [False, True])
def test_giving_up_voids_the_hold_even_if_something_may_have_been_paid(charge: Charge, cancel_asked: bool) -> None:
    """What nobody knows never waits on the customer's account."""
    gave_up = GaveUp(code="upstream_failed", charge=charge, cancel_asked=cancel_asked)
    state, effects = after(AttemptSent(), gave_up)
    assert (state, effects) == (State.CANCELLED if cancel_asked else State.FAILED, [Effect.VOID, *END])


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (GaveUp(code="content_refused", charge=Charge.YES), State.FAILED),
        (GaveUp(code="content_refused", charge=Charge.YES, cancel_asked=True), State.CANCELLED),
        (DeadlinePassed(open_attempts=1, charge=Charge.YES), State.FAILED),
        (DeadlinePassed(charge=Charge.YES), State.FAILED),
        (CancelAsked(charge=Charge.YES), State.CANCELLED),
    ],
)
def test_a_failure_that_was_certainly_paid_is_captured_and_given_back_by_rule(event: Event, state: State) -> None:
    """Whichever way it ends: the operator's rules, not the kind of end, say what the customer bears."""
    assert after(AttemptSent(), event) == (state, [Effect.CAPTURE_PAID, Effect.COMPENSATE, *END])


@pytest.mark.parametrize("event", [DeadlinePassed(delivered=1, charge=Charge.YES), CancelAsked(delivered=1)])
def test_where_there_are_images_only_they_are_charged(event: Event) -> None:
    """A part that was paid for and failed beside them is the operator's loss."""
    assert after(AttemptSent(), event) == (State.SUCCEEDED, [*DELIVERED, *END])


def test_a_hold_is_resolved_by_one_effect_and_only_what_was_captured_is_given_back() -> None:
    """Row by row: an end has exactly one of the three, and compensation stands behind a capture."""
    captures = {Effect.CAPTURE_DELIVERED, Effect.CAPTURE_PAID}
    for row in ROWS:
        is_end = row.next.is_final and (row.state is None or not row.state.is_final)
        assert len({*captures, Effect.VOID} & {*row.effects}) == is_end, row
        assert (Effect.COMPENSATE in row.effects) == bool(captures & {*row.effects}), row


def test_the_deadline_waits_for_an_attempt_whose_caller_waits() -> None:
    """A call in flight is paid for: its caller gets its image a little late rather than never."""
    awaited = DeadlinePassed(open_attempts=1, caller_waits=True)
    assert after(AttemptSent(), awaited) == (State.RUNNING, [Effect.STOP_BUYING])
    assert after(AttemptSent(), awaited, ImagesStored(delivered=1, wanted=1))[0] is State.SUCCEEDED


@pytest.mark.parametrize("open_attempts", [0, 1])
def test_the_deadline_ends_what_nobody_awaits(open_attempts: int) -> None:
    """Its image, if it comes, is late."""
    passed = DeadlinePassed(open_attempts=open_attempts, caller_waits=False)
    assert after(AttemptSent(), passed) == (State.FAILED, [Effect.VOID, Effect.RECORD, Effect.NOTIFY])


def test_the_deadline_delivers_the_images_that_are_there() -> None:
    """Three of four are a success with three."""
    state, effects = after(AttemptSent(), PartEnded(), DeadlinePassed(delivered=3))
    assert (state, effects[0]) == (State.SUCCEEDED, Effect.CAPTURE_DELIVERED)


def test_a_cancel_with_an_attempt_in_flight_stops_buying_and_waits() -> None:
    """What is paid for is awaited: its image is delivered, its failure cancels."""
    in_flight = CancelAsked(open_attempts=1)
    assert after(AttemptSent(), in_flight) == (State.RUNNING, [Effect.STOP_BUYING, Effect.RECORD])
    assert after(AttemptSent(), in_flight, ImagesStored(delivered=1, wanted=1))[0] is State.SUCCEEDED
    ended = GaveUp(code="upstream_failed", charge=Charge.NO, cancel_asked=True)
    assert after(AttemptSent(), in_flight, ended) == (State.CANCELLED, [Effect.VOID, Effect.RECORD, Effect.NOTIFY])


def test_a_cancel_with_nothing_in_flight_ends_it_at_once() -> None:
    """Free without images; with some, they are delivered and charged."""
    assert after(AttemptSent(), AttemptFailed(), CancelAsked())[0] is State.CANCELLED
    state, effects = after(AttemptSent(), PartEnded(), CancelAsked(delivered=1))
    assert (state, effects[0]) == (State.SUCCEEDED, Effect.CAPTURE_DELIVERED)


def test_a_caller_who_leaves_changes_nothing_once_sent() -> None:
    """The image is made, stored and kept for the repeat."""
    assert after(AttemptSent(), LeftUnwatched()) == (State.RUNNING, [])


def test_a_restart_recovers_attempts_under_a_new_epoch() -> None:
    """What the spool holds is settled; what it does not hold is unknown."""
    assert after(AttemptSent(), OwnerLost()) == (State.RUNNING, [Effect.BUMP_EPOCH, Effect.RECOVER_ATTEMPTS])


def test_an_unpaid_indefinite_failure_is_driven_again() -> None:
    """A repeat after an overload gets a new round under the same id, with a hold of its own."""
    state, effects = after(DeadlinePassed(), Redriven(charge=Charge.NO, is_definite=False))
    assert state is State.QUEUED
    assert effects == [Effect.BUMP_DRIVE, Effect.HOLD, Effect.DISPATCH, Effect.RECORD]


@pytest.mark.parametrize(
    ("charge", "is_definite"), [(Charge.YES, False), (Charge.UNKNOWN, False), (Charge.NO, True), (Charge.UNKNOWN, True)]
)
def test_a_paid_or_definite_failure_is_not_driven_again(charge: Charge, is_definite: bool) -> None:
    """A repeat of a refusal, or of what may have been paid, is told the same failure and buys nothing."""
    assert after(DeadlinePassed(), Redriven(charge=charge, is_definite=is_definite)) == (State.FAILED, [])


@pytest.mark.parametrize("code", sorted(LATE_IMAGE_CODES))
def test_a_late_image_turns_an_open_failure_into_a_success(code: str) -> None:
    """A paid image is never thrown away, and the customer, whose hold was voided, gets it free."""
    state, effects = after(AttemptSent(), DeadlinePassed(open_attempts=1), LateImageStored(code=code))
    assert state is State.SUCCEEDED
    assert effects == [Effect.MARK_LATE, Effect.COST_TO_EXTRA, Effect.RECORD, Effect.NOTIFY]


@pytest.mark.parametrize("code", ["content_refused", "upstream_failed", None])
def test_a_late_image_leaves_other_failures_as_they_were_told(code: str | None) -> None:
    """It is kept and its cost booked, nothing else."""
    state, effects = after(AttemptSent(), GAVE_UP, LateImageStored(code=code))
    assert (state, effects) == (State.FAILED, [Effect.COST_TO_EXTRA, Effect.RECORD])


@pytest.mark.parametrize("ending", [ImagesStored(delivered=1, wanted=1), CancelAsked()])
def test_a_late_image_of_an_ended_generation_is_an_extra(ending: Event) -> None:
    """A hedge that lost, or an attempt that outlived its cancel, is listed and booked."""
    before, _ = after(AttemptSent(), ending)
    assert after(AttemptSent(), ending, LateImageStored()) == (before, [Effect.COST_TO_EXTRA, Effect.RECORD])


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
@pytest.mark.parametrize("event", [DeadlinePassed(), CancelAsked(), LeftUnwatched(), OwnerLost(), GAVE_UP, PartEnded()])
def test_what_comes_after_the_end_changes_nothing(state: State, event: Event) -> None:
    """A timer or a cancel that crossed the end on its way cannot undo it."""
    transition = apply(state, event)
    assert (transition.state, transition.effects) == (state, ())


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (None, AttemptSent()),
        (State.QUEUED, Accepted()),
        (State.QUEUED, ImagesStored(delivered=1, wanted=1)),
        (State.RUNNING, Redriven(charge=Charge.NO, is_definite=False)),
        (State.SUCCEEDED, AttemptSent()),
        (State.CANCELLED, AttemptSent()),
        (State.FAILED, ImagesStored(delivered=1, wanted=1)),
        (State.SUCCEEDED, Redriven(charge=Charge.NO, is_definite=False)),
    ],
)
def test_the_impossible_is_our_own_mistake(state: State | None, event: Event) -> None:
    """It fails loudly instead of being taken for something else."""
    with pytest.raises(AssertionError, match="cannot happen"):
        apply(state, event)


def test_rows_name_only_known_events_and_are_told_apart_in_words() -> None:
    """The table can be printed as documentation: no two rows of a pair read the same."""
    assert {row.event for row in ROWS} == set(EVENTS)
    read = [(row.state, row.event, row.when) for row in ROWS]
    assert len(read) == len(set(read))


def test_no_row_leads_out_of_success_or_cancellation() -> None:
    """What was told as delivered or cancelled stays so."""
    for row in ROWS:
        if row.state in (State.SUCCEEDED, State.CANCELLED):
            assert row.next is row.state
    assert all(state.is_final is (state in FINAL_STATES) for state in State)


def test_one_image_is_a_success_whatever_the_other_parts_brought() -> None:
    """`data` holds what exists."""
    parts = [PartEnd(part=0, code="empty_result"), PartEnd(part=1, images=1), PartEnd(part=2, images=1)]
    assert conclude(parts, wanted=3) == ImagesStored(delivered=2, wanted=3)
    assert conclude(parts, wanted=3, cancel_asked=True) == ImagesStored(delivered=2, wanted=3)


def test_more_images_than_asked_for_are_not_charged() -> None:
    """An upstream that sends three for one delivers one."""
    assert conclude([PartEnd(part=0, images=3)], wanted=1) == ImagesStored(delivered=1, wanted=1)


def test_no_image_at_all_is_told_as_the_first_of_the_parts_that_may_have_cost_the_most() -> None:
    """In the order of the parts, not of their ends; the code is of a failure with the charge that is told."""
    no, unknown, yes = (PartEnd(part=at, code=f"code_{at}", charge=charge) for at, charge in enumerate(COSTS))
    unknown_too = PartEnd(part=3, code="code_3", charge=Charge.UNKNOWN)
    assert conclude([unknown_too, unknown, no], wanted=3) == GaveUp(code="code_1", charge=Charge.UNKNOWN)
    assert conclude([unknown_too, unknown, no, yes], wanted=4) == GaveUp(code="code_2", charge=Charge.YES)
    assert conclude([PartEnd(part=4, code="code_4"), no], wanted=2) == GaveUp(code="code_0", charge=Charge.NO)
    cancelled = conclude([no, unknown], wanted=2, cancel_asked=True)
    assert cancelled == GaveUp(code="code_1", charge=Charge.UNKNOWN, cancel_asked=True)
    assert told_part([unknown_too, unknown, no]) is unknown


def test_a_part_has_images_or_a_reason() -> None:
    """Neither both nor none."""
    with pytest.raises(AssertionError, match="images or a code"):
        PartEnd(part=0)
    with pytest.raises(AssertionError, match="images or a code"):
        PartEnd(part=0, images=1, code="overloaded")


@pytest.mark.parametrize(
    ("has_images", "charge", "state"),
    [
        (True, Charge.UNKNOWN, AttemptState.SETTLED),
        (True, Charge.NO, AttemptState.SETTLED),
        (False, Charge.NO, AttemptState.REJECTED),
        (False, Charge.YES, AttemptState.CHARGED_FAILED),
        (False, Charge.UNKNOWN, AttemptState.UNKNOWN),
    ],
)
def test_an_attempt_ends_by_what_it_brought_and_cost(has_images: bool, charge: Charge, state: AttemptState) -> None:
    """The state of an attempt says whether money may be open."""
    assert end_of_attempt(has_images=has_images, charge=charge) is state


def test_an_attempt_moves_only_forward() -> None:
    """Unknown can still become settled; everything else that ended stays."""
    for state, to in product(AttemptState, AttemptState):
        if to in ATTEMPT_MOVES[state]:
            assert move_attempt(state, to) is to
        else:
            with pytest.raises(AssertionError, match="cannot become"):
                move_attempt(state, to)
    assert ATTEMPT_MOVES[AttemptState.UNKNOWN] == {
        AttemptState.SETTLED,
        AttemptState.CHARGED_FAILED,
        AttemptState.REJECTED,
    }
    assert all(state.is_open is (state in OPEN_ATTEMPT_STATES) for state in AttemptState)


def test_an_image_is_taken_in_from_every_state_that_leads_to_settled() -> None:
    """The settle commit and the table agree."""
    assert {state for state, moves in ATTEMPT_MOVES.items() if AttemptState.SETTLED in moves} == (
        SETTLEABLE_ATTEMPT_STATES
    )
