"""Parts that go on after a failure that was not paid for, and those that are given up: the store's side of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from holdfast.store.attempts import begin_attempt, end_attempt, get_attempt
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_of, ledger_sums
from holdfast.store.exposure import Cap, exposed_on
from holdfast.store.generations import accept, attempts_of, events_of, get_generation, get_record, pass_deadline
from holdfast.store.port import Store
from holdfast.store.records import AttemptEnd, Ended, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

PRICE = 240_000
UNKNOWN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection ended")
UNPAID = Failure(kind=FailureKind.OVERLOADED, phase=Phase.RECEIVE, charge=Charge.NO, detail="busy", status=503)
PAID = Failure(kind=FailureKind.MALFORMED, phase=Phase.DECODE, charge=Charge.YES, detail="cut image", status=200)
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
DECISION = '{"follows":"retry","reason":"lost_reply","after_s":1.5,"to":{"upstream":"u","model":"m","size":"4K"}}'
IMAGE = NewBlob(id="img_1", kind="result", position=0, store_key="blobs/0", info=INFO)


def at(second: int) -> str:
    """A moment of the test's own minute."""
    return f"2026-01-17T12:00:{second:02d}.000Z"


class Bench:
    """One generation, and what is done to it."""

    def __init__(self, store: Store) -> None:
        self.run: Any = store.write_sync

    def accept(self, *, parts: int = 1) -> None:
        """Accept a generation of so many parts, an image each."""
        new = NewGeneration(
            id="gen_1",
            key_id="key_1",
            surface="openai",
            model="nano-banana-pro",
            tier="4K",
            size="4096x4096",
            n=parts,
            parts=parts,
            request=b"{}",
            deadline_at=at(59),
            hard_deadline=False,
            created_at=at(0),
            currency="USD",
            unit_micros=PRICE,
            held_micros=parts * PRICE,
        )
        self.run(accept, new)

    def begin(self, part: int = 0, *, id_: str | None = None, second: int = 1, drive: int = 0, **changes: Any) -> Any:
        """Make the sending commit of one part; `att_<part>` unless named otherwise."""
        values: dict[str, Any] = {
            "id": id_ or f"att_{part}",
            "generation_id": "gen_1",
            "part": part,
            "drive": drive,
            "upstream": "google",
            "provider": "gemini",
            "model": "gemini-3-pro-image",
            "idempotency_key": f"gen_1.{part}.{drive}",
            "estimated_micros": PRICE,
            "owner": "me",
            "sent_at": at(second),
        }
        return self.run(begin_attempt, NewAttempt(**values | changes))

    def end(self, part: int = 0, **overrides: Any) -> Ended:
        """Make the settling commit of one part's attempt."""
        values = {"attempt_id": f"att_{part}", "at": at(30), "purge_after": at(50)} | overrides
        ended: Ended = self.run(end_attempt, AttemptEnd(**values))
        return ended

    def change(self, what: str) -> None:
        """Change the generation's row."""
        assert self.run(lambda conn: conn.execute(f"UPDATE generation SET {what}").rowcount) == 1

    def row(self) -> Any:
        """The generation as it stands."""
        return self.run(get_generation, "gen_1")


@pytest.fixture
def bench(database: Any) -> Bench:
    """An empty store of each engine."""
    return Bench(database.open())


def test_a_failure_that_is_tried_again_leaves_its_part_open(bench: Bench) -> None:
    """One commit: the attempt is rejected and says when its part goes on; nothing is resolved, nothing is told."""
    bench.accept()
    bench.begin()
    assert bench.end(failure=UNPAID, retry_at=at(40)) == Ended(was_open=True, goes_on=True)
    row, (attempt,) = bench.row(), bench.run(attempts_of, "gen_1")
    assert (row.state, row.parts_open, row.sequence_number) == ("running", 1, 3)
    assert (attempt.state, attempt.charge, attempt.retry_at) == ("rejected", "no", at(40))
    event = bench.run(events_of, "gen_1")[-1]
    assert (event.type, json.loads(event.data)) == (
        "progress",
        {"part": 0, "failed": "overloaded", "retry_at": at(40)},
    )
    assert {verb for verb, _, _ in bench.run(ledger_of, "gen_1")} == {"hold"}
    assert bench.begin(id_="att_again", second=41) == 2
    bench.end(attempt_id="att_again", blobs=(IMAGE,))
    assert (bench.row().state, [each.number for each in bench.run(attempts_of, "gen_1")]) == ("succeeded", [1, 2])
    assert bench.run(ledger_sums).hold


def test_the_second_telling_of_a_failure_changes_nothing(bench: Bench) -> None:
    """The answer of the commit was lost, and it is made again."""
    bench.accept()
    bench.begin()
    bench.end(failure=UNPAID, retry_at=at(40))
    before = bench.run(get_record, "gen_1")
    assert bench.end(failure=UNPAID, retry_at=at(45)) == Ended(was_open=False)
    assert bench.run(get_record, "gen_1") == before


def test_nothing_goes_on_that_is_to_be_cancelled(bench: Bench) -> None:
    """The cancel came first: the part ends with the attempt, which says of no other."""
    bench.accept()
    bench.begin()
    bench.change("cancel_requested = 1")
    ended = bench.end(failure=UNPAID, retry_at=at(40))
    assert (ended.goes_on, bench.row().state) == (False, "cancelled")
    assert bench.run(get_attempt, "att_0").retry_at is None


def test_nothing_goes_on_that_has_ended(bench: Bench) -> None:
    """Its deadline was told meanwhile."""
    bench.accept()
    bench.begin()
    bench.run(pass_deadline, "gen_1", EXCEEDED, at(20), at(40), False)
    assert bench.end(failure=UNPAID, retry_at=at(40)) == Ended(was_open=True)
    assert bench.run(get_attempt, "att_0").retry_at is None


def test_only_what_was_surely_not_paid_for_goes_on() -> None:
    """Our own mistake is found where it is made: paid never, possibly paid only under a cap, an image never."""
    usual: dict[str, Any] = {"attempt_id": "att_0", "at": at(1), "purge_after": at(2), "retry_at": at(3)}
    with pytest.raises(AssertionError, match="paid for is not bought again"):
        AttemptEnd(**usual, failure=PAID, cap=Cap(model="m", micros=PRICE))
    with pytest.raises(AssertionError, match="only under a cap"):
        AttemptEnd(**usual, failure=UNKNOWN)
    with pytest.raises(AssertionError, match="is not tried again"):
        AttemptEnd(**usual, blobs=(IMAGE,))


def test_what_may_have_been_paid_for_goes_on_under_its_cap(bench: Bench) -> None:
    """Its possible cost is booked at once; the image of the second attempt is charged once."""
    bench.accept()
    bench.begin()
    ended = bench.end(failure=UNKNOWN, retry_at=at(40), decision=DECISION, cap=Cap(model="m", micros=PRICE))
    assert ended == Ended(was_open=True, goes_on=True)
    (attempt,) = bench.run(attempts_of, "gen_1")
    assert (attempt.state, attempt.retry_at, attempt.decision) == ("unknown", at(40), DECISION)
    assert bench.run(exposed_on, at(0)[:10], "m") == PRICE
    assert (bench.row().state, bench.row().parts_open) == ("running", 1)
    bench.begin(id_="att_again", second=41)
    bench.end(attempt_id="att_again", blobs=(IMAGE,))
    assert (bench.row().state, bench.row().charged_micros) == ("succeeded", PRICE)
    verbs = [(verb, micros) for verb, account, micros in bench.run(ledger_of, "gen_1") if account == "provider:google"]
    assert verbs == [("exposure", -PRICE), ("cost", -PRICE)]
    assert bench.run(ledger_sums).hold
    assert bench.run(audit).problems == ()


def test_what_does_not_fit_under_the_cap_ends_with_that_commit(bench: Bench) -> None:
    """The part is told as unknown, and the decision says what stood in the way."""
    bench.accept()
    bench.begin()
    ended = bench.end(failure=UNKNOWN, retry_at=at(40), decision=DECISION, cap=Cap(model="m", micros=PRICE - 1))
    assert (ended.goes_on, bench.row().state, bench.row().told.code) == (False, "failed", "outcome_unknown")
    (attempt,) = bench.run(attempts_of, "gen_1")
    assert attempt.retry_at is None
    told = json.loads(attempt.decision)
    assert (told["follows"], told["reason"], told["to"]) == ("give_up", "exposure_spent", None)
    assert bench.run(exposed_on, at(0)[:10], "m") == 0


def test_a_cancel_keeps_the_decision_from_being_carried_out(bench: Bench) -> None:
    """And costs the day nothing of its cap."""
    bench.accept()
    bench.begin()
    bench.change("cancel_requested = 1")
    bench.end(failure=UNKNOWN, retry_at=at(40), decision=DECISION, cap=Cap(model="m", micros=PRICE))
    assert json.loads(bench.run(get_attempt, "att_0").decision)["reason"] == "cancelled"
    assert bench.run(exposed_on, at(0)[:10], "m") == 0


def test_what_served_at_a_lower_price_is_charged_at_that(bench: Bench) -> None:
    """Of two parts one came from another model at half the price, one from a dearer one: never more than asked."""
    bench.accept(parts=2)
    bench.begin(0, unit_micros=PRICE // 2, list_micros=PRICE // 2, estimated_micros=PRICE // 2)
    bench.begin(1, unit_micros=3 * PRICE, list_micros=3 * PRICE, estimated_micros=3 * PRICE)
    bench.end(0, blobs=(IMAGE,))
    bench.end(1, blobs=(replace(IMAGE, id="img_2", store_key="blobs/1"),))
    assert (bench.row().state, bench.row().charged_micros) == ("succeeded", PRICE // 2 + PRICE)
    costs = [micros for verb, account, micros in bench.run(ledger_of, "gen_1") if account == "provider_cost"]
    assert costs == [PRICE // 2, 3 * PRICE]
    assert bench.run(audit).problems == ()


def test_a_paid_failure_of_a_cheaper_model_costs_its_price(bench: Bench) -> None:
    """Charged as what it was, and given back by rule."""
    bench.accept()
    bench.begin(unit_micros=PRICE // 2, list_micros=PRICE // 2, estimated_micros=PRICE // 2)
    bench.end(failure=PAID)
    row = bench.row()
    assert (row.state, row.charged_micros, row.compensated_micros) == ("failed", PRICE // 2, PRICE // 2)


def test_an_attempt_of_an_older_drive_is_not_sent(bench: Bench) -> None:
    """Its task woke late: the generation has been driven again since."""
    bench.accept()
    bench.change("drive = 1")
    assert bench.begin(drive=0) is None
    assert bench.run(attempts_of, "gen_1") == ()
    assert bench.begin(drive=1) == 1


def test_a_deadline_awaits_what_is_in_flight_and_nothing_else_is_sent(bench: Bench) -> None:
    """Of three parts one is in flight: the others are given up, however late their tasks wake."""
    bench.accept(parts=3)
    bench.begin(0)
    for _ in range(2):
        assert bench.run(pass_deadline, "gen_1", EXCEEDED, at(20), at(40), True) is None
        assert (bench.row().state, bench.row().parts_open) == ("running", 1)
    assert bench.begin(1) is None
    ended = bench.end(0, failure=UNPAID)
    assert ended.finished is not None
    told = bench.row().told
    assert told is not None
    assert (bench.row().state, told.code, told.charge) == ("failed", "overloaded", "no")


def test_a_deadline_of_an_older_drive_ends_nothing(bench: Bench) -> None:
    """Its timer had rung before the generation was driven again."""
    bench.accept()
    bench.change("drive = 1")
    before = bench.row()
    assert bench.run(lambda conn: pass_deadline(conn, "gen_1", EXCEEDED, at(20), at(40), False, drive=0)) is None
    assert bench.row() == before
