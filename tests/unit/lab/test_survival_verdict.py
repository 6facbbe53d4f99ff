"""Every way in which an image can be lost, or a caller told something untrue, is seen; and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

GEN = "gen_1"


class Case:
    """Builds what `judge` is given, about one order unless told otherwise."""

    def __init__(self, verdict: ModuleType) -> None:
        self._module = verdict

    def told(self, end: str = "image", number: int = 1, **fields: Any) -> Any:
        """A caller's end; a picture of its own if it has one."""
        picture = {"sha256": f"sha-{number}", "serial": f"serial-{number}"} if end == "image" else {}
        known = {"number": number, "kind": "keyed", "end": self._module.End(end), "tries": 1, **picture}
        return self._module.Told(**(known | fields))

    def charge(self, outcome: str = "made", micros: int = 134_000, generation_id: str | None = GEN) -> Any:
        """A line of the upstream's books."""
        return self._module.Charge(kind="keyed", outcome=outcome, micros=micros, generation_id=generation_id)

    def generation(self, state: str = "succeeded", number: int = 1, **fields: Any) -> Any:
        """A record of the gateway's; a success has its order's picture."""
        is_made = state == "succeeded"
        known = {
            "id": GEN,
            "number": number,
            "kind": "keyed",
            "state": state,
            "attempts": ("settled",) if is_made else ("unknown",),
            "images": (f"sha-{number}",) if is_made else (),
        }
        return self._module.Generation(**(known | fields))

    def judge(
        self, told: list[Any], charges: list[Any], generations: list[Any] | None = None, **fetched: set[str]
    ) -> Any:
        """Hold it against each other."""
        found = {id_: frozenset(pictures) for id_, pictures in fetched.items()}
        return self._module.judge(told, charges, generations or [], found)


@pytest.fixture
def case(verdict: ModuleType) -> Case:
    """Give the builder."""
    return Case(verdict)


def figures(judged: Any, *names: str) -> tuple[Any, ...]:
    """Read figures of all callers together."""
    of_all = judged.total.of_all()
    return tuple(of_all[name] for name in names)


def test_a_delivered_image_is_no_problem(case: Case) -> None:
    """One order, one purchase, one picture in hand."""
    judged = case.judge([case.told()], [case.charge()], [case.generation()])
    assert judged.problems == ()
    assert figures(judged, "images", "charges_per_image", "images_missed", "lost") == (1, 1.0, 0, 0)
    assert figures(judged, "accepted", "succeeded", "collected_share", "collected_share_of_known") == (1, 1, 1.0, 1.0)


def test_an_image_that_is_fetched_afterwards_is_not_lost_and_is_counted_apart(case: Case) -> None:
    """Its caller gave up; the gateway kept it."""
    told = [case.told("nothing")]
    judged = case.judge(told, [case.charge()], [case.generation()], gen_1={"sha-1"})
    assert judged.problems == ()
    assert figures(judged, "images", "nothing", "fetched", "lost", "images_missed") == (0, 1, 1, 0, 0)
    assert figures(judged, "images_share", "in_hand_share", "collected_share_of_known") == (0.0, 1.0, 1.0)


def test_a_stored_image_that_cannot_be_fetched_is_lost(case: Case) -> None:
    """Whatever the record says of it."""
    judged = case.judge([case.told("nothing")], [case.charge()], [case.generation()])
    assert figures(judged, "lost", "images_missed", "unknown_images", "collected_share_of_known") == (1, 1, 0, 0.0)
    assert "1 stored pictures cannot be fetched" in judged.problems[0]


def test_an_image_of_a_call_whose_outcome_is_unknown_is_counted_apart(case: Case) -> None:
    """It was made and paid for, and the record does not claim to know."""
    record = case.generation("failed", code="outcome_unknown", paid="unknown")
    judged = case.judge([case.told("told", code="outcome_unknown", paid="unknown")], [case.charge()], [record])
    assert judged.problems == ()
    assert figures(judged, "unknown", "unknown_images", "lost", "images_missed") == (1, 1, 0, 1)
    assert figures(judged, "collected_share", "collected_share_of_known") == (0.0, None)


def test_an_unknown_outcome_without_an_image_costs_none(case: Case) -> None:
    """The upstream had not made it."""
    record = case.generation("failed", paid="unknown")
    judged = case.judge([case.told("told", paid="unknown")], [case.charge("failed", 0)], [record])
    assert figures(judged, "unknown", "unknown_images", "images_missed") == (1, 0, 0)


def test_more_charges_than_attempts_can_explain_are_a_loss(case: Case) -> None:
    """A call was sent that no record knows, or told as unpaid."""
    record = case.generation("failed", attempts=("rejected",), paid="unknown")
    judged = case.judge([case.told("told", paid="unknown")], [case.charge()], [record])
    assert figures(judged, "lost", "unknown_images") == (1, 0)
    assert "charged 1 times, its attempts are {'rejected': 1}" in judged.problems[0]


def test_two_charges_for_one_attempt_are_a_loss(case: Case) -> None:
    """The second was sent without a commit."""
    judged = case.judge([case.told()], [case.charge(), case.charge()], [case.generation()])
    assert figures(judged, "lost", "images_missed", "charges_per_image") == (1, 1, 2.0)


def test_a_charge_without_a_record_is_a_loss(case: Case) -> None:
    """Sent before it was accepted, or forgotten."""
    judged = case.judge([case.told()], [case.charge(), case.charge(generation_id="gen_2")], [case.generation()])
    assert figures(judged, "lost") == (1,)
    assert "gen_2, of which there is no record" in judged.problems[0]


def test_an_answer_that_the_upstream_broke_off_is_counted_apart(case: Case) -> None:
    """It is on record as paid; the image never came whole."""
    record = case.generation("failed", attempts=("charged_failed",), paid="yes")
    judged = case.judge([case.told("told", paid="yes")], [case.charge()], [record])
    assert judged.problems == ()
    assert figures(judged, "broken", "lost", "unknown_images") == (1, 0, 0)


def test_a_refusal_that_is_charged_is_no_image(case: Case) -> None:
    """Neither one that is missed nor one that broke off."""
    record = case.generation("failed", attempts=("charged_failed",), paid="yes")
    judged = case.judge([case.told("told", paid="yes")], [case.charge("refused")], [record])
    assert judged.problems == ()
    assert figures(judged, "charges_other", "charges_images", "broken", "lost", "images_missed") == (1, 0, 0, 0, 0)


def test_a_second_purchase_after_an_unknown_one_is_seen_in_the_charges(case: Case) -> None:
    """One image in hand, two paid for, one of them unknown."""
    record = case.generation(attempts=("unknown", "settled"))
    judged = case.judge([case.told()], [case.charge(), case.charge()], [record])
    assert judged.problems == ()
    assert figures(judged, "charges_per_image", "unknown_images", "lost", "unknown") == (2.0, 1, 0, 0)


def test_a_repeat_that_did_not_join_is_surplus_and_its_image_extra(case: Case) -> None:
    """Kept, fetched, and not counted as a second image in hand."""
    second = case.generation(id="gen_2", images=("sha-other",))
    charges = [case.charge(), case.charge(generation_id="gen_2")]
    judged = case.judge([case.told()], charges, [case.generation(), second], gen_2={"sha-other"})
    assert judged.problems == ()
    assert figures(judged, "surplus", "extra", "fetched", "images_missed", "charges_per_image") == (1, 1, 0, 0, 2.0)


def test_a_generation_without_an_end_is_a_problem(case: Case) -> None:
    """For ever running."""
    judged = case.judge([case.told("nothing")], [], [case.generation("running", attempts=("sent",), images=())])
    assert figures(judged, "unended", "collected_share_of_known") == (1, 0.0)
    assert "has no end: running" in judged.problems[0]


def test_a_success_without_an_image_is_a_problem(case: Case) -> None:
    """Said to be one by the record."""
    judged = case.judge([case.told("nothing")], [], [case.generation(attempts=(), images=())])
    assert "succeeded without an image" in judged.problems[0]


@pytest.mark.parametrize(("said", "charges"), [("no", 1), ("yes", 0)])
def test_a_record_that_says_otherwise_than_the_upstreams_books_is_dishonest(
    case: Case, said: str, charges: int
) -> None:
    """Both ways; `unknown` is true of everything."""
    record = case.generation("failed", paid=said)
    judged = case.judge([case.told("nothing")], [case.charge()] * charges, [record])
    assert figures(judged, "dishonest") == (1,)
    assert f"told paid={said}, charged {charges} times" in judged.problems[0]
    unsure = case.judge([case.told("nothing")], [case.charge()] * charges, [case.generation("failed", paid="unknown")])
    assert figures(unsure, "dishonest") == (0,)


def test_a_caller_who_is_told_otherwise_than_the_record_is_dishonest_too(case: Case) -> None:
    """The record learned of the charge; its caller was told that there is none."""
    record = case.generation("failed", paid="unknown")
    answer = case.told("told", paid="no", generation_id=GEN)
    judged = case.judge([answer], [case.charge()], [record])
    assert figures(judged, "dishonest") == (1,)


def test_a_false_success_is_a_problem(case: Case) -> None:
    """The worst of all."""
    judged = case.judge([case.told("wrong", error="200 with []")], [])
    assert figures(judged, "wrong", "images") == (1, 0)
    assert "order 1 was told that all went well, without its picture: 200 with []" in judged.problems


def test_two_orders_with_the_same_picture_are_a_problem(case: Case) -> None:
    """The upstream makes none twice."""
    judged = case.judge([case.told(serial="same"), case.told(number=2, serial="same")], [])
    assert judged.problems == ("orders 1 and 2 were given the same picture",)


def test_a_picture_of_anothers_generation_is_a_problem(case: Case) -> None:
    """It came whole, and is not what was asked."""
    told = [case.told(sha256="sha-2"), case.told("nothing", number=2)]
    records = [case.generation(), case.generation(number=2, id="gen_2")]
    judged = case.judge(told, [], records, gen_1={"sha-1"}, gen_2={"sha-2"})
    assert "order 1 holds a picture that its generations do not have" in judged.problems


def test_without_a_gateway_every_charge_that_nobody_has_is_missed(case: Case) -> None:
    """There are no records to tell why."""
    charges = [case.charge(generation_id=None) for _ in range(3)]
    judged = case.judge([case.told(), case.told("nothing", number=2)], charges)
    names = ("charges_images", "images_missed", "unknown_images", "lost", "charges_per_image", "collected_share")
    assert figures(judged, *names) == (3, 2, 0, 0, 3.0, None)
    assert judged.problems == ()


def test_kinds_are_counted_apart_and_add_up(case: Case) -> None:
    """The total is their sum."""
    told = [case.told(), case.told("told", number=2, kind="sdk", code="overloaded")]
    judged = case.judge(told, [case.charge(generation_id=None)])
    assert judged.kinds["keyed"].images == judged.total.images == 1
    assert judged.kinds["sdk"].told == judged.total.told == 1
    assert judged.total.asked == 2


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda case: case.told("told", code="overloaded", paid="no"), "told overloaded, paid no"),
        (lambda case: case.told("told", status=502), "told 502"),
        (lambda case: case.told("nothing", error="ReadTimeout"), "nothing: ReadTimeout"),
        (lambda case: case.told("wrong", error="3 bytes"), "wrong: 3 bytes"),
    ],
)
def test_causes_are_told_in_a_word(case: Case, verdict: ModuleType, make: Callable[[Case], Any], cause: str) -> None:
    """And counted."""
    assert verdict.cause_of(make(case)) == cause
    judged = case.judge([make(case), case.told(number=2)], [])
    assert judged.causes == {cause: 1}


def test_nothing_divided_by_nothing_is_no_share(verdict: ModuleType) -> None:
    """And not a perfect one."""
    assert verdict.share(0, 0) is None
    assert verdict.Tally().of_all()["charges_per_image"] is None
