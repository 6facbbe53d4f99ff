"""The checker, fed with histories that must not happen: one that cannot fail would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from simulation.checker import CHECKS, Limits, check
from simulation.history import (
    Answered,
    Asked,
    CancelCommitted,
    Charged,
    ClockSet,
    Collected,
    Crowded,
    Deleted,
    End,
    EndAttempt,
    EndDelivery,
    EndGeneration,
    EndImage,
    Entered,
    Event,
    Followed,
    History,
    Hooked,
    Lived,
    Logged,
    Orphaned,
    Received,
    SendCommitted,
    Sent,
    Told,
)

LIMITS = Limits(retention_s_max=1000.0, keep_after_finish_s=100.0, keep_after_collect_s=50.0)
GEN, ATT, IMG, SHA = "gen_1", "att_1", "img_1", "a" * 64


def a_life() -> list[Event]:
    """What a plain call leaves behind: asked, bought, sent, charged, received, told."""
    return [
        Lived(at=0.0, life=1, what="ready"),
        Asked(at=1.0, caller="c", number=1, key_id="k", body="b", idempotency_key="once", says_retry=False),
        Entered(
            at=1.1,
            life=1,
            number=1,
            generation_id=GEN,
            answer="new",
            by_key=True,
            says_retry=False,
            waiting=0,
            is_received=False,
        ),
        SendCommitted(at=1.2, life=1, attempt_id=ATT, generation_id=GEN, part=0, drive=0, epoch=1),
        Sent(at=1.3, life=1, call=0, generation_id=GEN, part=0, drive=0, upstream="up", attempt_id=ATT, late_s=-299.0),
        Charged(at=30.0, call=0, generation_id=GEN, micros=100),
        Received(at=31.0, call=0, generation_id=GEN, attempt_id=ATT, images=(SHA,)),
        Answered(at=31.0, call=0, status=200, is_whole=True),
        Hooked(
            at=31.5,
            message_id="msg_1",
            generation_id=GEN,
            drive=0,
            type="generation.succeeded",
            status=204,
            is_signed=True,
        ),
        Told(at=32.0, caller="c", number=1, generation_id=GEN, code=None, paid=None, images=(SHA,), stored=(SHA,)),
        Followed(at=33.0, caller="f", generation_id=GEN, after=0, numbers=(1, 2, 3), last_type="succeeded"),
    ]


def its_end() -> End:
    """What it leaves in the database and the folder."""
    return End(
        generations=(
            EndGeneration(
                id=GEN,
                key_id="k",
                state="succeeded",
                n=1,
                parts=1,
                code=None,
                idempotency_key="once",
                finished_wall_s=31.0,
                events=((1, "queued"), (2, "running"), (3, "succeeded")),
            ),
        ),
        attempts=(
            EndAttempt(
                id=ATT,
                generation_id=GEN,
                part=0,
                drive=0,
                number=1,
                epoch=1,
                state="settled",
                charge="yes",
                booked_micros=100,
            ),
        ),
        images=(
            EndImage(
                id=IMG,
                generation_id=GEN,
                attempt_id=ATT,
                kind="result",
                state="stored",
                sha256=SHA,
                file_sha256=SHA,
            ),
        ),
        deliveries=(
            EndDelivery(
                id="msg_1",
                generation_id=GEN,
                drive=0,
                type="generation.succeeded",
                state="delivered",
                is_overdue=False,
            ),
        ),
        hooked_keys=("k",),
    )


def of(kind: type[Event], **changes: Any) -> Event:
    """The event of a kind from the plain call, changed."""
    return replace(next(each for each in a_life() if type(each) is kind), **changes)


def without(kind: type[Event]) -> list[Event]:
    """The plain call without its event of a kind."""
    return [each for each in a_life() if type(each) is not kind]


def with_(*events: Event) -> list[Event]:
    """The plain call, and then more."""
    return [*a_life(), *events]


def instead(kind: type[Event], **changes: Any) -> list[Event]:
    """The plain call with one event changed."""
    return [replace(each, **changes) if type(each) is kind else each for each in a_life()]


def end_with(what: str, **changes: Any) -> End:
    """The plain call's end with its generation, attempt, image or delivery changed."""
    (one,) = getattr(its_end(), what)
    return replace(its_end(), **{what: (replace(one, **changes),)})


def found(events: list[Event], end: End | None = None) -> list[str]:
    """The invariants that a history breaks."""
    return [each.invariant for each in check(History(events), its_end() if end is None else end, LIMITS)]


def test_a_plain_call_breaks_nothing() -> None:
    """What follows differs from it in one thing each."""
    assert found(a_life()) == []


DELETED = Deleted(at=500.0, generation_id=GEN, wall_s=500.0, ended_wall_s=31.0, images=(IMG,))
COLLECTED = Collected(at=40.0, generation_id=GEN, wall_s=40.0)
GONE = end_with("images", state="deleted", file_sha256=None)

BAD: dict[str, tuple[str, Callable[[], tuple[list[Event], End]]]] = {
    "it does not end": ("I1", lambda: (a_life(), end_with("generations", state="running", code=None))),
    "an attempt stays in flight": ("I1", lambda: (a_life(), end_with("attempts", state="sent", charge="unknown"))),
    "nobody works on it": (
        "I1",
        lambda: (with_(Orphaned(at=900.0, generation_id=GEN, state="queued")), its_end()),
    ),
    "it is forgotten": ("I1", lambda: (a_life(), replace(its_end(), generations=()))),
    "a part is bought twice": (
        "I2",
        lambda: (with_(of(Sent, call=1, attempt_id="att_2"), of(Charged, call=1)), its_end()),
    ),
    "a part is sent thirteen times": (
        "I2",
        lambda: (with_(*(of(Sent, call=n, attempt_id=f"att_{n}") for n in range(2, 14))), its_end()),
    ),
    "an image that came whole is lost": ("I3", lambda: (a_life(), replace(its_end(), images=()))),
    "an image goes unasked": ("I3", lambda: (a_life(), GONE)),
    "an image that was never collected goes early": ("I3", lambda: (with_(DELETED), GONE)),
    "a collected image goes too soon after its end": (
        "I3",
        lambda: (with_(COLLECTED, replace(DELETED, at=125.0, wall_s=125.0)), GONE),
    ),
    "it goes too soon after it was collected": (
        "I3",
        lambda: (with_(replace(COLLECTED, wall_s=480.0), DELETED), GONE),
    ),
    "only one of two images was collected": (
        "I3",
        lambda: (with_(replace(COLLECTED, image_id=IMG), replace(DELETED, images=(IMG, "img_2"))), GONE),
    ),
    "it goes while the clock is doubtful": (
        "I3",
        lambda: (with_(COLLECTED, ClockSet(at=450.0, seconds=3600.0), replace(DELETED, wall_s=5000.0)), GONE),
    ),
    "the ledger has a problem": ("I4", lambda: (a_life(), replace(its_end(), problems=("unresolved: …",)))),
    "something is held at rest": ("I4", lambda: (a_life(), replace(its_end(), held_micros=100))),
    "a charge is not booked": ("I4", lambda: (a_life(), end_with("attempts", booked_micros=0))),
    "a charge belongs to no attempt": (
        "I4",
        lambda: (with_(of(Sent, call=1, part=1, attempt_id="att_2"), of(Charged, call=1)), its_end()),
    ),
    "a charged attempt says no": ("I4", lambda: (a_life(), end_with("attempts", charge="no"))),
    "an attempt that was not charged says yes": ("I4", lambda: (without(Charged), its_end())),
    "an epoch comes again": ("I5", lambda: (with_(of(SendCommitted, attempt_id="att_2")), its_end())),
    "a call without a row": ("I6", lambda: (with_(of(Sent, call=1, part=1, attempt_id=None)), its_end())),
    "two calls of one row": ("I6", lambda: (with_(of(Sent, call=1, part=1)), its_end())),
    "a call after a cancel": (
        "I7",
        lambda: (with_(CancelCommitted(at=40.0, generation_id=GEN), of(SendCommitted, epoch=2)), its_end()),
    ),
    "a call after the deadline": ("I7", lambda: (instead(Sent, late_s=61.0), its_end())),
    "a budget that is not kept": ("I7", lambda: (with_(of(Told, at=500.0), of(Asked, asked_s=5.0)), its_end())),
    "one key, two generations": (
        "I8",
        lambda: (with_(of(Asked, number=2), of(Entered, number=2, generation_id="gen_2")), its_end()),
    ),
    "another request is given it": (
        "I8",
        lambda: (
            with_(
                of(Asked, number=2, body="other", idempotency_key=None),
                of(Entered, number=2, answer="join", by_key=False),
            ),
            its_end(),
        ),
    ),
    "another answer to the repeat": (
        "I8",
        lambda: (with_(of(Asked, number=2), of(Told, number=2, images=("b" * 64,), stored=("b" * 64,))), its_end()),
    ),
    "two join one": (
        "I8",
        lambda: (
            with_(
                of(Asked, number=2, idempotency_key=None),
                of(Entered, number=2, answer="join", by_key=False, waiting=1),
            ),
            its_end(),
        ),
    ),
    "a repeat takes what another has": (
        "I8",
        lambda: (
            with_(
                of(Asked, number=2, idempotency_key=None),
                of(Entered, number=2, answer="replay", by_key=False, is_received=True),
            ),
            its_end(),
        ),
    ),
    "two rows of one key": (
        "I8",
        lambda: (
            a_life(),
            replace(its_end(), generations=(*its_end().generations, replace(its_end().generations[0], id="gen_2"))),
        ),
    ),
    "a file with other bytes": ("I11", lambda: (a_life(), end_with("images", file_sha256="b" * 64))),
    "other bytes are sent": ("I11", lambda: (instead(Told, images=("b" * 64,)), its_end())),
    "an image of another": (
        "I11",
        lambda: (with_(of(Told, number=0, images=("b" * 64,), stored=("b" * 64,))), its_end()),
    ),
    "a gap in the log": (
        "I12",
        lambda: (a_life(), end_with("generations", events=((1, "queued"), (3, "succeeded")))),
    ),
    "a follower misses one": ("I12", lambda: (instead(Followed, numbers=(1, 3)), its_end())),
    "an end that nobody is told": ("I13", lambda: (a_life(), replace(its_end(), deliveries=()))),
    "one end, two ids": ("I13", lambda: (with_(of(Hooked, message_id="msg_2")), its_end())),
    "a webhook without a signature": ("I13", lambda: (instead(Hooked, is_signed=False), its_end())),
    "said to be delivered": ("I13", lambda: (instead(Hooked, status=500), its_end())),
    "due and not sent": ("I13", lambda: (a_life(), end_with("deliveries", is_overdue=True, state="pending"))),
    "a row without its file": ("I14", lambda: (a_life(), end_with("images", file_sha256=None))),
    "a file of what is deleted": (
        "I14",
        lambda: (
            with_(COLLECTED, DELETED),
            end_with("images", state="deleted"),
        ),
    ),
    "a spool that is not empty": ("I14", lambda: (a_life(), replace(its_end(), spooled=("att_1-0.part",)))),
    "a file that no row names": ("I14", lambda: (a_life(), replace(its_end(), strangers=("blobs/…/att_1-0.png",)))),
    "a failure with an image": ("I15", lambda: (instead(Told, code="upstream_failed"), its_end())),
    "a success without one": ("I15", lambda: (a_life(), end_with("images", kind="draft"))),
    "it ends three times": (
        "I16",
        lambda: (
            a_life(),
            end_with("generations", events=((1, "queued"), (2, "succeeded"), (3, "succeeded"), (4, "succeeded"))),
        ),
    ),
    "a log that goes on": (
        "I16",
        lambda: (a_life(), end_with("generations", events=((1, "queued"), (2, "succeeded"), (3, "running")))),
    ),
    "a key with too many calls in flight": (
        "I9",
        lambda: (with_(Crowded(at=1.0, credential="google.test 1", count=3, limit=2)), its_end()),
    ),
    "tasks that linger": ("I17", lambda: (a_life(), replace(its_end(), unrest=("<Engine 1 …>",)))),
    "no is said of a charge": ("I19", lambda: (instead(Told, code="upstream_failed", paid="no", images=()), its_end())),
    "yes is said of none": (
        "I19",
        lambda: ([*without(Charged), of(Told, code="upstream_failed", paid="yes", images=(), stored=())], its_end()),
    ),
    "a secret in the log": ("I20", lambda: (with_(Logged(at=1.0, event="x", detail="it holds a secret")), its_end())),
    "a reference image is gone": ("I14", lambda: (with_(Logged(at=1.0, event="input.lost", detail="…")), its_end())),
    "a mistake of ours": ("I0", lambda: (with_(Logged(at=1.0, event="fault.internal", detail="…")), its_end())),
}


@pytest.mark.parametrize("name", BAD)
def test_what_must_not_happen_is_found(name: str) -> None:
    """Each history differs from the plain call in one thing, and breaks the invariant that forbids it."""
    invariant, make = BAD[name]
    assert invariant in found(*make())


def test_every_check_can_fail() -> None:
    """Each of them finds something in one of the histories above."""
    idle = {each.__name__ for each in CHECKS}
    for _, make in BAD.values():
        events, end = make()
        idle -= {each.__name__ for each in CHECKS if any(True for _ in each(History(events), end, LIMITS))}
    assert idle == set()


@pytest.mark.parametrize(
    ("events", "end"),
    [
        pytest.param(with_(replace(DELETED, wall_s=1031.0)), GONE, id="at the end of retention"),
        pytest.param(with_(COLLECTED, replace(DELETED, wall_s=131.0)), GONE, id="collected, in time"),
        pytest.param(
            with_(replace(COLLECTED, image_id=IMG), replace(COLLECTED, wall_s=499.0), DELETED),
            GONE,
            id="collected twice, the first time counts",
        ),
        pytest.param(
            with_(
                ClockSet(at=40.0, seconds=3600.0),
                Lived(at=50.0, life=2, what="began"),
                replace(DELETED, wall_s=4131.0),
            ),
            GONE,
            id="a new process, after the clock was set",
        ),
    ],
)
def test_a_deletion_in_time_is_none(events: list[Event], end: End) -> None:
    """Retention ends; the checker does not forbid that."""
    assert found(events, end) == []


def test_an_answer_that_broke_off_counts_as_charged() -> None:
    """`paid: yes` is said of it, and the upstream need not have charged."""
    events = [
        *without(Charged),
        Answered(at=31.0, call=0, status=200, is_whole=False),
        of(Told, number=2, code="upstream_failed", paid="yes", images=(), stored=()),
    ]
    assert found([each for each in events if not isinstance(each, Received)]) == []


def test_a_repeat_that_says_so_may_join_whoever_waits() -> None:
    """An SDK counts its repeats: then a caller that looks alive is its own."""
    events = with_(
        of(Asked, number=2, idempotency_key=None),
        of(Entered, number=2, answer="join", by_key=False, says_retry=True, waiting=1, is_received=True),
    )
    assert found(events) == []


def test_a_late_success_ends_a_round_a_second_time() -> None:
    """Failed, then succeeded: two ends in one round, and both are told."""
    events = ((1, "queued"), (2, "running"), (3, "failed"), (4, "stored"), (5, "succeeded"))
    assert found(a_life(), end_with("generations", events=events)) == []
