"""The audit of a ledger finds every kind of damage, and names who has it; it reads beside a gateway, and only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.errors import StorageError
from holdfast.generation import AttemptState
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import BOOKED_AS, PROBLEMS_MAX, audit, lines_of
from holdfast.store.generations import accept, pass_deadline
from holdfast.store.queries import migrations
from holdfast.store.reading import snapshot
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

PRICE = 240_000
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)


def failed(charge: Charge) -> Failure:
    """A failure that may have cost something."""
    return Failure(kind=FailureKind.MALFORMED, phase=Phase.DECODE, charge=charge, detail="it failed")


ENDS: dict[str, Failure | None] = {
    "good": None,
    "paid": failed(Charge.YES),
    "lost": failed(Charge.UNKNOWN),
    "free": failed(Charge.NO),
}


def fill(store: SqliteStore) -> None:
    """One generation of each end, one that turned out late, one in flight and one in the queue."""
    for name in (*ENDS, "late", "sent", "queued"):
        new = NewGeneration(
            id=f"gen_{name}",
            key_id="key_1",
            surface="openai",
            model="m",
            tier="1K",
            size="1x1",
            n=1,
            parts=1,
            request=b"{}",
            deadline_at="later",
            hard_deadline=False,
            created_at="2026-01-17T12:00:00.000Z",
            currency="USD",
            unit_micros=PRICE,
            held_micros=PRICE,
            list_micros=PRICE,
        )
        store.write_sync(accept, new)
        if name != "queued":
            attempt = NewAttempt(
                id=f"att_{name}",
                generation_id=new.id,
                part=0,
                drive=0,
                upstream="google",
                provider="gemini",
                model="m",
                idempotency_key="",
                estimated_micros=PRICE,
                owner="me",
                sent_at="2026-01-17T12:00:01.000Z",
            )
            store.write_sync(begin_attempt, attempt)
        if name in ENDS:
            end(store, name, ENDS[name])
    end(store, "late", ENDS["lost"])
    end(store, "late", None)


def end(store: SqliteStore, name: str, failure: Failure | None) -> None:
    """End an attempt."""
    blob = NewBlob(id=f"img_{name}", kind="result", position=0, store_key=name, info=INFO)
    at = "2026-01-17T12:00:30.000Z"
    blobs = () if failure else (blob,)
    store.write_sync(
        end_attempt, AttemptEnd(attempt_id=f"att_{name}", at=at, purge_after="later", blobs=blobs, failure=failure)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder that a store has open, with a bit of everything in it."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        fill(store)
        yield tmp_path


@pytest.fixture
def damage(folder: Path) -> Callable[[str], None]:
    """Change what no function of the store would."""

    def run(statement: str) -> None:
        with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as conn, conn:
            assert conn.execute(statement).rowcount > 0, statement

    return run


def problems(folder: Path) -> list[tuple[str, str]]:
    """What is found, as rule and id."""
    with snapshot(folder) as conn:
        found = audit(conn).problems
    assert all(problem.id in problem.message for problem in found)
    return [(problem.rule, problem.id) for problem in found]


def test_a_ledger_that_holds_has_no_problem(folder: Path) -> None:
    """Beside a store that has the folder open; the counts say what was read."""
    with snapshot(folder) as conn:
        found = audit(conn)
    assert found.problems == ()
    assert (found.generations, found.attempts) == (7, 6)
    # 7 holds; void and capture of 5; 1 compensation; cost 2, exposure 2, resolve 1.
    assert found.transactions == 7 + 5 + 1 + 5
    assert found.accounts["held"] == -2 * PRICE
    assert found.accounts["unknown_exposure"] == PRICE


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE account SET balance = balance + 1 WHERE id = 'revenue'", [("drifted", "revenue")]),
        ("DELETE FROM account WHERE id = 'provider_cost'", [("drifted", "provider_cost")]),
        ("UPDATE generation SET held_micros = 1 WHERE id = 'gen_queued'", [("held", "held")]),
        ("UPDATE compensation_day SET micros = micros - 1", [("counted", "compensation")]),
        ("UPDATE generation SET charged_micros = 1 WHERE id = 'gen_free'", [("told_otherwise", "gen_free")]),
        ("UPDATE generation SET compensated_micros = 1 WHERE id = 'gen_good'", [("told_otherwise", "gen_good")]),
        ("UPDATE attempt SET state = 'settled' WHERE id = 'att_free'", [("misbooked", "att_free")]),
        (
            "UPDATE attempt SET state = 'settled' WHERE id = 'att_lost'",
            [("exposed", "unknown_exposure"), ("misbooked", "att_lost")],
        ),
        (
            "UPDATE attempt SET state = 'unknown' WHERE id = 'att_good'",
            [("exposed", "unknown_exposure"), ("misbooked", "att_good")],
        ),
        ("UPDATE attempt SET estimated_micros = 1 WHERE id = 'att_lost'", [("exposed", "unknown_exposure")]),
        ("UPDATE attempt SET state = 'rejected' WHERE id = 'att_paid'", [("misbooked", "att_paid")]),
        (
            "UPDATE ledger_txn SET drive = 9 WHERE generation_id = 'gen_good' AND kind = 'hold'",
            [("unresolved", "gen_good"), ("never_held", "gen_good")],
        ),
        (
            "UPDATE generation SET state = 'failed' WHERE id = 'gen_sent'",
            [("held", "held"), ("rolled_up", "generations"), ("unresolved", "gen_sent")],
        ),
        (
            "UPDATE generation SET state = 'running' WHERE id = 'gen_lost'",
            [("held", "held"), ("rolled_up", "generations"), ("resolved_too_early", "gen_lost")],
        ),
        ("UPDATE generation SET drive = 1 WHERE id = 'gen_free'", [("never_held", "gen_free")]),
        (
            "UPDATE usage_day SET cost_micros = cost_micros + 1 WHERE outcome = 'succeeded'",
            [("rolled_up", "provider_cost")],
        ),
        ("UPDATE usage_day SET unknown_micros = 0", [("rolled_up", "unknown_exposure")]),
        (
            "UPDATE usage_day SET generations = generations + 1 WHERE outcome = 'succeeded'",
            [("rolled_up", "generations")],
        ),
    ],
)
def test_damage_is_found_and_named(
    folder: Path, damage: Callable[[str], None], statement: str, found: list[tuple[str, str]]
) -> None:
    """Each rule by itself; what is not damaged is not accused."""
    damage(statement)
    assert problems(folder) == found


def test_a_transaction_that_does_not_balance_is_named_by_its_number(
    folder: Path, damage: Callable[[str], None]
) -> None:
    """And so is one that lost its lines."""
    with snapshot(folder) as conn:
        line = lines_of(conn, "gen_lost")[0]
    damage(f"UPDATE ledger_entry SET micros = micros + 1 WHERE txn_id = {line.txn_id} AND account = '{line.account}'")
    assert ("unbalanced", str(line.txn_id)) in problems(folder)
    damage(f"DELETE FROM ledger_entry WHERE txn_id = {line.txn_id}")
    assert ("unbalanced", str(line.txn_id)) in problems(folder)


def test_of_many_examples_the_first_are_told(folder: Path, damage: Callable[[str], None]) -> None:
    """A ledger that is wrong everywhere does not fill the terminal."""
    columns = "part, drive, epoch, upstream, provider, model, idempotency_key, sent_at, estimated_micros"
    damage(
        f"INSERT INTO attempt (id, generation_id, number, state, {columns}) "
        f"WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < {10 + 2 * PROBLEMS_MAX}) "
        f"SELECT 'att_' || i, 'gen_good', i, 'settled', {columns} FROM n, attempt WHERE id = 'att_good'"
    )
    assert problems(folder) == [("misbooked", f"att_{i}") for i in range(10, 10 + PROBLEMS_MAX)]


def test_every_state_of_an_attempt_has_its_bookings() -> None:
    """A new state is not passed over."""
    assert set(BOOKED_AS) == set(AttemptState)


def test_the_lines_of_a_generation_tell_its_story(folder: Path) -> None:
    """Both sides, in the order of writing."""
    with snapshot(folder) as conn:
        lines = lines_of(conn, "gen_late")
        assert lines_of(conn, "gen_none") == ()
    assert list(dict.fromkeys((line.verb, line.attempt_id) for line in lines)) == [
        ("hold", None),
        ("void", None),
        ("exposure", "att_late"),
        ("resolve", "att_late"),
    ]
    assert [(line.account, line.micros) for line in lines[-2:]] == [
        ("unknown_exposure", -PRICE),
        ("extra_images", PRICE),
    ]
    assert sum(line.micros for line in lines) == 0


# The folder


def test_a_snapshot_stands_still_and_writes_nothing(folder: Path) -> None:
    """What a gateway commits meanwhile is not in it, and it could not write if it wanted."""
    with snapshot(folder) as conn:
        before = audit(conn)
        with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as other, other:
            other.execute("UPDATE account SET balance = 0")
        assert audit(conn) == before
    with pytest.raises(StorageError, match="could not be read: attempt to write"), snapshot(folder) as conn:
        conn.execute("DELETE FROM account")


def test_a_folder_without_a_gateway_is_read_too(tmp_path: Path) -> None:
    """The last process has closed it: one file, no log beside it."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        fill(store)
        store.write_sync(pass_deadline, "gen_queued", EXCEEDED, "2026-01-17T13:00:00.000Z", "later", False)
    assert problems(tmp_path) == []


def test_a_folder_that_holds_no_database_is_told(tmp_path: Path) -> None:
    """And none is made there."""
    with pytest.raises(StorageError, match="no database in") as told, snapshot(tmp_path):
        pass
    assert told.value.reason == "missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("step", "remedy"), [(-1, "Start `holdfast serve` on it once"), (1, "Run the newer version")])
def test_a_folder_of_another_schema_is_told_with_the_remedy(
    folder: Path, damage: Callable[[str], None], step: int, remedy: str
) -> None:
    """A reader changes nothing, so it cannot bring a folder up to its version."""
    with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as conn:
        conn.execute(f"PRAGMA user_version = {len(migrations()) + step}")
    with pytest.raises(StorageError, match=remedy), snapshot(folder):
        pass


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """In one line, without a traceback."""
    (tmp_path / "holdfast.sqlite3").write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StorageError, match="could not be read"), snapshot(tmp_path):
        pass
