"""Generations at rest: the accepting commit, the log, deadlines, what a start takes over.

Run on every engine (`database`, in `tests/conftest.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from holdfast import generation
from holdfast.generation import GaveUp, State
from holdfast.ledger.postings import capture, hold, void
from holdfast.policy.retention import Retention
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.bookkeeping import ledger_of, ledger_sums, post
from holdfast.store.generations import (
    accept,
    attempts_of,
    blobs_of,
    end_generation,
    events_of,
    get_generation,
    get_record,
    get_records,
    insert_event,
    left_open,
    mark_received,
    pass_deadline,
    record_event,
    take_over,
)
from holdfast.store.records import AttemptEnd, GenerationRow, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.retention import Receipt
from holdfast.types import Charge, ImageInfo

T = TypeVar("T")
PRICE = 240_000
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)


class Database(Protocol):
    """Runs a function of the store in a transaction of its own."""

    def write_sync(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run and commit, or raise and leave nothing."""
        ...


@pytest.fixture
def db(database: Any) -> Iterator[Database]:
    """An empty database of each implementation."""
    made = database.open()
    yield made
    made.close()


def at(second: int) -> str:
    """A moment of the test's own minute."""
    return f"2026-01-17T12:00:{second:02d}.000Z"


def a_generation(id_: str = "gen_1", **overrides: Any) -> NewGeneration:
    """A generation of one 4K image, with what matters to a test changed."""
    values: dict[str, Any] = {
        "id": id_,
        "key_id": "key_1",
        "surface": "openai",
        "model": "nano-banana-pro",
        "tier": "4K",
        "size": "4096x4096",
        "n": 1,
        "parts": 1,
        "request": b"{}",
        "deadline_at": at(59),
        "hard_deadline": False,
        "created_at": at(0),
        "currency": "USD",
        "unit_micros": PRICE,
        "held_micros": PRICE,
    }
    return NewGeneration(**values | overrides)


def an_attempt(id_: str = "att_1", generation_id: str = "gen_1", part: int = 0, **overrides: Any) -> NewAttempt:
    """A first try, with what matters to a test changed."""
    values: dict[str, Any] = {
        "id": id_,
        "generation_id": generation_id,
        "part": part,
        "drive": 0,
        "upstream": "google",
        "provider": "gemini",
        "model": "gemini-3-pro-image",
        "idempotency_key": f"{generation_id}.{part}.0",
        "estimated_micros": PRICE,
        "owner": "me",
        "sent_at": at(1),
    }
    return NewAttempt(**values | overrides)


def images(attempt_id: str, count: int = 1) -> AttemptEnd:
    """An attempt that brought results."""
    info = ImageInfo(mime="image/png", width_px=4096, height_px=4096, bytes=20_000_000, sha256="ab" * 32)
    blobs = tuple(
        NewBlob(id=f"img_{attempt_id}_{n}", kind="result", position=n, store_key=f"blobs/{attempt_id}-{n}", info=info)
        for n in range(count)
    )
    return AttemptEnd(attempt_id=attempt_id, at=at(30), purge_after=at(50), blobs=blobs)


def test_accepting_writes_the_row_the_hold_and_the_first_event(db: Database) -> None:
    """One commit: a generation never stands without its hold, and is found with all that it was asked for."""
    new = a_generation(n=4, parts=2, held_micros=4 * PRICE, traceparent="00-trace", hard_deadline=True)
    db.write_sync(accept, new)
    row = db.write_sync(get_generation, "gen_1")
    assert row is not None
    for name in ("id", "key_id", "surface", "model", "tier", "size", "n", "parts", "request", "deadline_at"):
        assert getattr(row, name) == getattr(new, name), name
    assert (row.created_at, row.currency, row.unit_micros, row.held_micros) == (at(0), "USD", PRICE, 4 * PRICE)
    assert (row.state, row.epoch, row.drive, row.parts_open, row.hard_deadline) == ("queued", 0, 0, 2, 1)
    assert (row.started_at, row.finished_at, row.answered_at, row.collected_at, row.told) == (None,) * 5
    assert (row.charged_micros, row.partial_result, row.late, row.cancel_requested) == (0, 0, 0, 0)
    assert db.write_sync(ledger_of, "gen_1") == [("hold", "customer:key_1", 4 * PRICE), ("hold", "held", -4 * PRICE)]
    (event,) = db.write_sync(events_of, "gen_1")
    assert (event.sequence_number, event.type, event.at, event.data) == (1, "queued", at(0), None)


def test_the_same_generation_is_accepted_once(db: Database, database: Any) -> None:
    """A second try of the same id is refused whole: no second hold, no second event."""
    db.write_sync(accept, a_generation())
    with pytest.raises(database.IntegrityError):
        db.write_sync(accept, a_generation())
    assert len(db.write_sync(ledger_of, "gen_1")) == 2
    assert len(db.write_sync(events_of, "gen_1")) == 1


def test_what_is_not_there_is_none(db: Database) -> None:
    """A stranger's id is answered with nothing, not with an error of the database."""
    assert db.write_sync(get_generation, "gen_none") is None
    assert db.write_sync(get_record, "gen_none") is None
    assert db.write_sync(attempts_of, "gen_none") == ()
    assert db.write_sync(blobs_of, "gen_none") == ()
    assert db.write_sync(events_of, "gen_none") == ()
    assert db.write_sync(ledger_of, "gen_none") == []
    assert db.write_sync(pass_deadline, "gen_none", EXCEEDED, at(1), at(9), False) is None


def test_events_are_numbered_without_a_gap_for_each_generation(db: Database) -> None:
    """Whoever reads on from a number misses nothing; a write that failed leaves no hole."""

    def fails(conn: Any) -> None:
        record_event(conn, "gen_1", "progress", at=at(2))
        raise KeyError("after all")

    for id_ in ("gen_1", "gen_2"):
        db.write_sync(accept, a_generation(id_))
    db.write_sync(record_event, "gen_1", "progress", at=at(1), data={"part": 0, "upstream": "google"})
    with pytest.raises(KeyError):
        db.write_sync(fails)
    db.write_sync(record_event, "gen_2", "progress", at=at(3))
    db.write_sync(record_event, "gen_1", "progress", at=at(4))
    events = db.write_sync(events_of, "gen_1")
    assert [event.sequence_number for event in events] == [1, 2, 3]
    assert [event.at for event in events] == [at(0), at(1), at(4)]
    assert json.loads(events[1].data or "") == {"part": 0, "upstream": "google"}
    assert [event.sequence_number for event in db.write_sync(events_of, "gen_2")] == [1, 2]
    row = db.write_sync(get_generation, "gen_1")
    assert row is not None
    assert row.sequence_number == 3


def test_a_record_has_all_that_belongs_to_it(db: Database) -> None:
    """Attempts by number, images by part and position, nothing of its neighbour."""
    for id_ in ("gen_1", "gen_2"):
        db.write_sync(accept, a_generation(id_, n=4, parts=2, held_micros=4 * PRICE))
    for id_, gen, part in [("att_b", "gen_1", 1), ("att_x", "gen_2", 0), ("att_a", "gen_1", 0)]:
        db.write_sync(begin_attempt, an_attempt(id_, gen, part))
    db.write_sync(end_attempt, images("att_b", 2))
    db.write_sync(end_attempt, images("att_a", 2))
    record = db.write_sync(get_record, "gen_1")
    assert record is not None
    assert [(attempt.id, attempt.number) for attempt in record.attempts] == [("att_b", 1), ("att_a", 2)]
    assert [(blob.part, blob.position, blob.attempt_id) for blob in record.results] == [
        (0, 0, "att_a"),
        (0, 1, "att_a"),
        (1, 0, "att_b"),
        (1, 1, "att_b"),
    ]
    assert record.generation.state == "succeeded"


def test_a_start_takes_over_what_is_open_and_nothing_else(db: Database) -> None:
    """Every open epoch goes up by one, so that no earlier owner can send; what ended is left alone."""
    for id_, created in [("gen_ended", 0), ("gen_queued", 3), ("gen_running", 2), ("gen_b", 1), ("gen_a", 1)]:
        db.write_sync(accept, a_generation(id_, created_at=at(created)))
    db.write_sync(begin_attempt, an_attempt("att_1", "gen_running"))
    db.write_sync(pass_deadline, "gen_ended", EXCEEDED, at(5), at(9), False)
    assert db.write_sync(take_over, "next") == 4
    _, ids = db.write_sync(left_open)
    # Who waited longest comes first; of two of the same instant, the smaller id.
    assert ids == ("gen_a", "gen_b", "gen_running", "gen_queued")
    records = db.write_sync(get_records, (*ids, "gen_never"))
    assert tuple(record.generation.id for record in records) == ids
    assert [record.generation.epoch for record in records] == [1, 1, 2, 1]
    assert [len(record.attempts) for record in records] == [0, 0, 1, 0]
    ended = db.write_sync(get_generation, "gen_ended")
    assert ended is not None
    assert ended.epoch == 0


def test_a_deadline_in_the_queue_is_free(db: Database) -> None:
    """Nothing was sent: failed, told, voided; and it ends once."""
    db.write_sync(accept, a_generation())
    row = db.write_sync(pass_deadline, "gen_1", EXCEEDED, at(20), at(40), True)
    assert row is not None
    assert (row.state, row.told, row.finished_at, row.purge_after) == ("failed", EXCEEDED, at(20), at(40))
    assert (row.charged_micros, row.partial_result) == (0, 0)
    assert db.write_sync(ledger_of, "gen_1")[2:] == [("void", "customer:key_1", -PRICE), ("void", "held", PRICE)]
    assert [event.type for event in db.write_sync(events_of, "gen_1")] == ["queued", "failed"]
    assert db.write_sync(pass_deadline, "gen_1", EXCEEDED, at(21), at(41), False) is None
    assert db.write_sync(get_generation, "gen_1") == row


def test_a_deadline_awaits_what_is_in_flight_while_its_caller_waits(db: Database) -> None:
    """It stops new attempts only; once the caller is gone, or had named the time himself, it ends."""
    db.write_sync(accept, a_generation())
    db.write_sync(begin_attempt, an_attempt())
    assert db.write_sync(pass_deadline, "gen_1", EXCEEDED, at(20), at(40), True) is None
    still = db.write_sync(get_generation, "gen_1")
    assert still is not None
    assert still.state == "running"
    row = db.write_sync(pass_deadline, "gen_1", EXCEEDED, at(25), at(45), False)
    assert row is not None
    assert (row.state, row.told) == ("failed", EXCEEDED)
    # The attempt itself goes on: its image is still welcome.
    (attempt,) = db.write_sync(attempts_of, "gen_1")
    assert (attempt.state, attempt.ended_at) == ("sent", None)


def test_a_deadline_with_some_images_is_a_partial_success(db: Database) -> None:
    """What is there is delivered and charged, the rest is given back, and the record says that it is not all."""
    db.write_sync(accept, a_generation(n=3, parts=3, held_micros=3 * PRICE))
    for part in range(3):
        db.write_sync(begin_attempt, an_attempt(f"att_{part}", part=part))
    db.write_sync(end_attempt, images("att_1"))
    row = db.write_sync(pass_deadline, "gen_1", EXCEEDED, at(25), at(45), False)
    assert row is not None
    assert (row.state, row.told, row.charged_micros, row.partial_result) == ("succeeded", None, PRICE, 1)
    assert sorted(line for line in db.write_sync(ledger_of, "gen_1") if line[0] == "capture") == [
        ("capture", "customer:key_1", -2 * PRICE),
        ("capture", "held", 3 * PRICE),
        ("capture", "revenue", -PRICE),
    ]


def test_an_end_is_written_once_however_often_it_is_tried(db: Database, database: Any) -> None:
    """Two that read the same open row and both end it: the second is refused, and posts nothing."""
    db.write_sync(accept, a_generation())
    row = db.write_sync(get_generation, "gen_1")
    assert row is not None
    gone = generation.apply(State.QUEUED, GaveUp(code="internal_error", charge=Charge.NO))
    ended = db.write_sync(end_generation, row, gone, at=at(5), purge_after=at(9), told=EXCEEDED)
    assert ended.state == "failed"
    # Where all that is written goes as one, the number of its event may be what is refused.
    with pytest.raises((AssertionError, database.IntegrityError), match=r"ends once|(?i:unique)"):
        db.write_sync(end_generation, row, gone, at=at(6), purge_after=at(9), told=EXCEEDED)
    assert len(db.write_sync(ledger_of, "gen_1")) == 4
    assert len(db.write_sync(events_of, "gen_1")) == 2


def test_an_end_is_refused_if_anything_was_written_since_its_row_was_read(db: Database, database: Any) -> None:
    """It is made of that row: were it older than the log, the end would undo what came between."""
    db.write_sync(accept, a_generation())
    row = db.write_sync(get_generation, "gen_1")
    assert row is not None
    db.write_sync(record_event, "gen_1", "progress", at=at(3))
    gone = generation.apply(State.QUEUED, GaveUp(code="internal_error", charge=Charge.NO))
    # Where all that is written goes as one, the number of its event may be what is refused.
    with pytest.raises((AssertionError, database.IntegrityError), match=r"ends once|(?i:unique)"):
        db.write_sync(end_generation, row, gone, at=at(5), purge_after=at(9), told=EXCEEDED)
    assert db.write_sync(ledger_of, "gen_1")[2:] == []
    assert [event.type for event in db.write_sync(events_of, "gen_1")] == ["queued", "progress"]


@pytest.mark.parametrize("charged", [0, 1, 3])
def test_an_end_is_given_back_as_it_is_read_again(db: Database, charged: int) -> None:
    """What is told to those who wait is made of what is known, and is what stands in the row."""
    db.write_sync(accept, a_generation(n=3, parts=3, held_micros=3 * PRICE))
    for part in range(3):
        db.write_sync(begin_attempt, an_attempt(f"att_{part}", part=part))
    for part in range(charged):
        ended = db.write_sync(end_attempt, images(f"att_{part}"))
    if charged == 3:
        assert ended.finished == db.write_sync(get_record, "gen_1")
        return
    row = db.write_sync(pass_deadline, "gen_1", EXCEEDED, at(25), at(45), False)
    assert row == db.write_sync(get_generation, "gen_1")
    assert row.parts_open == 3 - charged


def test_a_number_of_the_log_is_given_once(db: Database, database: Any) -> None:
    """Whoever counted wrongly is refused; the log is not rewritten."""
    db.write_sync(accept, a_generation())
    with pytest.raises(database.IntegrityError, match=r"(?i)unique"):
        db.write_sync(insert_event, "gen_1", 1, "progress", at=at(1))
    assert [event.type for event in db.write_sync(events_of, "gen_1")] == ["queued"]


def test_only_a_final_state_is_an_end(db: Database) -> None:
    """A transition that goes on is no end: that is our mistake."""
    db.write_sync(accept, a_generation())
    row = db.write_sync(get_generation, "gen_1")
    assert row is not None
    with pytest.raises(AssertionError):
        db.write_sync(
            end_generation, row, generation.apply(State.QUEUED, generation.AttemptSent()), at=at(5), purge_after=at(9)
        )


def marked(db: Database) -> tuple[str | None, str | None]:
    """When the answer and the image were received."""
    row: GenerationRow | None = db.write_sync(get_generation, "gen_1")
    assert row is not None
    return row.answered_at, row.collected_at


def receive(db: Database, notes: list[tuple[str, bool]], moment: str) -> None:
    """Note answers that arrived, all of each."""
    retention = Retention(max_s=604_800, after_finish_s=86_400, after_collect_s=3600)
    db.write_sync(mark_received, [Receipt(*note) for note in notes], moment, retention)


def test_the_first_receipt_counts(db: Database) -> None:
    """Collecting an image is also having been answered; a second receipt changes neither moment."""
    db.write_sync(accept, a_generation())
    assert marked(db) == (None, None)
    receive(db, [("gen_1", False)], at(10))
    receive(db, [("gen_1", False)], at(11))
    assert marked(db) == (at(10), None)
    receive(db, [("gen_1", True)], at(12))
    receive(db, [("gen_1", True)], at(13))
    assert marked(db) == (at(10), at(12))


def test_receipts_of_a_moment_are_noted_together(db: Database) -> None:
    """Each as what it was; the same one twice, or in both ways, is noted for its sum."""
    for id_ in ("gen_1", "gen_2", "gen_3", "gen_4"):
        db.write_sync(accept, a_generation(id_))
    notes = [("gen_1", True), ("gen_2", False), ("gen_3", False), ("gen_3", True), ("gen_none", True), ("gen_1", True)]
    receive(db, notes, at(10))
    receive(db, [], at(11))
    rows = [db.write_sync(get_generation, id_) for id_ in ("gen_1", "gen_2", "gen_3", "gen_4")]
    assert [(row.answered_at, row.collected_at) for row in rows] == [
        (at(10), at(10)),
        (at(10), None),
        (at(10), at(10)),
        (None, None),
    ]


def test_collecting_alone_is_an_answer_too(db: Database) -> None:
    """A link that was followed says that its answer arrived."""
    db.write_sync(accept, a_generation())
    receive(db, [("gen_1", True)], at(12))
    assert marked(db) == (at(12), at(12))


# The ledger at rest


def test_a_ledger_adds_up_and_says_of_whom(db: Database) -> None:
    """Balances are cached and recomputed; both agree after every kind of transaction."""
    assert db.write_sync(ledger_sums).hold
    for id_, key in [("gen_1", "key_1"), ("gen_2", "key_1"), ("gen_3", "key_2")]:
        db.write_sync(post, hold(key, PRICE), generation_id=id_, drive=0, at=at(1))
    db.write_sync(post, capture("key_1", held_micros=PRICE, micros=100), generation_id="gen_1", drive=0, at=at(2))
    db.write_sync(post, void("key_2", PRICE), generation_id="gen_3", drive=0, at=at(2))
    sums = db.write_sync(ledger_sums)
    assert sums.hold
    assert sums.accounts == {"customer:key_1": PRICE + 100, "customer:key_2": 0, "held": -PRICE, "revenue": -100}


@pytest.mark.parametrize("second", ["hold", "capture", "void"])
@pytest.mark.parametrize("first", ["capture", "void"])
def test_a_hold_is_made_once_and_resolved_once_a_drive(db: Database, database: Any, first: str, second: str) -> None:
    """The database itself refuses the second; another drive has a hold of its own."""
    moves = {
        "hold": hold("key_1", PRICE),
        "capture": capture("key_1", held_micros=PRICE, micros=PRICE),
        "void": void("key_1", PRICE),
    }
    for verb in ("hold", first):
        db.write_sync(post, moves[verb], generation_id="gen_1", drive=0, at=at(1))
    before = db.write_sync(ledger_sums)
    with pytest.raises(database.IntegrityError, match=r"(?i)unique"):
        db.write_sync(post, moves[second], generation_id="gen_1", drive=0, at=at(2))
    assert db.write_sync(ledger_sums) == before
    db.write_sync(post, moves["hold"], generation_id="gen_1", drive=1, at=at(3))
    db.write_sync(post, moves[second if second != "hold" else "void"], generation_id="gen_1", drive=1, at=at(4))
    assert db.write_sync(ledger_sums).hold


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE ledger_entry SET micros = micros + 1 WHERE account = 'held'", "unbalanced"),
        ("DELETE FROM ledger_entry WHERE account = 'held'", "unbalanced"),
        ("UPDATE account SET balance = balance - 5 WHERE id = 'held'", "drifted"),
        ("DELETE FROM account WHERE id = 'held'", "drifted"),
        ("INSERT INTO account VALUES ('nobody', 7)", "drifted"),
    ],
)
def test_a_ledger_that_was_tampered_with_does_not_hold(db: Database, damage: str, found: str) -> None:
    """Each kind of damage is found, and what is damaged is named."""
    db.write_sync(post, hold("key_1", PRICE), generation_id="gen_1", drive=0, at=at(1))
    db.write_sync(lambda conn: conn.execute(damage).rowcount)
    sums = db.write_sync(ledger_sums)
    assert not sums.hold
    assert getattr(sums, found)
    if found == "drifted":
        assert sums.drifted == (("nobody",) if "nobody" in damage else ("held",))
        assert sums.total_micros == 0
    else:
        assert sums.total_micros != 0
