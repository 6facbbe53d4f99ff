"""The lifecycle of a generation and of its attempts, as tables.

A generation is what a caller asked for: it owns one deadline and one hold on money. It is made of parts, one for each
image that an upstream cannot make together with others, and each part has its own attempts.

    -  Accepted  queued  AttemptSent  running  ImagesStored  succeeded
                   |                     |     GaveUp        failed  -- LateImageStored -->  succeeded, late
                   +---------------------+---  CancelAsked   cancelled

`ROWS` is the whole of it: state and event give the next state and the effects, which the caller performs in the same
transaction that writes the state. A row that leaves everything as it is says so; what stands in no row cannot happen,
and `apply` treats it as our own mistake.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from holdfast.types import Charge, worst_charge


class State(StrEnum):
    """Where a generation stands; column `generation.state`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether its callers have an answer."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
LATE_IMAGE_CODES = frozenset({"outcome_unknown", "deadline_exceeded"})
"""Failures that an image which still arrives turns into a success."""


class Effect(StrEnum):
    """What to do when a row applies, in the same transaction as the state."""

    HOLD = "hold"
    """Hold the worst-case price on the customer's account."""
    CAPTURE_DELIVERED = "capture_delivered"
    """Charge the customer for the images delivered; void the rest of the hold."""
    CAPTURE_PAID = "capture_paid"
    """Charge the customer for what the upstream was certainly paid for and did not bring; void the rest of the hold."""
    VOID = "void"
    """Give the whole hold back."""
    COMPENSATE = "compensate"
    """Give back of the capture what the operator's rules say."""
    DISPATCH = "dispatch"
    """Hand it to whoever sends attempts."""
    BUMP_EPOCH = "bump_epoch"
    """`epoch + 1`: whoever owned it before can no longer send."""
    BUMP_DRIVE = "bump_drive"
    """`drive + 1`: a new round under the same id, with a hold of its own."""
    SET_TIMER = "set_timer"
    """Come back after the pause that was decided."""
    STOP_BUYING = "stop_buying"
    """Begin no further attempt and await those in flight; parts that have none end with what stopped them."""
    RECOVER_ATTEMPTS = "recover_attempts"
    """Settle what the spool holds; what it does not hold becomes unknown."""
    COST_TO_EXTRA = "cost_to_extra"
    """Book what came to `extra_images`; the customer pays nothing for it."""
    MARK_LATE = "mark_late"
    """The record says `late`."""
    RECORD = "record"
    """Append the event to the generation's log."""
    NOTIFY = "notify"
    """Tell those who wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The request was found good and its price can be held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSent:
    """An attempt was committed; only now may its first byte leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """An attempt failed and another is due: retry, wait or fallback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnded:
    """One part has its image or gave up, and others go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesStored:
    """All parts have ended and images are stored."""

    delivered: int
    wanted: int

    def __post_init__(self) -> None:
        assert self.delivered >= 1
        assert self.wanted >= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp:
    """All parts have ended and none has an image."""

    code: str
    """Of the failure that is told; see `told_part`."""
    charge: Charge
    cancel_asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """The time for new attempts is over."""

    delivered: int = 0
    """Images already stored by parts that ended."""
    open_attempts: int = 0
    caller_waits: bool = False
    """Whether somebody is still connected for it."""
    charge: Charge = Charge.NO
    """The worst of the attempts that have ended, and have brought nothing."""

    @property
    def is_awaited(self) -> bool:
        """Whether an attempt in flight is worth waiting for."""
        return self.open_attempts > 0 and self.caller_waits


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """Its owner wants it no longer."""

    delivered: int = 0
    open_attempts: int = 0
    charge: Charge = Charge.NO
    """The worst of the attempts that have ended, and have brought nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftUnwatched:
    """The caller who waited for it has been gone for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLost:
    """The process that drove it is gone: a restart, or a takeover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """The same request came again and joins a failure that cost nothing."""

    charge: Charge
    is_definite: bool
    """Whether it would end the same way again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateImageStored:
    """An attempt that had been given up on brought its image after all."""

    code: str | None = None
    """Of the failure, if the generation had failed."""


Event = (
    Accepted
    | AttemptSent
    | AttemptFailed
    | PartEnded
    | ImagesStored
    | GaveUp
    | DeadlinePassed
    | CancelAsked
    | LeftUnwatched
    | OwnerLost
    | Redriven
    | LateImageStored
)
EVENTS: tuple[type[Any], ...] = (
    Accepted,
    AttemptSent,
    AttemptFailed,
    PartEnded,
    ImagesStored,
    GaveUp,
    DeadlinePassed,
    CancelAsked,
    LeftUnwatched,
    OwnerLost,
    Redriven,
    LateImageStored,
)
"""Every class of event, in the order of the lifecycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What an event does to a generation."""

    state: State
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the lifecycle."""

    state: State | None
    """None: there is no generation yet."""
    event: type[Any]
    next: State
    effects: tuple[Effect, ...]
    when: str = ""
    """In which case, in words; empty: always."""
    applies: Callable[[Any], bool] = lambda _: True


_Q, _R, _S, _F, _C = State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED
_END = (Effect.RECORD, Effect.NOTIFY)
# What a running generation ends with, by what there is to charge for. A failure that was certainly paid for is the
# customer's, and the rules give it back; one that only may have been is voided at once, and never waits.
_DELIVERED = (Effect.CAPTURE_DELIVERED, Effect.COMPENSATE, *_END)
_PAID = (Effect.CAPTURE_PAID, Effect.COMPENSATE, *_END)
_UNPAID = (Effect.VOID, *_END)


def _is_paid(event: Any) -> bool:
    """Whether an event that brings no image tells of one that was certainly paid for."""
    return event.charge is Charge.YES


def _late_row(state: State, *, when: str = "", applies: Callable[[Any], bool] = lambda _: True) -> Row:
    effects = (Effect.COST_TO_EXTRA, Effect.RECORD)
    return Row(state=state, event=LateImageStored, next=state, effects=effects, when=when, applies=applies)


def _ignored(*states: State, events: Sequence[type[Any]]) -> tuple[Row, ...]:
    """List what may come too late to matter: a timer, a cancel or a departure that crossed the end on its way."""
    return tuple(Row(state=state, event=event, next=state, effects=()) for state in states for event in events)


ROWS: tuple[Row, ...] = (
    Row(state=None, event=Accepted, next=_Q, effects=(Effect.HOLD, Effect.DISPATCH, Effect.RECORD)),
    # Queued: nothing was sent, so every way out is free.
    Row(state=_Q, event=AttemptSent, next=_R, effects=(Effect.BUMP_EPOCH, Effect.RECORD)),
    Row(state=_Q, event=DeadlinePassed, next=_F, effects=(Effect.VOID, *_END)),
    Row(state=_Q, event=CancelAsked, next=_C, effects=(Effect.VOID, *_END)),
    Row(state=_Q, event=LeftUnwatched, next=_C, effects=(Effect.VOID, *_END)),
    Row(state=_Q, event=OwnerLost, next=_Q, effects=(Effect.DISPATCH,)),
    Row(
        state=_Q,
        event=GaveUp,
        next=_F,
        effects=(Effect.VOID, *_END),
        when="no attempt could begin",
        applies=lambda event: not event.cancel_asked,
    ),
    Row(
        state=_Q,
        event=GaveUp,
        next=_C,
        effects=(Effect.VOID, *_END),
        when="cancel was asked",
        applies=lambda event: event.cancel_asked,
    ),
    # Running: money may have been spent; only an end of all parts, or the deadline, ends it.
    Row(state=_R, event=AttemptSent, next=_R, effects=(Effect.BUMP_EPOCH, Effect.RECORD)),
    Row(state=_R, event=AttemptFailed, next=_R, effects=(Effect.SET_TIMER, Effect.RECORD)),
    Row(state=_R, event=PartEnded, next=_R, effects=(Effect.RECORD,)),
    Row(state=_R, event=ImagesStored, next=_S, effects=_DELIVERED),
    Row(
        state=_R,
        event=GaveUp,
        next=_F,
        effects=_UNPAID,
        when="unpaid, or nobody knows",
        applies=lambda event: not event.cancel_asked and not _is_paid(event),
    ),
    Row(
        state=_R,
        event=GaveUp,
        next=_F,
        effects=_PAID,
        when="certainly paid",
        applies=lambda event: not event.cancel_asked and _is_paid(event),
    ),
    Row(
        state=_R,
        event=GaveUp,
        next=_C,
        effects=_UNPAID,
        when="cancel was asked; unpaid, or nobody knows",
        applies=lambda event: event.cancel_asked and not _is_paid(event),
    ),
    Row(
        state=_R,
        event=GaveUp,
        next=_C,
        effects=_PAID,
        when="cancel was asked; certainly paid",
        applies=lambda event: event.cancel_asked and _is_paid(event),
    ),
    Row(
        state=_R,
        event=DeadlinePassed,
        next=_R,
        effects=(Effect.STOP_BUYING,),
        when="an attempt is in flight and its caller waits",
        applies=lambda event: event.is_awaited,
    ),
    Row(
        state=_R,
        event=DeadlinePassed,
        next=_S,
        effects=_DELIVERED,
        when="not awaited, some images are stored",
        applies=lambda event: not event.is_awaited and event.delivered > 0,
    ),
    Row(
        state=_R,
        event=DeadlinePassed,
        next=_F,
        effects=_UNPAID,
        when="not awaited, no image is stored; unpaid, or nobody knows",
        applies=lambda event: not event.is_awaited and event.delivered == 0 and not _is_paid(event),
    ),
    Row(
        state=_R,
        event=DeadlinePassed,
        next=_F,
        effects=_PAID,
        when="not awaited, no image is stored; certainly paid",
        applies=lambda event: not event.is_awaited and event.delivered == 0 and _is_paid(event),
    ),
    Row(
        state=_R,
        event=CancelAsked,
        next=_R,
        effects=(Effect.STOP_BUYING, Effect.RECORD),
        when="an attempt is in flight",
        applies=lambda event: event.open_attempts > 0,
    ),
    Row(
        state=_R,
        event=CancelAsked,
        next=_S,
        effects=_DELIVERED,
        when="nothing in flight, some images are stored",
        applies=lambda event: event.open_attempts == 0 and event.delivered > 0,
    ),
    Row(
        state=_R,
        event=CancelAsked,
        next=_C,
        effects=_UNPAID,
        when="nothing in flight, no image is stored; unpaid, or nobody knows",
        applies=lambda event: event.open_attempts == 0 and event.delivered == 0 and not _is_paid(event),
    ),
    Row(
        state=_R,
        event=CancelAsked,
        next=_C,
        effects=_PAID,
        when="nothing in flight, no image is stored; certainly paid",
        applies=lambda event: event.open_attempts == 0 and event.delivered == 0 and _is_paid(event),
    ),
    # A caller who leaves changes nothing once the upstream has been sent to.
    Row(state=_R, event=LeftUnwatched, next=_R, effects=()),
    Row(state=_R, event=OwnerLost, next=_R, effects=(Effect.BUMP_EPOCH, Effect.RECOVER_ATTEMPTS)),
    # Ended. A failure that cost nothing can be driven again; a paid image that comes late is never thrown away.
    Row(
        state=_F,
        event=Redriven,
        next=_Q,
        effects=(Effect.BUMP_DRIVE, Effect.HOLD, Effect.DISPATCH, Effect.RECORD),
        when="known unpaid, not definite",
        applies=lambda event: event.charge is Charge.NO and not event.is_definite,
    ),
    Row(
        state=_F,
        event=Redriven,
        next=_F,
        effects=(),
        when="paid, possibly paid, or definite: the caller is told the same failure",
        applies=lambda event: event.charge is not Charge.NO or event.is_definite,
    ),
    Row(
        state=_F,
        event=LateImageStored,
        next=_S,
        effects=(Effect.MARK_LATE, Effect.COST_TO_EXTRA, *_END),
        when="it had failed with " + " or ".join(sorted(LATE_IMAGE_CODES, reverse=True)),
        applies=lambda event: event.code in LATE_IMAGE_CODES,
    ),
    _late_row(_F, when="it had failed otherwise", applies=lambda event: event.code not in LATE_IMAGE_CODES),
    _late_row(_S),
    _late_row(_C),
    *_ignored(
        _S, _F, _C, events=(AttemptFailed, PartEnded, GaveUp, DeadlinePassed, CancelAsked, LeftUnwatched, OwnerLost)
    ),
)
"""The lifecycle, whole. The rows of one state and event exclude one another and leave no case open."""


def _indexed() -> Mapping[tuple[State | None, type[Any]], tuple[Row, ...]]:
    index: dict[tuple[State | None, type[Any]], tuple[Row, ...]] = {}
    for row in ROWS:
        key = (row.state, row.event)
        index[key] = (*index.get(key, ()), row)
    return MappingProxyType(index)


_INDEX = _indexed()


def apply(state: State | None, event: Event) -> Transition:
    """Find what an event does to a generation in this state.

    Args:
        state: None for a generation that does not exist yet.
        event: What happened.

    Raises:
        AssertionError: The pair stands in no row: the mistake is ours.
    """
    for row in _INDEX.get((state, type(event)), ()):
        if row.applies(event):
            return Transition(state=row.next, effects=row.effects)
    raise AssertionError(f"{type(event).__name__} cannot happen to a generation that is {state or 'not accepted'}")


def parts_for(n: int, *, per_call: int) -> int:
    """Say into how many parts a generation of `n` images is divided, if one call makes at most `per_call` of them."""
    assert n >= 1
    assert per_call >= 1
    return -(-n // per_call)


def images_of_part(part: int, *, n: int, parts: int) -> int:
    """Say how many images a part stands for: they are spread evenly, and the first parts take what is left over.

    It asks for nothing that a record does not hold, so that a start under other settings divides as the first one did.
    No part has more than the `per_call` that `parts_for` was given.
    """
    assert 0 <= part < parts <= n
    each, over = divmod(n, parts)
    return each + (part < over)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnd:
    """How one part ended: with images, or with what its caller is told."""

    part: int
    images: int = 0
    code: str | None = None
    charge: Charge = Charge.NO

    def __post_init__(self) -> None:
        assert (self.images > 0) is (self.code is None), "a part has images or a code"


def conclude(parts: Sequence[PartEnd], *, wanted: int, cancel_asked: bool = False) -> ImagesStored | GaveUp:
    """Sum up a generation whose parts have all ended.

    One image or more is a success, and what is missing is not charged. None is a failure, told as one part's.

    Args:
        parts: One for each part, in any order; at least one.
        wanted: Images that the caller asked for.
        cancel_asked: Whether a cancel came while attempts were in flight; an image that arrived is delivered all the
            same, since it is paid for.
    """
    assert parts
    images = sum(part.images for part in parts)
    if images > 0:
        return ImagesStored(delivered=min(images, wanted), wanted=wanted)
    told = told_part(parts)
    assert told.code is not None
    return GaveUp(code=told.code, charge=told.charge, cancel_asked=cancel_asked)


def told_part(parts: Sequence[PartEnd]) -> PartEnd:
    """Name the part whose failure is told: the first of those that may have cost the most.

    Words and charge are then of one failure: nobody reads that nothing was sent beside a charge that is unknown.
    """
    worst = worst_charge(part.charge for part in parts)
    return min((part for part in parts if part.charge is worst), key=lambda part: part.part)


class AttemptState(StrEnum):
    """Where an attempt stands; column `attempt.state`."""

    SENT = "sent"
    """Committed; from here on it may have been paid for."""
    POLLING = "polling"
    """The upstream gave a handle; a restart goes on polling it."""
    SETTLED = "settled"
    """Its images are stored."""
    REJECTED = "rejected"
    """It brought nothing and certainly cost nothing."""
    CHARGED_FAILED = "charged_failed"
    """It brought nothing and was paid for."""
    UNKNOWN = "unknown"
    """It brought nothing yet; it may have been paid for, and its image may still come."""

    @property
    def is_open(self) -> bool:
        """Whether it is in flight; at most one attempt of a part is."""
        return self in OPEN_ATTEMPT_STATES


OPEN_ATTEMPT_STATES = frozenset({AttemptState.SENT, AttemptState.POLLING})
SETTLEABLE_ATTEMPT_STATES = frozenset({AttemptState.SENT, AttemptState.POLLING, AttemptState.UNKNOWN})
"""From these an image is taken in."""

_A = AttemptState
ATTEMPT_MOVES: Mapping[AttemptState, frozenset[AttemptState]] = MappingProxyType(
    {
        _A.SENT: frozenset({_A.POLLING, _A.SETTLED, _A.REJECTED, _A.CHARGED_FAILED, _A.UNKNOWN}),
        _A.POLLING: frozenset({_A.SETTLED, _A.REJECTED, _A.CHARGED_FAILED, _A.UNKNOWN}),
        # Its image comes after all; or an operator finds in the provider's list what it took.
        _A.UNKNOWN: frozenset({_A.SETTLED, _A.CHARGED_FAILED, _A.REJECTED}),
        _A.SETTLED: frozenset(),
        _A.REJECTED: frozenset(),
        _A.CHARGED_FAILED: frozenset(),
    }
)
"""From each state of an attempt, where it may go."""


def end_of_attempt(*, has_images: bool, charge: Charge) -> AttemptState:
    """Choose the state of an attempt that ended."""
    if has_images:
        return AttemptState.SETTLED
    match charge:
        case Charge.NO:
            return AttemptState.REJECTED
        case Charge.YES:
            return AttemptState.CHARGED_FAILED
        case Charge.UNKNOWN:
            return AttemptState.UNKNOWN


def move_attempt(state: AttemptState, to: AttemptState) -> AttemptState:
    """Move an attempt.

    Raises:
        AssertionError: It cannot move there: the mistake is ours.
    """
    assert to in ATTEMPT_MOVES[state], f"an attempt that is {state} cannot become {to}"
    return to
