"""Budgets at rest: the hold decides, whoever comes at one instant; what comes back returns to where it was held."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import from_rfc3339
from holdfast.config import Compensation, CompensationReason
from holdfast.generation import State
from holdfast.policy.budgets import Budget, Period, Scope
from holdfast.policy.compensation import STANDARD, Rules, rules_of
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import Answer, Claim
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.budgets import budgets_of, spend, spent
from holdfast.store.generations import accept, get_generation, pass_deadline
from holdfast.store.joining import Entered, Entering, enter
from holdfast.store.keys import insert_key
from holdfast.store.past import past_charges
from holdfast.store.port import Store
from holdfast.store.queries import migrations
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

PRICE = 240_000
DAY, NEXT = "2026-11-28", "2026-11-29"
NOON = f"{DAY}T12:00:00.000Z"
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="0" * 64)
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.NO)
NO_GIFTS = rules_of(tuple(Compensation(when=when, share=0.0) for when in CompensationReason))
KEY, GROUP = "key:key_1", "group:kgr_1"


@pytest.fixture
def db(database: Any) -> Any:
    """An empty database of each engine."""
    return database.open()


def a_key(db: Store, id_: str = "key_1", *, group: tuple[int | None, int | None] | None = None, **more: Any) -> None:
    """Make a key; `group` are the limits of the group `kgr_1`, made with it."""

    def make(conn: Any) -> None:
        if group is not None:
            values = {"day": group[0], "month": group[1], "at": NOON}
            conn.execute(
                "INSERT INTO key_group (id, label, spend_micros_per_day, spend_micros_per_month, created_at) "
                "VALUES ('kgr_1', 'team', :day, :month, :at)",
                values,
            )
        insert_key(conn, id_, id_.encode(), "", NOON, **more)

    db.write_sync(make)


def a_new(id_: str, *, key_id: str = "key_1", at: str = NOON, n: int = 1, **more: Any) -> NewGeneration:
    """What the accepting commit is given."""
    values: dict[str, Any] = {"unit_micros": PRICE, "held_micros": n * PRICE, "list_micros": PRICE} | more
    return NewGeneration(
        id=id_,
        key_id=key_id,
        surface="openai",
        model="m",
        tier="4K",
        size="4096x4096",
        n=n,
        parts=1,
        request=b"{}",
        deadline_at="later",
        hard_deadline=False,
        created_at=at,
        **({"currency": "USD"} | values),
    )


def end(db: Store, id_: str, what: Failure | int, *, at: str, rules: Rules = STANDARD, drive: int = 0) -> None:
    """Try a generation once; it brings so many images, or fails."""
    attempt = NewAttempt(
        id=f"att_{id_}_{drive}",
        generation_id=id_,
        part=0,
        drive=drive,
        upstream="google",
        provider="gemini",
        model="m",
        idempotency_key="",
        estimated_micros=PRICE,
        owner="me",
        sent_at=at,
    )
    db.write_sync(begin_attempt, attempt)
    count = 0 if isinstance(what, Failure) else what
    blobs = tuple(
        NewBlob(id=f"img_{id_}_{place}", kind="result", position=place, store_key=f"{id_}-{place}", info=INFO)
        for place in range(count)
    )
    failure = what if isinstance(what, Failure) else None
    ended = AttemptEnd(attempt_id=attempt.id, at=at, purge_after="later", blobs=blobs, failure=failure)
    db.write_sync(end_attempt, ended, rules)


def failed(charge: Charge) -> Failure:
    """A failure after which nothing is tried again."""
    return Failure(kind=FailureKind.MALFORMED, phase=Phase.DECODE, charge=charge, detail="it failed")


def of(db: Store, owner: str = KEY, day: str = DAY, currency: str = "USD") -> tuple[int, int]:
    """What stands against a budget, on a day and in its month."""
    found = db.write_sync(spent, owner, day, currency)
    return found.day_micros, found.month_micros


def the_books_hold(db: Store) -> None:
    """Rows, counts and ledger tell one story."""
    assert db.write_sync(audit).problems == ()
    assert db.write_sync(ledger_sums).hold


def test_of_a_thousand_at_one_instant_as_many_are_accepted_as_fit(db: Store) -> None:
    """A budget for a hundred: exactly a hundred, and nine hundred who are told why."""
    a_key(db, spend_micros_per_day=100 * PRICE)
    with ThreadPoolExecutor(32) as pool:
        told = list(pool.map(lambda number: db.write_sync(accept, a_new(f"gen_{number}")), range(1000)))
    refused = [each for each in told if each is not None]
    assert (told.count(None), len(refused)) == (100, 900)
    assert {(each.scope, each.period, each.limit_micros, each.needed_micros) for each in refused} == {
        (Scope.KEY, Period.DAY, 100 * PRICE, PRICE)
    }
    assert of(db) == (100 * PRICE, 100 * PRICE)
    assert db.write_sync(lambda conn: conn.execute("SELECT count(*) FROM generation").fetchone()[0]) == 100
    the_books_hold(db)


def test_keys_of_a_group_share_its_budget_and_keep_their_own(db: Store) -> None:
    """A hold fits into both or is counted against neither."""
    a_key(db, group=(3 * PRICE, None), group_id="kgr_1", spend_micros_per_day=2 * PRICE)
    a_key(db, "key_2", group_id="kgr_1")
    assert [db.write_sync(accept, a_new(f"gen_{number}")) for number in range(2)] == [None, None]
    told = db.write_sync(accept, a_new("gen_3"))
    assert (told.scope, told.period) == (Scope.KEY, Period.DAY)
    assert db.write_sync(accept, a_new("gen_4", key_id="key_2")) is None
    told = db.write_sync(accept, a_new("gen_5", key_id="key_2"))
    assert (told.scope, told.limit_micros, told.spent_micros) == (Scope.GROUP, 3 * PRICE, 3 * PRICE)
    assert (of(db), of(db, "key:key_2"), of(db, GROUP)) == (
        (2 * PRICE, 2 * PRICE),
        (PRICE, PRICE),
        (3 * PRICE, 3 * PRICE),
    )
    the_books_hold(db)


def test_a_month_ends_what_its_days_would_allow_and_the_next_begins_anew(db: Store) -> None:
    """Days of other months do not count, nor do those of other keys."""
    a_key(db, spend_micros_per_month=2 * PRICE)
    a_key(db, "key_2")
    assert db.write_sync(accept, a_new("gen_other", key_id="key_2", n=9)) is None
    for number, day in enumerate(("2026-10-31", "2026-11-01", "2026-11-30")):
        assert db.write_sync(accept, a_new(f"gen_{number}", at=f"{day}T23:59:59.999Z")) is None
    told = db.write_sync(accept, a_new("gen_3", at=NOON))
    assert (told.period, told.spent_micros) == (Period.MONTH, 2 * PRICE)
    assert db.write_sync(accept, a_new("gen_4", at="2026-12-01T00:00:00.000Z")) is None
    assert of(db, day="2026-11-30") == (PRICE, 2 * PRICE)
    the_books_hold(db)


@pytest.mark.parametrize(
    ("what", "rules", "kept"),
    [
        (3, STANDARD, 3),
        (1, STANDARD, 1),
        (failed(Charge.NO), STANDARD, 0),
        (failed(Charge.UNKNOWN), STANDARD, 0),
        (failed(Charge.YES), STANDARD, 0),
        (failed(Charge.YES), NO_GIFTS, 3),
    ],
)
def test_what_is_not_charged_or_given_back_can_be_spent_again(
    db: Store, what: Failure | int, rules: Rules, kept: int
) -> None:
    """Void, capture and compensation lower what stands against a budget, of the key and of its group."""
    a_key(db, group=(3 * PRICE, None), group_id="kgr_1", spend_micros_per_day=3 * PRICE)
    assert db.write_sync(accept, a_new("gen_1", n=3)) is None
    assert db.write_sync(accept, a_new("gen_2")) is not None
    end(db, "gen_1", what, at=NOON, rules=rules)
    assert of(db) == of(db, GROUP) == (kept * PRICE, kept * PRICE)
    told = db.write_sync(accept, a_new("gen_3", n=3 - kept + 1))
    assert (told.scope, told.spent_micros) == (Scope.KEY, kept * PRICE)
    if kept < 3:
        assert db.write_sync(accept, a_new("gen_4", n=3 - kept)) is None
    the_books_hold(db)


def test_what_comes_back_after_midnight_comes_back_to_the_day_of_the_hold(db: Store) -> None:
    """It makes no room on the day on which it ends."""
    a_key(db, spend_micros_per_day=PRICE)
    assert db.write_sync(accept, a_new("gen_1", at=f"{DAY}T23:59:59.000Z")) is None
    assert db.write_sync(accept, a_new("gen_2", at=f"{NEXT}T00:00:01.000Z")) is None
    end(db, "gen_1", failed(Charge.NO), at=f"{NEXT}T00:01:00.000Z")
    assert (of(db)[0], of(db, day=NEXT)[0]) == (0, PRICE)
    assert db.write_sync(accept, a_new("gen_3", at=f"{NEXT}T00:02:00.000Z")) is not None
    the_books_hold(db)


def test_a_key_that_changes_its_group_takes_nothing_along(db: Store) -> None:
    """What was held against the former group is given back to it."""
    a_key(db, group=(None, None), group_id="kgr_1")
    assert db.write_sync(accept, a_new("gen_1")) is None
    db.write_sync(lambda conn: conn.execute("UPDATE api_key SET group_id = NULL").rowcount)
    assert db.write_sync(accept, a_new("gen_2")) is None
    end(db, "gen_1", failed(Charge.NO), at=NOON)
    end(db, "gen_2", 1, at=NOON)
    assert (of(db), of(db, GROUP)) == ((PRICE, PRICE), (0, 0))
    the_books_hold(db)


def test_a_limit_counts_from_the_moment_it_is_set_with_all_that_was_spent_before(db: Store) -> None:
    """The commit reads it: nobody has to be told of a change."""
    a_key(db)
    assert db.write_sync(accept, a_new("gen_1")) is None
    db.write_sync(
        lambda conn: conn.execute("UPDATE api_key SET spend_micros_per_day = :micros", {"micros": PRICE}).rowcount
    )
    assert db.write_sync(accept, a_new("gen_2")).spent_micros == PRICE
    db.write_sync(
        lambda conn: conn.execute("UPDATE api_key SET spend_micros_per_day = :micros", {"micros": 2 * PRICE}).rowcount
    )
    assert db.write_sync(accept, a_new("gen_3")) is None
    db.write_sync(lambda conn: conn.execute("UPDATE api_key SET spend_micros_per_day = 0").rowcount)
    assert db.write_sync(accept, a_new("gen_4")) is not None
    assert db.write_sync(accept, a_new("gen_free", unit_micros=0, held_micros=0)) is None
    the_books_hold(db)


def entering(new: NewGeneration) -> Entering:
    """A POST under a key of its own."""
    claim = Claim(idempotency_key=new.idempotency_key, by_fingerprint=False, says_retry=False)
    return Entering(new=new, claim=claim, failure_since=f"{DAY}T00:00:00.000Z")


def keyed(id_: str, at: str = NOON) -> NewGeneration:
    """What is asked for under an Idempotency-Key."""
    return a_new(
        id_, at=at, idempotency_key="once", fingerprint=b"\x01" * 32, fingerprint_version=VERSION, watched_by="me"
    )


def test_a_repeat_joins_when_the_budget_is_spent(db: Store) -> None:
    """It buys nothing; whoever asks for something else does."""
    a_key(db, spend_micros_per_day=PRICE)
    assert db.write_sync(enter, entering(keyed("gen_1"))) == Entered(generation_id="gen_1")
    joined = db.write_sync(enter, entering(keyed("gen_2")))
    assert (joined.generation_id, joined.answer, joined.exhausted) == ("gen_1", Answer.JOIN, None)
    refused = db.write_sync(enter, entering(a_new("gen_3")))
    assert (refused.generation_id, refused.twin_ids) == (None, ())
    assert refused.exhausted is not None
    the_books_hold(db)


def test_what_is_driven_again_is_held_anew_on_its_own_day(db: Store) -> None:
    """Or is not driven, where the budget has gone to something else meanwhile."""
    a_key(db, spend_micros_per_day=PRICE)
    db.write_sync(enter, entering(keyed("gen_1")))
    end(db, "gen_1", failed(Charge.NO), at=NOON)
    assert of(db) == (0, 0)
    db.write_sync(accept, a_new("gen_2"))
    refused = db.write_sync(enter, entering(keyed("gen_3")))
    assert refused.exhausted is not None
    row = db.write_sync(get_generation, "gen_1")
    assert (row.state, row.drive, row.held_on) == (State.FAILED, 0, DAY)
    driven = db.write_sync(enter, entering(keyed("gen_4", at=f"{NEXT}T08:00:00.000Z")))
    assert (driven.generation_id, driven.answer) == ("gen_1", Answer.DRIVE_AGAIN)
    assert db.write_sync(get_generation, "gen_1").held_on == NEXT
    assert (of(db)[0], of(db, day=NEXT)[0]) == (PRICE, PRICE)
    end(db, "gen_1", failed(Charge.NO), at=f"{NEXT}T08:01:00.000Z", drive=1)
    assert (of(db)[0], of(db, day=NEXT)[0]) == (PRICE, 0)
    the_books_hold(db)


def test_what_is_driven_again_is_slow_only_if_that_took_long(db: Store) -> None:
    """The hours between a failure and its repeat are nobody's wait: what came at once is charged, and stays charged."""
    db.write_sync(enter, entering(keyed("gen_1")))
    end(db, "gen_1", failed(Charge.NO), at=NOON)
    db.write_sync(enter, entering(keyed("gen_2", at=f"{DAY}T15:00:00.000Z")))
    end(db, "gen_1", 1, at=f"{DAY}T15:00:30.000Z", drive=1)
    row = db.write_sync(get_generation, "gen_1")
    assert (row.state, row.charged_micros, row.compensated_micros) == (State.SUCCEEDED, PRICE, 0)
    past = db.write_sync(
        lambda conn: list(past_charges(conn, from_rfc3339(NOON), from_rfc3339(f"{NEXT}T00:00:00.000Z")))
    )
    assert [each.took_s for each in past] == [30.0]
    the_books_hold(db)


def test_a_deadline_gives_the_hold_back(db: Store) -> None:
    """Nothing was sent."""
    a_key(db, spend_micros_per_day=PRICE)
    db.write_sync(accept, a_new("gen_1"))
    db.write_sync(pass_deadline, "gen_1", EXCEEDED, NOON, "later", False)
    assert of(db) == (0, 0)
    the_books_hold(db)


def test_a_crash_between_the_rows_leaves_nothing_counted(db: Store) -> None:
    """The count is part of the transaction."""
    a_key(db, spend_micros_per_day=PRICE)

    def die(conn: Any) -> None:
        assert accept(conn, a_new("gen_1")) is None
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        db.write_sync(die)
    assert of(db) == (0, 0)
    assert db.write_sync(accept, a_new("gen_2")) is None


def test_a_key_that_is_not_on_record_has_no_limit_and_is_counted(db: Store) -> None:
    """Its row may come later; what it spent stands there then."""
    assert db.write_sync(budgets_of, "key_9") == (Budget(scope=Scope.KEY, id="key_9"),)
    assert db.write_sync(accept, a_new("gen_1", key_id="key_9")) is None
    assert of(db, "key:key_9") == (PRICE, PRICE)


def test_limits_are_read_as_they_stand(db: Store) -> None:
    """Of the key and of its group."""
    a_key(db, group=(7, None), group_id="kgr_1", spend_micros_per_month=9)
    key, group = db.write_sync(budgets_of, "key_1")
    assert key == Budget(scope=Scope.KEY, id="key_1", micros_per_month=9)
    assert group == Budget(scope=Scope.GROUP, id="kgr_1", micros_per_day=7)


def test_a_refused_hold_changes_no_row(db: Store) -> None:
    """Also where the first of two budgets had taken it already."""
    key = Budget(scope=Scope.KEY, id="key_1", micros_per_day=100)
    group = Budget(scope=Scope.GROUP, id="kgr_1", micros_per_month=10)
    told = db.write_sync(spend, (key, group), day=DAY, micros=11, currency="USD")
    assert (told.scope, told.period, told.spent_micros) == (Scope.GROUP, Period.MONTH, 0)
    assert of(db) == of(db, GROUP) == (0, 0)
    assert db.write_sync(spend, (key, group), day=DAY, micros=10, currency="USD") is None


def test_the_audit_names_whose_count_is_wrong(db: Store) -> None:
    """And by how much."""
    a_key(db)
    db.write_sync(accept, a_new("gen_1"))
    db.write_sync(lambda conn: conn.execute("UPDATE spend_day SET micros = micros + 1").rowcount)
    (problem,) = db.write_sync(audit).problems
    assert (problem.rule, problem.id) == ("spent_otherwise", KEY)
    assert f"{PRICE + 1} micro-units (USD) on {DAY}; the ledger has {PRICE}" in problem.message


def test_what_an_older_database_has_spent_counts(tmp_path: Path) -> None:
    """The migration reads it off the generations: charged, given back, and held for what is open."""
    path, steps = tmp_path / "old.sqlite3", migrations()
    before = next(number for number, step in enumerate(steps) if "CREATE TABLE spend_day" in step)
    insert = (
        "INSERT INTO generation (id, key_id, surface, model, tier, size, n, state, parts, parts_open, deadline_at, "
        "created_at, currency, unit_micros, held_micros, charged_micros, compensated_micros, drive) VALUES "
        "(?, 'key_1', 'openai', 'm', '1K', '1x1', 1, ?, 1, 0, 'later', ?, 'USD', 10, 10, ?, ?, ?)"
    )
    with closing(sqlite3.connect(path)) as conn:
        for step in steps[:before]:
            conn.executescript(step)
        conn.execute(insert, ("gen_1", "succeeded", NOON, 10, 0, 0))
        conn.execute(insert, ("gen_2", "succeeded", NOON, 10, 4, 0))
        conn.execute(insert, ("gen_3", "failed", NOON, 0, 0, 0))
        conn.execute(insert, ("gen_4", "running", NOON, 0, 0, 1))
        conn.executemany(
            "INSERT INTO ledger_txn (kind, generation_id, drive, at) VALUES ('hold', 'gen_4', ?, ?)",
            [(0, NOON), (1, f"{NEXT}T00:00:00.000Z")],
        )
        conn.execute(f"PRAGMA user_version = {before}")
        conn.commit()
    with closing(SqliteStore(path, "me")) as store:
        assert (of(store)[0], of(store, day=NEXT)) == (16, (10, 26))
        assert store.write_sync(get_generation, "gen_4").held_on == NEXT


def test_a_budget_holds_in_each_currency_by_itself(db: SqliteStore) -> None:
    """Where a gateway's currency was changed, yens are not added to dollars; each goes back where it came from."""
    a_key(db, spend_micros_per_day=2 * PRICE)
    assert db.write_sync(accept, a_new("gen_1", n=2)) is None
    assert db.write_sync(accept, a_new("gen_2", n=2, currency="EUR")) is None
    assert (of(db), of(db, currency="EUR")) == ((2 * PRICE, 2 * PRICE), (2 * PRICE, 2 * PRICE))
    for currency in ("USD", "EUR"):
        exhausted = db.write_sync(accept, a_new("gen_3", currency=currency))
        assert (exhausted.limit_micros, exhausted.spent_micros) == (2 * PRICE, 2 * PRICE)
    end(db, "gen_2", failed(Charge.NO), at=NOON)
    assert (of(db), of(db, currency="EUR")) == ((2 * PRICE, 2 * PRICE), (0, 0))
    the_books_hold(db)


def test_what_was_added_across_currencies_is_counted_anew(tmp_path: Path) -> None:
    """The migration takes it apart, for keys and for groups, open holds included."""
    path, steps = tmp_path / "old.sqlite3", migrations()
    before = next(number for number, step in enumerate(steps) if "spend_by_currency" in step)
    insert = (
        "INSERT INTO generation (id, key_id, group_id, surface, model, tier, size, n, state, parts, parts_open, "
        "deadline_at, created_at, currency, unit_micros, held_micros, charged_micros, compensated_micros, held_on) "
        "VALUES (?, 'key_1', ?, 'openai', 'm', '1K', '1x1', 1, ?, 1, 0, 'later', ?, ?, 10, 10, ?, ?, ?)"
    )
    with closing(sqlite3.connect(path)) as conn:
        for step in steps[:before]:
            conn.executescript(step)
        conn.execute(insert, ("gen_1", "kgr_1", "succeeded", NOON, "USD", 10, 4, DAY))
        conn.execute(insert, ("gen_2", "kgr_1", "running", NOON, "EUR", 0, 0, DAY))
        conn.execute(insert, ("gen_3", None, "succeeded", NOON, "EUR", 10, 0, DAY))
        conn.executemany("INSERT INTO spend_day VALUES (?, ?, ?)", [(KEY, DAY, 26), ("group:kgr_1", DAY, 16)])
        conn.execute(f"PRAGMA user_version = {before}")
        conn.commit()
    with closing(SqliteStore(path, "me")) as store:
        found = {
            (owner, currency): of(store, owner, currency=currency)[0]
            for owner in (KEY, "group:kgr_1")
            for currency in ("USD", "EUR")
        }
    assert found == {(KEY, "USD"): 6, (KEY, "EUR"): 20, ("group:kgr_1", "USD"): 6, ("group:kgr_1", "EUR"): 10}
