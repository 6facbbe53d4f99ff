"""Where money goes, by how a generation and its attempts end: the customer's side and the provider's, exactly.

Run on every engine (`database`, in `tests/conftest.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.config import Compensation, CompensationReason
from holdfast.ledger.postings import cost
from holdfast.policy.compensation import STANDARD, Rules, rules_of
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import Booking, give_on, given_on, ledger_of, ledger_sums, post
from holdfast.store.generations import accept, get_generation, left_open, pass_deadline
from holdfast.store.queries import migrations
from holdfast.store.records import AttemptEnd, Ended, GenerationRow, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

LIST, PRICE = 200_000, 240_000
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)


def failed(kind: FailureKind, charge: Charge) -> Failure:
    """A failure that may have cost something."""
    return Failure(kind=kind, phase=Phase.RECEIVE, charge=charge, detail="it failed")


UNPAID = failed(FailureKind.OVERLOADED, Charge.NO)
LOST = failed(FailureKind.LOST_REPLY, Charge.UNKNOWN)
REFUSED = failed(FailureKind.REFUSED_OUTPUT, Charge.YES)
EMPTY = failed(FailureKind.NO_IMAGE, Charge.YES)
SPOILED = failed(FailureKind.MALFORMED, Charge.YES)


def at(second: int, day: int = 17) -> str:
    """A moment of the test's own hour."""
    return f"2026-01-{day}T12:{second // 60:02d}:{second % 60:02d}.000Z"


class Books:
    """One database, and what is done to it."""

    def __init__(self, store: Any) -> None:
        self.run = store.write_sync

    def accept(self, id_: str = "gen_1", *, n: int = 1, parts: int = 1, day: int = 17) -> None:
        """Accept a generation and send all its parts; the attempts are `<id>.<part>`."""
        new = NewGeneration(
            id=id_,
            key_id="key_1",
            surface="openai",
            model="m",
            tier="1K",
            size="1x1",
            n=n,
            parts=parts,
            request=b"{}",
            deadline_at="later",
            hard_deadline=False,
            created_at=at(0, day),
            currency="USD",
            unit_micros=PRICE,
            held_micros=n * PRICE,
            list_micros=LIST,
        )
        self.run(accept, new)
        for part in range(parts):
            attempt = NewAttempt(
                id=f"{id_}.{part}",
                generation_id=id_,
                part=part,
                drive=0,
                upstream="relay" if part else "google",
                provider="gemini",
                model="m",
                idempotency_key=f"{id_}.{part}.0",
                estimated_micros=LIST * n // parts,
                owner="me",
                sent_at=at(1, day),
            )
            self.run(begin_attempt, attempt)

    def end(
        self,
        failure: Failure | None = None,
        *,
        part: int = 0,
        id_: str = "gen_1",
        when: str = at(30),
        images: int = 1,
        cost: int | None = None,
        rules: Rules = STANDARD,
    ) -> Ended:
        """End an attempt with images, or with a failure."""
        attempt_id = f"{id_}.{part}"
        blobs = tuple(
            NewBlob(id=f"img_{attempt_id}.{n}", kind="result", position=n, store_key=f"{attempt_id}.{n}", info=INFO)
            for n in range(0 if failure else images)
        )
        end = AttemptEnd(
            attempt_id=attempt_id, at=when, purge_after="later", blobs=blobs, failure=failure, cost_micros=cost
        )
        ended: Ended = self.run(end_attempt, end, rules)
        return ended

    def row(self, id_: str = "gen_1") -> GenerationRow:
        """The generation as it stands."""
        row: GenerationRow | None = self.run(get_generation, id_)
        assert row is not None
        return row

    def customer(self, id_: str = "gen_1") -> tuple[str, int, int]:
        """State, charge and compensation, as the record tells them."""
        row = self.row(id_)
        return row.state, row.charged_micros, row.compensated_micros

    def balance(self) -> dict[str, int]:
        """Every account that is not at zero."""
        sums = self.run(ledger_sums)
        assert sums.hold
        return {account: micros for account, micros in sums.accounts.items() if micros}

    def verbs(self, id_: str = "gen_1") -> list[str]:
        """What was booked for a generation, in order."""
        return list(dict.fromkeys(verb for verb, _, _ in self.run(ledger_of, id_)))


@pytest.fixture
def books(database: Any) -> Iterator[Books]:
    """An empty database of each implementation; at the end its ledger must hold."""
    made = database.open()
    books = Books(made)
    yield books
    books.balance()
    assert books.run(audit).problems == ()
    made.close()


# The table of outcomes, row by row


def test_a_success_is_captured_and_costs_its_list_price(books: Books) -> None:
    """The margin is what the customer pays above it."""
    books.accept()
    books.end()
    assert books.customer() == ("succeeded", PRICE, 0)
    assert books.balance() == {
        "customer:key_1": PRICE,
        "revenue": -PRICE,
        "provider_cost": LIST,
        "provider:google": -LIST,
    }


def test_a_failure_that_cost_nothing_leaves_no_trace_on_any_account(books: Books) -> None:
    """Void, and nothing on the provider's side."""
    books.accept()
    books.end(UNPAID)
    assert books.customer() == ("failed", 0, 0)
    assert books.balance() == {}
    assert books.verbs() == ["hold", "void"]


def test_an_unknown_charge_is_voided_at_once_and_stands_as_an_exposure(books: Books) -> None:
    """The customer never waits for it; the operator sees what he may owe."""
    books.accept()
    books.end(LOST)
    assert books.customer() == ("failed", 0, 0)
    assert books.balance() == {"unknown_exposure": LIST, "provider:google": -LIST}


@pytest.mark.parametrize(("failure", "reason"), [(REFUSED, "refused"), (EMPTY, "empty"), (SPOILED, "failed")])
def test_a_paid_failure_is_captured_and_given_back_in_one_commit(books: Books, failure: Failure, reason: str) -> None:
    """By default all of it: the customer ends where he began, and both moves can be read."""
    books.accept()
    books.end(failure)
    assert books.customer() == ("failed", PRICE, PRICE)
    assert books.balance() == {
        "revenue": -PRICE,
        "compensation": PRICE,
        "provider_cost": LIST,
        "provider:google": -LIST,
    }
    assert books.verbs() == ["hold", "capture", "compensate", "cost"]
    assert books.run(given_on, "2026-01-17", reason) == PRICE


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_what_the_operator_does_not_give_back_the_customer_pays(books: Books, share: float) -> None:
    """Nothing given back is no transaction at all."""
    books.accept()
    books.end(REFUSED, rules=rules_of([Compensation(when=CompensationReason.REFUSED, share=share)]))
    given = round(PRICE * share)
    assert books.customer() == ("failed", PRICE, given)
    assert books.balance().get("customer:key_1") == PRICE - given
    assert ("compensate" in books.verbs()) == bool(given)


@pytest.mark.parametrize(("second", "given"), [(180, 0), (181, PRICE)])
def test_a_slow_success_is_given_back(books: Books, second: int, given: int) -> None:
    """From acceptance to the end, over 180 s unless set otherwise."""
    books.accept()
    books.end(when=at(second))
    assert books.customer() == ("succeeded", PRICE, given)


def test_of_several_parts_only_what_was_paid_for_is_captured(books: Books) -> None:
    """Each by its own rule; the part that cost nothing, and the one that nobody knows of, are given back."""
    books.accept(n=8, parts=4)
    for part, failure in enumerate((REFUSED, UNPAID, SPOILED, LOST)):
        books.end(failure, part=part, rules=rules_of([Compensation(when=CompensationReason.FAILED, share=0.5)]))
    assert books.customer() == ("failed", 4 * PRICE, 3 * PRICE)
    assert books.balance() == {
        "customer:key_1": PRICE,
        "revenue": -4 * PRICE,
        "compensation": 3 * PRICE,
        "provider_cost": 4 * LIST,
        "unknown_exposure": 2 * LIST,
        "provider:google": -2 * LIST,
        "provider:relay": -4 * LIST,
    }


def test_a_paid_failure_beside_an_image_is_not_the_customer_s(books: Books) -> None:
    """Success captures what is delivered and voids the rest; the cost is booked all the same."""
    books.accept(n=2, parts=2)
    books.end(SPOILED)
    books.end(part=1)
    assert books.customer() == ("succeeded", PRICE, 0)
    assert books.balance()["provider_cost"] == 2 * LIST


def test_a_purchase_that_nobody_knows_of_beside_an_image_is_captured_once(books: Books) -> None:
    """One purchase unknown, another succeeds: exposure and cost."""
    books.accept(n=2, parts=2)
    books.end(LOST)
    books.end(part=1)
    assert books.customer() == ("succeeded", PRICE, 0)
    assert (books.balance()["unknown_exposure"], books.balance()["provider_cost"]) == (LIST, LIST)


def test_a_cancel_with_a_paid_failure_is_the_customer_s_too(books: Books) -> None:
    """Cancelling after sending buys nothing more; what was bought goes by the same rules."""
    books.accept()
    books.run(lambda conn: conn.execute("UPDATE generation SET cancel_requested = 1").rowcount)
    books.end(EMPTY)
    assert books.customer() == ("cancelled", PRICE, PRICE)


def test_a_deadline_captures_what_was_paid_by_then(books: Books) -> None:
    """One part failed and was paid for, another is in flight: its cost is known only when it ends."""
    books.accept(n=2, parts=2)
    books.end(REFUSED)
    row = books.run(pass_deadline, "gen_1", EXCEEDED, at(60), "later", False)
    assert row == books.row()
    assert books.customer() == ("failed", PRICE, PRICE)
    assert books.balance()["provider_cost"] == LIST
    books.end(LOST, part=1)
    assert books.balance()["unknown_exposure"] == LIST


# What comes late, and what was not asked for


@pytest.mark.parametrize("after", ["unknown", "deadline"])
def test_a_late_success_is_free_and_its_cost_is_an_extra(books: Books, after: str) -> None:
    """Whether it had been told as unknown, which is resolved, or was in flight at the deadline."""
    books.accept()
    if after == "unknown":
        books.end(LOST)
    else:
        books.run(pass_deadline, "gen_1", EXCEEDED, at(20), "later", False)
    books.end()
    assert books.customer() == ("succeeded", 0, 0)
    assert books.balance() == {"extra_images": LIST, "provider:google": -LIST}
    assert books.verbs() == ["hold", *(["void", "exposure", "resolve"] if after == "unknown" else ["void", "extra"])]


def test_an_exposure_that_turns_out_while_others_go_on_becomes_a_cost(books: Books) -> None:
    """Its image is delivered and captured with the rest."""
    books.accept(n=2, parts=2)
    books.end(LOST)
    books.end()
    books.end(UNPAID, part=1)
    assert books.customer() == ("succeeded", PRICE, 0)
    assert books.balance() == {
        "customer:key_1": PRICE,
        "revenue": -PRICE,
        "provider_cost": LIST,
        "provider:google": -LIST,
    }


def test_an_exposure_is_resolved_once(books: Books) -> None:
    """A recovery that settles the same spool again writes nothing."""
    books.accept()
    books.end(LOST)
    assert books.end().was_open
    before = books.run(ledger_of, "gen_1")
    assert not books.end().was_open
    assert not books.end(LOST).was_open
    assert books.run(ledger_of, "gen_1") == before


@pytest.mark.parametrize(("failure", "account"), [(SPOILED, "extra_images"), (LOST, "unknown_exposure"), (UNPAID, "")])
def test_a_failure_after_the_end_is_booked_and_changes_nothing_else(
    books: Books, failure: Failure, account: str
) -> None:
    """The customer was told; what it cost, or may have cost, is the operator's."""
    books.accept()
    books.run(pass_deadline, "gen_1", EXCEEDED, at(20), "later", False)
    before = books.row()
    books.end(failure)
    assert books.row() == before
    assert books.balance() == ({account: LIST, "provider:google": -LIST} if account else {})


def test_images_beyond_those_asked_for_are_extras(books: Books) -> None:
    """The upstream's own count says three: one is the customer's."""
    books.accept()
    books.end(cost=3 * LIST)
    assert books.customer() == ("succeeded", PRICE, 0)
    balance = books.balance()
    assert (balance["provider_cost"], balance["extra_images"], balance["provider:google"]) == (
        LIST,
        2 * LIST,
        -3 * LIST,
    )


def test_fewer_images_than_asked_for_cost_less(books: Books) -> None:
    """Two of four, at two list prices."""
    books.accept(n=4)
    books.end(images=2, cost=2 * LIST)
    assert books.customer() == ("succeeded", 2 * PRICE, 0)
    assert books.balance()["provider_cost"] == 2 * LIST


# Exactly once, and caps


def test_the_database_refuses_a_second_booking_of_an_attempt(books: Books, database: Any) -> None:
    """Of one verb; another attempt of the same generation has its own."""
    books.accept(n=2, parts=2)
    books.end()
    with pytest.raises(database.IntegrityError, match=r"(?i)unique"):
        again = Booking(attempt_id="gen_1.0", transactions=(cost("google", LIST),), upstream="google")
        books.run(post, generation_id="gen_1", drive=0, at=at(40), booking=again)
    books.end(part=1)
    assert books.verbs().count("cost") == 1
    assert books.balance()["provider_cost"] == 2 * LIST


def test_a_cap_is_the_rule_s_for_a_day(books: Books) -> None:
    """All generations together; the last one gets what is left, and the next day begins anew."""
    rules = rules_of([Compensation(when=CompensationReason.REFUSED, cap_micros_per_day=PRICE + 1_000)])
    given = []
    for number, day in enumerate((17, 17, 17, 18)):
        id_ = f"gen_{number}"
        books.accept(id_, day=day)
        books.end(REFUSED, id_=id_, when=at(30, day), rules=rules)
        given.append(books.row(id_).compensated_micros)
    assert given == [PRICE, 1_000, 0, PRICE]
    assert books.run(given_on, "2026-01-17", "refused") == PRICE + 1_000
    assert books.run(given_on, "2026-01-17", "slow") == 0
    books.accept("gen_other")
    books.end(EMPTY, id_="gen_other", rules=rules)
    assert books.row("gen_other").compensated_micros == PRICE


def test_what_is_given_on_a_day_adds_up(books: Books) -> None:
    """By reason and day."""
    for micros in (1, 2):
        books.run(give_on, "2026-01-17", "slow", micros)
    books.run(give_on, "2026-01-18", "slow", 5)
    assert [books.run(given_on, f"2026-01-{day}", "slow") for day in (16, 17, 18)] == [0, 3, 5]
    # Nothing was really given: the audit at the end would miss it in the books.
    assert books.run(lambda conn: conn.execute("DELETE FROM compensation_day").rowcount) == 2


def test_attempts_that_outlived_their_generation_are_found(books: Books) -> None:
    """A start ends them: no process has them any more, and what they may have cost must be booked."""
    books.accept("gen_open")
    books.accept("gen_told", n=2, parts=2)
    books.accept("gen_ended")
    books.end(part=0, id_="gen_told")
    books.run(pass_deadline, "gen_told", EXCEEDED, at(20), "later", False)
    books.end(id_="gen_ended")
    assert books.run(left_open) == (("gen_told",), ("gen_open",))
    books.end(LOST, part=1, id_="gen_told")
    assert books.run(left_open) == ((), ("gen_open",))


# A folder of the first schema

BEFORE = """
INSERT INTO generation (id, key_id, surface, model, tier, size, n, state, parts, parts_open, deadline_at, created_at,
  currency, unit_micros, held_micros, late)
SELECT value, 'key_1', 'openai', 'm', '1K', '1x1', 1, 'succeeded', 1, 0, '', '', 'USD', 7, 7, value = 'gen_late'
FROM json_each('["gen_1", "gen_late", "gen_extra", "gen_lost", "gen_paid", "gen_unpaid", "gen_open"]');
INSERT INTO attempt (id, generation_id, part, drive, number, epoch, upstream, provider, model, idempotency_key, state,
  sent_at, ended_at, estimated_micros)
SELECT 'att' || substr(id, 4), id, 0, 0, 1, 1, 'u', 'gemini', 'm', '', CASE id WHEN 'gen_lost' THEN 'unknown'
  WHEN 'gen_paid' THEN 'charged_failed' WHEN 'gen_unpaid' THEN 'rejected' WHEN 'gen_open' THEN 'sent'
  ELSE 'settled' END, 'then', 'then', 7 FROM generation;
INSERT INTO blob (id, generation_id, attempt_id, part, position, kind, store_key, sha256, bytes, mime, width_px,
  height_px)
VALUES ('img_1', 'gen_extra', 'att_extra', 0, 0, 'late', 'k', '', 1, '', 1, 1);
INSERT INTO ledger_txn (kind, generation_id, drive, at)
VALUES ('hold', 'gen_1', 0, 'then'), ('capture', 'gen_1', 0, 'then');
INSERT INTO ledger_entry VALUES (1, 'customer:key_1', 7), (1, 'held', -7), (2, 'held', 7), (2, 'revenue', -7);
INSERT INTO account VALUES ('customer:key_1', 7), ('held', 0), ('revenue', -7);
"""


def test_a_folder_of_the_first_schema_is_brought_up_with_its_books(tmp_path: Path) -> None:
    """What was booked stays as it was, and the provider's side is written for what had ended by then."""
    path = tmp_path / "holdfast.sqlite3"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(f"{migrations()[0]}{BEFORE}PRAGMA user_version = 1;")
    with closing(SqliteStore(path, "next")) as store:
        sums = store.write_sync(ledger_sums)
        assert sums.hold
        assert {account: micros for account, micros in sums.accounts.items() if micros} == {
            "customer:key_1": 7,
            "revenue": -7,
            "provider_cost": 14,
            "extra_images": 14,
            "unknown_exposure": 7,
            "provider:u": -35,
        }
        booked = {id_: [verb for verb, _, _ in store.write_sync(ledger_of, id_)] for id_ in ("gen_1", "gen_lost")}
        assert booked == {"gen_1": ["hold"] * 2 + ["capture"] * 2 + ["cost"] * 2, "gen_lost": ["exposure"] * 2}
        assert store.write_sync(ledger_of, "gen_unpaid") == store.write_sync(ledger_of, "gen_open") == []
        row = store.write_sync(get_generation, "gen_1")
        assert row is not None
        assert (row.list_micros, row.compensated_micros) == (7, 0)
