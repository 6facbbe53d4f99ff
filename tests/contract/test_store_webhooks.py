"""Webhooks at rest: one delivery for each end and endpoint, in the same transaction; tries, rotation, deletion.

Run on every engine (`database`, in `tests/conftest.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import pytest

from holdfast.clock import ulid
from holdfast.policy.webhooks import ENDPOINTS_MAX
from holdfast.store import webhooks
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.generations import accept, get_generation, pass_deadline
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.webhooks import (
    KILLED_WITH_ITS_ENDPOINT,
    LOG_ENTRIES_MAX,
    SWEEP_ROWS,
    DeliveryRow,
    TryEnd,
    delete_endpoint,
    deliveries_of,
    due_deliveries,
    end_try,
    endpoints_of,
    get_delivery,
    get_endpoint,
    has_endpoints,
    insert_endpoint,
    message_id,
    redeliver,
    rotate_endpoint,
    sweep,
    tell_inline,
)
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

T = TypeVar("T")
URL = "https://hooks.example.com/holdfast"
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection was lost")


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
    """A generation of one image, with what matters to a test changed."""
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
        "unit_micros": 1000,
        "held_micros": 1000,
    }
    return NewGeneration(**values | overrides)


def begin(db: Database, id_: str, **overrides: Any) -> None:
    """Accept a generation and send it."""
    db.write_sync(accept, a_generation(id_, **overrides))
    sent = NewAttempt(
        id=id_.replace("gen", "att"),
        generation_id=id_,
        part=0,
        drive=0,
        upstream="google",
        provider="gemini",
        model="m",
        idempotency_key=f"{id_}.0.0",
        estimated_micros=1000,
        owner="me",
        sent_at=at(1),
    )
    assert db.write_sync(begin_attempt, sent) is not None


def ending(id_: str, *, second: int = 2, failure: Failure | None = None) -> AttemptEnd:
    """How its attempt ends."""
    info = ImageInfo(mime="image/png", width_px=4096, height_px=4096, bytes=10, sha256="0" * 64)
    blob = NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=f"blobs/{id_}.png", info=info)
    return AttemptEnd(
        attempt_id=id_.replace("gen", "att"),
        at=at(second),
        purge_after=at(59),
        blobs=() if failure else (blob,),
        failure=failure,
    )


def succeed(db: Database, id_: str, **overrides: Any) -> None:
    """Accept, send and settle."""
    begin(db, id_, **overrides)
    db.write_sync(end_attempt, ending(id_))


def register(db: Database, id_: str = "whk_1", *, key_id: str = "key_1", url: str = URL) -> None:
    """Make an endpoint."""
    assert db.write_sync(insert_endpoint, endpoint_id=id_, key_id=key_id, url=url, created_at=at(0))


def all_of(db: Database, endpoint_id: str = "whk_1") -> list[DeliveryRow]:
    """Read an endpoint's deliveries, oldest first."""
    return list(reversed(db.write_sync(deliveries_of, endpoint_id, before=None, most=1000)))


def due(db: Database, second: int = 30, **overrides: Any) -> list[str]:
    """Which deliveries are due at a moment."""
    asked: dict[str, Any] = {"most": 100, **overrides}
    return [row.id for row in db.write_sync(due_deliveries, now=at(second), **asked).rows]


def tried(delivery_id: str, **overrides: Any) -> TryEnd:
    """A try that failed and is repeated."""
    values: dict[str, Any] = {
        "number": 1,
        "at": at(10),
        "took_ms": 7,
        "state": "pending",
        "next_at": at(15),
        "status": 500,
    }
    return TryEnd(delivery_id=delivery_id, **values | overrides)


# Ends


def test_without_an_endpoint_an_end_writes_nothing(db: Database) -> None:
    """Nobody asked to be told."""
    succeed(db, "gen_1")
    assert due(db) == []
    assert not db.write_sync(has_endpoints)


def test_an_end_is_told_to_every_endpoint_of_its_key_and_to_nobody_else(db: Database) -> None:
    """One delivery each, due at once."""
    register(db, "whk_1")
    register(db, "whk_2", url=f"{URL}/2")
    register(db, "whk_3", key_id="key_2")
    succeed(db, "gen_1")
    assert all_of(db, "whk_3") == []
    for endpoint in ("whk_1", "whk_2"):
        (row,) = all_of(db, endpoint)
        assert (row.generation_id, row.drive, row.type, row.state) == ("gen_1", 0, "generation.succeeded", "pending")
        assert (row.next_at, row.created_at, row.tries, row.logged) == (at(2), at(2), 0, [])
    assert len(due(db)) == 2
    assert db.write_sync(has_endpoints)


def test_a_failure_is_told_as_one(db: Database) -> None:
    """Whether an attempt ended it or the deadline did."""
    register(db)
    begin(db, "gen_1")
    db.write_sync(end_attempt, ending("gen_1", failure=LOST))
    db.write_sync(accept, a_generation("gen_2"))
    assert db.write_sync(pass_deadline, "gen_2", EXCEEDED, at(3), at(59), False)
    told = {row.generation_id: row.type for row in all_of(db)}
    assert told == {"gen_1": "generation.failed", "gen_2": "generation.failed"}


def test_a_late_success_is_told_after_the_failure(db: Database) -> None:
    """Whoever believed it lost learns that it is there; each of the two is told once."""
    register(db)
    begin(db, "gen_1")
    db.write_sync(end_attempt, ending("gen_1", failure=LOST))
    db.write_sync(end_attempt, ending("gen_1", second=9))
    assert [row.type for row in all_of(db)] == ["generation.failed", "generation.succeeded"]


def test_a_generation_that_goes_on_tells_nothing(db: Database) -> None:
    """Only ends are told: one part of two is none."""
    register(db)
    begin(db, "gen_1", n=2, parts=2)
    db.write_sync(end_attempt, ending("gen_1"))
    assert due(db) == []


def test_end_and_delivery_stand_or_fall_together(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the delivery cannot be written, neither is the end: a commit says both or nothing."""
    register(db)
    begin(db, "gen_1")
    monkeypatch.setattr(webhooks, "ulid", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        db.write_sync(end_attempt, ending("gen_1"))
    monkeypatch.undo()
    generation = db.write_sync(get_generation, "gen_1")
    assert generation is not None
    assert generation.state == "running"
    assert db.write_sync(end_attempt, ending("gen_1")).was_open
    assert len(all_of(db)) == 1


def test_the_same_end_is_told_once(db: Database) -> None:
    """A settling commit whose answer was lost is made again."""
    register(db)
    succeed(db, "gen_1")
    db.write_sync(end_attempt, ending("gen_1"))
    row = db.write_sync(get_generation, "gen_1")
    assert row is not None
    assert db.write_sync(webhooks.tell_end, row, at(9)) == 1
    assert len(all_of(db)) == 1


def test_another_drive_is_told_anew(db: Database) -> None:
    """A generation that was driven again ends again."""
    register(db)
    succeed(db, "gen_1")
    row = db.write_sync(get_generation, "gen_1")
    assert row is not None
    db.write_sync(webhooks.tell_end, row.but(drive=1), at(9))
    assert [(each.drive, each.type) for each in all_of(db)] == [
        (0, "generation.succeeded"),
        (1, "generation.succeeded"),
    ]


def test_an_id_is_made_from_what_it_tells() -> None:
    """The same for the same, another for anything else; it sorts by its time."""
    moment = datetime(2026, 1, 17, 12, tzinfo=UTC)
    first = message_id("whk_1", "gen_1", 0, "generation.failed", moment)
    assert first == message_id("whk_1", "gen_1", 0, "generation.failed", moment)
    assert first.startswith("msg_")
    assert len(first) == 30
    others = {
        message_id("whk_2", "gen_1", 0, "generation.failed", moment),
        message_id("whk_1", "gen_2", 0, "generation.failed", moment),
        message_id("whk_1", "gen_1", 1, "generation.failed", moment),
        message_id("whk_1", "gen_1", 0, "generation.succeeded", moment),
    }
    assert len(others | {first}) == 5
    assert first < message_id("whk_0", "gen_0", 0, "generation.failed", moment + timedelta(milliseconds=1))


# A URL that a request brings along


def test_a_url_of_a_request_is_told_beside_the_endpoints(db: Database) -> None:
    """Under the key's default, which is made for it and is no endpoint of its own."""
    register(db)
    inline = {"key_id": "key_1", "created_at": at(0)}
    db.write_sync(tell_inline, generation_id="gen_1", url=f"{URL}/one", default_id="whk_8", **inline)
    db.write_sync(tell_inline, generation_id="gen_2", url=f"{URL}/two", default_id="whk_9", **inline)
    succeed(db, "gen_1")
    succeed(db, "gen_3")
    default = db.write_sync(get_endpoint, "key_1", None)
    assert default is not None
    assert (default.id, default.url) == ("whk_8", None)
    assert [(row.generation_id, row.url) for row in all_of(db, "whk_8")] == [("gen_1", f"{URL}/one")]
    assert {row.generation_id for row in all_of(db)} == {"gen_1", "gen_3"}
    assert [row.id for row in db.write_sync(endpoints_of, "key_1")] == ["whk_1"]
    rows = db.write_sync(due_deliveries, now=at(30), most=9).rows
    assert {row.url for row in rows} == {URL, f"{URL}/one"}


def test_410_of_a_request_s_url_ends_that_delivery_only(db: Database) -> None:
    """The next request brings another URL, which has said nothing of the kind."""
    for id_ in ("gen_1", "gen_2"):
        db.write_sync(
            tell_inline, generation_id=id_, key_id="key_1", url=URL, default_id=f"whk_{id_}", created_at=at(0)
        )
        succeed(db, id_)
    first, second = all_of(db, "whk_gen_1")
    db.write_sync(end_try, tried(first.id, state="dead", next_at=None, status=410, disables="gone"))
    assert due(db) == [second.id]
    default = db.write_sync(get_endpoint, "key_1", None)
    assert default is not None
    assert default.disabled_at is None


# Endpoints


def test_a_key_has_a_bounded_number_of_endpoints(db: Database) -> None:
    """One more is refused; one that was deleted makes room, and the default does not count."""
    db.write_sync(tell_inline, generation_id="gen_0", key_id="key_1", url=URL, default_id="whk_0", created_at=at(0))
    for number in range(1, ENDPOINTS_MAX + 1):
        register(db, f"whk_{number}")
    more = {"key_id": "key_1", "url": URL, "created_at": at(1)}
    assert not db.write_sync(insert_endpoint, endpoint_id="whk_more", **more)
    assert db.write_sync(delete_endpoint, "key_1", "whk_3", at(2))
    assert db.write_sync(insert_endpoint, endpoint_id="whk_more", **more)
    register(db, "whk_other", key_id="key_2")
    assert len(db.write_sync(endpoints_of, "key_1")) == ENDPOINTS_MAX


def test_another_key_s_endpoint_is_not_there(db: Database) -> None:
    """Neither to be read, nor rotated, nor deleted."""
    register(db)
    assert db.write_sync(get_endpoint, "key_2", "whk_1") is None
    rotated = db.write_sync(rotate_endpoint, "key_2", "whk_1", new_id="whk_n", at=at(1), previous_until=at(9))
    assert rotated is None
    assert not db.write_sync(delete_endpoint, "key_2", "whk_1", at(1))
    found = db.write_sync(get_endpoint, "key_1", "whk_1")
    assert found is not None
    assert found.secret_number == 1


def test_rotation_counts_on_and_keeps_the_one_before_for_a_while(db: Database) -> None:
    """Whatever signs is known from the number and one moment."""
    register(db)
    for number, second in ((2, 10), (3, 20)):
        row = db.write_sync(rotate_endpoint, "key_1", "whk_1", new_id="-", at=at(1), previous_until=at(second))
        assert row is not None
        assert (row.secret_number, row.previous_until) == (number, at(second))
    succeed(db, "gen_1")
    (found,) = db.write_sync(due_deliveries, now=at(30), most=9).rows
    assert (found.secret_number, found.previous_until) == (3, at(20))


def test_a_key_s_default_is_made_when_it_is_first_rotated(db: Database) -> None:
    """With its first secret; from then on it is rotated."""
    asked = {"at": at(1), "previous_until": at(20)}
    first = db.write_sync(rotate_endpoint, "key_1", None, new_id="whk_d", **asked)
    again = db.write_sync(rotate_endpoint, "key_1", None, new_id="whk_x", **asked)
    assert first is not None
    assert again is not None
    assert (first.id, first.secret_number, first.previous_until) == ("whk_d", 1, None)
    assert (again.id, again.secret_number, again.previous_until) == ("whk_d", 2, at(20))


def test_a_deleted_endpoint_is_told_nothing_more(db: Database) -> None:
    """Not what waited, not what comes; and it cannot be deleted twice."""
    register(db)
    succeed(db, "gen_1")
    assert db.write_sync(delete_endpoint, "key_1", "whk_1", at(5))
    assert not db.write_sync(delete_endpoint, "key_1", "whk_1", at(6))
    succeed(db, "gen_2")
    assert due(db) == []
    assert db.write_sync(endpoints_of, "key_1") == ()
    assert db.write_sync(get_endpoint, "key_1", "whk_1") is None
    assert [(row.generation_id, row.state) for row in all_of(db)] == [("gen_1", "dead")]


# Tries


def test_a_try_that_failed_is_due_again_at_its_time(db: Database) -> None:
    """With the count, the status and the log."""
    register(db)
    succeed(db, "gen_1")
    (id_,) = due(db)
    assert db.write_sync(end_try, tried(id_))
    assert due(db, 14) == []
    assert due(db, 15) == [id_]
    assert db.write_sync(due_deliveries, now=at(14), most=9).next_at == at(15)
    (row,) = all_of(db)
    assert (row.state, row.tries, row.last_status, row.ended_at) == ("pending", 1, 500, None)
    assert row.logged == [{"at": at(10), "status": 500, "error": None, "took_ms": 7}]


@pytest.mark.parametrize("state", ["delivered", "failed", "dead"])
def test_what_has_ended_is_not_due(db: Database, state: str) -> None:
    """And no late answer changes it."""
    register(db)
    succeed(db, "gen_1")
    (id_,) = due(db)
    assert db.write_sync(end_try, tried(id_, state=state, next_at=None))
    assert not db.write_sync(end_try, tried(id_))
    row = db.write_sync(get_delivery, id_)
    assert row is not None
    assert (row.state, row.tries, row.ended_at) == (state, 1, at(10))
    assert due(db, 59) == []


def test_410_ends_all_that_its_endpoint_waits_for(db: Database) -> None:
    """It is disabled, with the reason; ends that come later are not written to it."""
    register(db, "whk_1")
    register(db, "whk_2")
    for id_ in ("gen_1", "gen_2"):
        succeed(db, id_)
    first = all_of(db)[0].id
    db.write_sync(end_try, tried(first, state="dead", next_at=None, status=410, error="gone", disables="410"))
    succeed(db, "gen_3")
    assert [(row.state, row.last_error) for row in all_of(db)] == [
        ("dead", "gone"),
        ("dead", KILLED_WITH_ITS_ENDPOINT),
    ]
    assert [row.state for row in all_of(db, "whk_2")] == ["pending"] * 3
    row = db.write_sync(get_endpoint, "key_1", "whk_1")
    assert row is not None
    assert (row.disabled_at, row.reason) == (at(10), "410")


def test_the_log_of_a_delivery_is_bounded(db: Database) -> None:
    """However often it is redelivered."""
    register(db)
    succeed(db, "gen_1")
    (id_,) = due(db)
    for number in range(LOG_ENTRIES_MAX + 5):
        assert db.write_sync(end_try, tried(id_, number=number + 1, status=500 + number))
    row = db.write_sync(get_delivery, id_)
    assert row is not None
    assert [entry["status"] for entry in row.logged] == [505 + number for number in range(LOG_ENTRIES_MAX)]


def test_a_try_is_written_once(db: Database) -> None:
    """A commit whose answer was lost is made again, and finds its own work."""
    register(db)
    succeed(db, "gen_1")
    (id_,) = due(db)
    assert db.write_sync(end_try, tried(id_))
    assert not db.write_sync(end_try, tried(id_))
    (row,) = all_of(db)
    assert (row.tries, len(row.logged)) == (1, 1)


def test_a_try_of_what_is_gone_is_nothing(db: Database) -> None:
    """The endpoint may have been deleted and swept while it was being told."""
    assert not db.write_sync(end_try, tried("msg_0"))


def test_busy_keys_are_passed_over(db: Database) -> None:
    """One key's receivers leave room for another's."""
    register(db, "whk_1")
    register(db, "whk_2", key_id="key_2")
    succeed(db, "gen_1")
    succeed(db, "gen_2", key_id="key_2")
    assert due(db, busy_keys=["key_1"]) == [row.id for row in all_of(db, "whk_2")]


def test_busy_endpoints_and_taken_deliveries_are_passed_over(db: Database) -> None:
    """One endpoint that hangs, with any number waiting, does not stop the others."""
    register(db, "whk_1")
    register(db, "whk_2")
    for number in range(3):
        succeed(db, f"gen_{number}")
    second = [row.id for row in all_of(db, "whk_2")]
    assert sorted(due(db, busy=["whk_1"])) == second
    assert sorted(due(db, busy=["whk_1"], taken=second[:2])) == second[2:]
    assert len(due(db, most=2)) == 2
    assert due(db, most=0) == []


# Redelivery


@pytest.mark.parametrize("state", ["delivered", "failed"])
def test_what_has_ended_can_be_told_again(db: Database, state: str) -> None:
    """Under the same id, from the start of the schedule; the log goes on."""
    register(db)
    succeed(db, "gen_1")
    (id_,) = due(db)
    db.write_sync(end_try, tried(id_, state=state, next_at=None))
    row = db.write_sync(redeliver, "key_1", id_, at(20))
    assert row is not None
    assert (row.id, row.state, row.tries, row.next_at, row.ended_at) == (id_, "pending", 0, at(20), None)
    assert len(row.logged) == 1
    assert due(db, 20) == [id_]


def test_what_waits_is_brought_forward(db: Database) -> None:
    """Its place in the schedule stays: asking often does not try for ever."""
    register(db)
    succeed(db, "gen_1")
    (id_,) = due(db)
    db.write_sync(end_try, tried(id_, next_at=at(59)))
    row = db.write_sync(redeliver, "key_1", id_, at(20))
    assert row is not None
    assert (row.state, row.tries, row.next_at) == ("pending", 1, at(20))


def test_nobody_redelivers_what_is_not_his_or_to_nobody(db: Database) -> None:
    """Another key's, one that never was, one of a deleted endpoint: not found. To a disabled endpoint: unchanged."""
    register(db)
    succeed(db, "gen_1")
    (id_,) = due(db)
    assert db.write_sync(redeliver, "key_2", id_, at(20)) is None
    assert db.write_sync(redeliver, "key_1", "msg_0", at(20)) is None
    db.write_sync(end_try, tried(id_, state="dead", next_at=None, disables="410"))
    row = db.write_sync(redeliver, "key_1", id_, at(20))
    assert row is not None
    assert row.state == "dead"
    db.write_sync(delete_endpoint, "key_1", "whk_1", at(21))
    assert db.write_sync(redeliver, "key_1", id_, at(22)) is None


# Reading and sweeping


def test_deliveries_are_read_page_by_page_newest_first(db: Database) -> None:
    """A page begins behind the last id of the one before."""
    register(db)
    for number in range(5):
        begin(db, f"gen_{number}")
        db.write_sync(end_attempt, ending(f"gen_{number}", second=number + 2))
    first = db.write_sync(deliveries_of, "whk_1", before=None, most=3)
    rest = db.write_sync(deliveries_of, "whk_1", before=first[-1].id, most=3)
    assert [row.generation_id for row in (*first, *rest)] == [f"gen_{number}" for number in (4, 3, 2, 1, 0)]


def test_old_deliveries_go_and_what_is_pending_stays(db: Database) -> None:
    """However old: it has not been told yet."""
    register(db)
    for number in range(3):
        succeed(db, f"gen_{number}")
    ids = [row.id for row in all_of(db)]
    db.write_sync(end_try, tried(ids[0], at=at(10), state="delivered", next_at=None))
    db.write_sync(end_try, tried(ids[1], at=at(40), state="delivered", next_at=None))
    assert not db.write_sync(sweep, datetime(2026, 1, 17, 12, 0, 30, tzinfo=UTC), at(30))
    assert [row.id for row in all_of(db)] == ids[1:]


def test_a_deleted_endpoint_goes_with_its_log(db: Database) -> None:
    """The rows of others, and of what is not deleted, stay."""
    register(db, "whk_1")
    register(db, "whk_2")
    succeed(db, "gen_1")
    db.write_sync(delete_endpoint, "key_1", "whk_1", at(5))
    db.write_sync(sweep, datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000Z")
    assert all_of(db, "whk_1") == []
    assert len(all_of(db, "whk_2")) == 1
    assert db.write_sync(has_endpoints)
    db.write_sync(delete_endpoint, "key_1", "whk_2", at(5))
    db.write_sync(sweep, datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000Z")
    assert not db.write_sync(has_endpoints)


def test_sweeping_goes_in_small_steps(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's commit waits for a hundred thousand rows."""
    monkeypatch.setattr(webhooks, "SWEEP_ROWS", 2)
    assert SWEEP_ROWS >= 100
    register(db)
    for number in range(5):
        succeed(db, f"gen_{number}")
    db.write_sync(delete_endpoint, "key_1", "whk_1", at(5))
    long_ago = (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000Z")
    steps = [(db.write_sync(sweep, *long_ago), len(all_of(db))) for _ in range(3)]
    assert steps == [(True, 3), (True, 1), (False, 0)]


def test_urls_of_old_requests_are_forgotten(db: Database) -> None:
    """By the time in the generation's id; those of new ones stay."""
    before = datetime(2026, 1, 17, tzinfo=UTC)
    ids = [f"gen_{ulid(round(before.timestamp() * 1000) + ms, bytes(10))}" for ms in (-1, 1)]
    for id_ in ids:
        db.write_sync(tell_inline, generation_id=id_, key_id="key_1", url=URL, default_id="whk_d", created_at=at(0))
    db.write_sync(sweep, before, "2026-01-17T00:00:00.000Z")
    for id_ in ids:
        succeed(db, id_)
    assert [row.generation_id for row in all_of(db, "whk_d")] == ids[1:]
