"""The door of the store: a repeat finds what it repeats, once; everybody else buys."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from holdfast.generation import State
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import Answer, Claim
from holdfast.policy.retention import Retention
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.bookkeeping import ledger_of, ledger_sums
from holdfast.store.erasing import ask_erase
from holdfast.store.generations import events_of, get_generation, mark_received, pass_deadline
from holdfast.store.joining import Entered, Entering, come_back, enter, leave
from holdfast.store.queries import queries, schema
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.retention import Receipt
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

PRICE = 240_000
SAME, OTHER = b"\x01" * 32, b"\x02" * 32
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="0" * 64)
PLAIN = Claim(idempotency_key=None, by_fingerprint=True, says_retry=False)
RETRY = Claim(idempotency_key=None, by_fingerprint=True, says_retry=True)


@pytest.fixture
def db(database: Any) -> Iterator[Any]:
    """An empty database of each implementation."""
    made = database.open()
    yield made
    made.close()


def at(second: int) -> str:
    """A moment of the test's own hour."""
    return f"2026-01-17T12:{second // 60:02d}:{second % 60:02d}.000Z"


def asking(id_: str, claim: Claim = PLAIN, *, now: int = 0, fingerprint: bytes | None = SAME, **rest: Any) -> Entering:
    """A POST that comes at a second, with the windows of the shipped settings."""
    new: dict[str, Any] = {
        "id": id_,
        "key_id": "key_1",
        "surface": "openai",
        "model": "nano-banana-pro",
        "tier": "4K",
        "size": "4096x4096",
        "n": 1,
        "parts": 1,
        "request": b"{}",
        "deadline_at": at(now + 600),
        "hard_deadline": False,
        "created_at": at(now),
        "currency": "USD",
        "unit_micros": PRICE,
        "held_micros": PRICE,
        "fingerprint": fingerprint,
        "fingerprint_version": None if fingerprint is None else VERSION,
        "idempotency_key": claim.idempotency_key,
        "callers": 1,
        "watched_by": "me",
    }
    names = NewGeneration.__dataclass_fields__.keys() & rest.keys()
    new |= {name: rest.pop(name) for name in list(names)}
    windows = {
        "success_since": at(max(0, now - 900)),
        "failure_since": at(max(0, now - 30)),
        "twin_before": at(now - 2) if now >= 2 else "",
    }
    return Entering(new=NewGeneration(**new), claim=claim, **windows | rest)


def keyed(key: str, *, is_strict: bool = False) -> Claim:
    """A caller that names its call."""
    return Claim(idempotency_key=key, by_fingerprint=False, says_retry=False, is_strict=is_strict)


def bought(db: Any, id_: str = "gen_1", claim: Claim = PLAIN, *, leaves: bool = False, **rest: Any) -> str:
    """Buy; with `leaves` its caller is gone right after."""
    entered = db.write_sync(enter, asking(id_, claim, asks_twins=False, **rest))
    assert entered == Entered(generation_id=id_)
    if leaves:
        db.write_sync(leave, [id_], "me")
    return id_


def ended(db: Any, id_: str = "gen_1", *, now: int = 10, failure: Failure | None = None, drive: int = 0) -> None:
    """Let its only attempt end, with an image or without."""
    attempt = f"att_{id_}_{drive}"
    send(db, id_, drive=drive)
    blobs = () if failure else (NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=f"k/{id_}", info=INFO),)
    db.write_sync(
        end_attempt, AttemptEnd(attempt_id=attempt, at=at(now), purge_after="z", blobs=blobs, failure=failure)
    )


def send(db: Any, id_: str = "gen_1", *, drive: int = 0) -> None:
    """Begin its only attempt."""
    new = NewAttempt(
        id=f"att_{id_}_{drive}",
        generation_id=id_,
        part=0,
        drive=drive,
        upstream="google",
        provider="gemini",
        model="gemini-3-pro-image",
        idempotency_key=f"{id_}.0.{drive}",
        estimated_micros=PRICE,
        owner="me",
        sent_at=at(1),
    )
    assert db.write_sync(begin_attempt, new) is not None


def receive(db: Any, *, with_image: bool = True) -> None:
    """Let the first generation's answer arrive."""
    retention = Retention(max_s=604_800, after_finish_s=86_400, after_collect_s=3600)
    db.write_sync(mark_received, [Receipt("gen_1", with_image)], at(11), retention)


def failing(kind: FailureKind, charge: Charge) -> Failure:
    """An end without an image."""
    return Failure(kind=kind, phase=Phase.RECEIVE, charge=charge, detail="it failed")


OVERLOADED = failing(FailureKind.OVERLOADED, Charge.NO)
REFUSED = failing(FailureKind.REFUSED_OUTPUT, Charge.NO)
LOST = failing(FailureKind.LOST_REPLY, Charge.UNKNOWN)


def ask(db: Any, id_: str, claim: Claim = PLAIN, **rest: Any) -> Entered:
    """Ask, and let a twin be; give what came of it."""
    entered: Entered = db.write_sync(enter, asking(id_, claim, **{"asks_twins": False} | rest))
    return entered


def state_of(db: Any, id_: str) -> str:
    """How it stands."""
    row = db.write_sync(get_generation, id_)
    assert row is not None
    return str(row.state)


# By key


@pytest.mark.parametrize("is_ended", [False, True])
def test_the_same_key_is_the_same_generation(db: Any, is_ended: bool) -> None:
    """In flight it is joined, ended it is given again; nothing is bought, nothing is held twice."""
    bought(db, claim=keyed("a"))
    if is_ended:
        ended(db)
    for repeat in ("gen_2", "gen_3"):
        entered = ask(db, repeat, keyed("a"), now=20)
        assert entered.generation_id == "gen_1"
        assert entered.answer is (Answer.REPLAY if is_ended else Answer.JOIN)
        assert db.write_sync(get_generation, repeat) is None
    assert [line for line in db.write_sync(ledger_of, "gen_1") if line[0] == "hold"] == [
        ("hold", "customer:key_1", PRICE),
        ("hold", "held", -PRICE),
    ]
    assert db.write_sync(ledger_sums).hold


def test_a_key_is_one_owners(db: Any) -> None:
    """Two customers may choose the same word."""
    bought(db, claim=keyed("a"))
    assert ask(db, "gen_2", keyed("a"), key_id="key_2") == Entered(generation_id="gen_2")
    assert ask(db, "gen_3", keyed("A")) == Entered(generation_id="gen_3")


def test_a_key_with_another_request_is_refused_and_leaves_nothing(db: Any) -> None:
    """Neither is another image bought under it, nor is the wrong one given."""
    bought(db, claim=keyed("a"))
    entered = ask(db, "gen_2", keyed("a"), fingerprint=OTHER)
    assert (entered.generation_id, entered.answer) == ("gen_1", Answer.REUSED)
    assert db.write_sync(get_generation, "gen_2") is None


def test_a_fingerprint_of_another_version_joins_by_key_alone(db: Any) -> None:
    """An honest repeat that crosses a deploy is no other request."""
    bought(db, claim=keyed("a"), fingerprint_version=VERSION + 1)
    assert ask(db, "gen_2", keyed("a"), fingerprint=OTHER).answer is Answer.JOIN
    bought(db, "gen_3", fingerprint_version=VERSION + 1, leaves=True, fingerprint=OTHER)
    assert ask(db, "gen_4", PLAIN, fingerprint=OTHER) == Entered(generation_id="gen_4")


def test_who_wants_to_be_told_is_told(db: Any) -> None:
    """`handling=strict` joins nothing that is in flight; what has ended it is given."""
    bought(db, claim=keyed("a"))
    assert ask(db, "gen_2", keyed("a", is_strict=True)).answer is Answer.IN_FLIGHT
    ended(db)
    assert ask(db, "gen_2", keyed("a", is_strict=True)).answer is Answer.REPLAY


def test_of_a_hundred_with_one_key_one_buys(db: Any) -> None:
    """All at one instant, from many threads: one generation, ninety-nine join it."""
    with ThreadPoolExecutor(20) as pool:
        entered = list(pool.map(lambda at: ask(db, f"gen_{at:03d}", keyed("a")), range(100)))
    buyers = [each for each in entered if each.answer is None]
    assert len(buyers) == 1
    assert {each.generation_id for each in entered} == {buyers[0].generation_id}
    assert [each.answer for each in entered].count(Answer.JOIN) == 99


# By fingerprint


def test_two_who_ask_the_same_at_once_get_two(db: Any) -> None:
    """Somebody waits for the first one."""
    bought(db)
    assert ask(db, "gen_2", now=1) == Entered(generation_id="gen_2")


@pytest.mark.parametrize("is_ended", [False, True])
def test_an_orphan_is_joined_once(db: Any, is_ended: bool) -> None:
    """Its caller left without the answer: the next who asks for the same gets it, the one after him buys."""
    bought(db, leaves=True)
    if is_ended:
        ended(db)
    entered = ask(db, "gen_2", now=20)
    assert (entered.generation_id, entered.answer) == ("gen_1", Answer.REPLAY if is_ended else Answer.JOIN)
    assert ask(db, "gen_3", now=20) == Entered(generation_id="gen_3")
    db.write_sync(leave, ["gen_1"], "me")
    assert ask(db, "gen_4", now=20).generation_id == "gen_1"


def test_a_departure_on_whose_heels_the_repeat_comes_counts(db: Any) -> None:
    """It is noted in the same transaction, before anything is looked for."""
    bought(db)
    entered = db.write_sync(enter, asking("gen_2", asks_twins=False), ["gen_1"])
    assert entered.generation_id == "gen_1"


def test_of_a_hundred_repeats_one_joins_and_of_a_hundred_orphans_each_is_joined(db: Any) -> None:
    """One to one, whoever comes first: an orphan never gets two callers, a caller never two orphans."""
    bought(db, leaves=True)
    with ThreadPoolExecutor(20) as pool:
        entered = list(pool.map(lambda at: ask(db, f"gen_a{at:03d}"), range(100)))
    assert [each.generation_id for each in entered].count("gen_1") == 1
    assert len({each.generation_id for each in entered}) == 100
    orphans = [each.generation_id for each in entered]
    db.write_sync(leave, orphans, "me")
    with ThreadPoolExecutor(20) as pool:
        again = list(pool.map(lambda at: ask(db, f"gen_b{at:03d}"), range(100)))
    assert sorted(each.generation_id for each in again) == sorted(orphans)


def test_the_oldest_orphan_is_joined_first(db: Any) -> None:
    """It has waited longest, and is nearest to its end."""
    for number in (3, 1, 2):
        bought(db, f"gen_{number}", now=number)
    db.write_sync(leave, ["gen_1", "gen_2", "gen_3"], "me")
    assert [ask(db, "gen_9", now=5).generation_id for _ in range(3)] == ["gen_1", "gen_2", "gen_3"]


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": OTHER}, {"key_id": "key_2"}, {"fingerprint": None}],
)
def test_nothing_else_is_joined(db: Any, change: dict[str, Any]) -> None:
    """Another request, another owner, a request that has no fingerprint."""
    bought(db, leaves=True)
    assert ask(db, "gen_2", **change) == Entered(generation_id="gen_2")


def test_a_keyed_generation_is_not_taken_by_who_has_no_key(db: Any) -> None:
    """Its owner will come for it by its name."""
    bought(db, claim=keyed("a"), leaves=True)
    assert ask(db, "gen_2") == Entered(generation_id="gen_2")


def test_who_is_not_recognised_buys(db: Any) -> None:
    """Where joining is off, or the key is shared and nothing says that this is a repeat."""
    bought(db, leaves=True)
    nobody = Claim(idempotency_key=None, by_fingerprint=False, says_retry=True)
    assert ask(db, "gen_2", nobody) == Entered(generation_id="gen_2")


def test_what_was_received_is_not_joined(db: Any) -> None:
    """The same words again mean another picture."""
    bought(db)
    ended(db)
    receive(db)
    db.write_sync(leave, ["gen_1"], "me")
    assert ask(db, "gen_2", now=12) == Entered(generation_id="gen_2")


@pytest.mark.parametrize(("now", "is_joined"), [(910, True), (911, False)])
def test_an_image_that_nobody_took_is_given_for_a_quarter_of_an_hour(db: Any, now: int, is_joined: bool) -> None:
    """Later the same words mean a new one."""
    bought(db, leaves=True)
    ended(db, now=10)
    assert (ask(db, "gen_2", now=now).generation_id == "gen_1") is is_joined


@pytest.mark.parametrize(("now", "is_joined"), [(40, True), (41, False)])
def test_a_failure_that_nobody_heard_is_told_for_half_a_minute(db: Any, now: int, is_joined: bool) -> None:
    """The SDK that was broken off comes within seconds; later it is news of yesterday."""
    bought(db, leaves=True)
    ended(db, now=10, failure=REFUSED)
    entered = ask(db, "gen_2", now=now)
    assert (entered.generation_id == "gen_1") is is_joined
    assert entered.answer is (Answer.REPLAY if is_joined else None)


def test_callers_of_a_process_that_is_gone_are_gone(db: Any) -> None:
    """Whatever the record says of them: it was killed, and they with it."""
    bought(db, watched_by="an earlier process")
    entered = ask(db, "gen_2")
    assert (entered.generation_id, entered.answer) == ("gen_1", Answer.JOIN)
    assert ask(db, "gen_3") == Entered(generation_id="gen_3"), "it has a caller now, and of this process"


# Who says that he repeats


@pytest.mark.parametrize("is_received", [False, True])
def test_a_counted_retry_joins_what_looks_received_or_watched(db: Any, is_received: bool) -> None:
    """A proxy that buffers acknowledged for its client, or the old connection has not been seen to be gone."""
    bought(db)
    if is_received:
        ended(db)
        receive(db)
    assert ask(db, "gen_2", RETRY, now=12).generation_id == "gen_1"


def test_counted_retries_of_several_calls_take_one_each(db: Any) -> None:
    """The newest first: an SDK repeats its latest call; then those that nobody has joined yet."""
    for number in (1, 2, 3):
        bought(db, f"gen_{number}", now=number)
    assert [ask(db, "gen_9", RETRY, now=5).generation_id for _ in range(3)] == ["gen_3", "gen_2", "gen_1"]


def test_a_counted_retry_takes_an_orphan_before_anything_else(db: Any) -> None:
    """That one is certainly nobody's."""
    bought(db, "gen_1", now=1)
    bought(db, "gen_2", now=2)
    db.write_sync(leave, ["gen_1"], "me")
    assert ask(db, "gen_9", RETRY, now=5).generation_id == "gen_1"


def test_a_retry_of_nothing_buys(db: Any) -> None:
    """What it repeats never reached us."""
    assert ask(db, "gen_1", RETRY) == Entered(generation_id="gen_1")


# Twins


@pytest.mark.parametrize(("now", "is_twin"), [(1, False), (2, True), (500, True)])
def test_who_may_be_the_same_caller_is_named_before_anything_is_bought(db: Any, now: int, is_twin: bool) -> None:
    """He looks alive, but a departure is often seen late; two seconds make two people of one."""
    bought(db)
    entered = ask(db, "gen_2", now=now, asks_twins=True)
    assert entered == (Entered(twin_ids=("gen_1",)) if is_twin else Entered(generation_id="gen_2"))
    assert (db.write_sync(get_generation, "gen_2") is None) is is_twin


def test_no_twin_is_named_to_who_would_not_join_it(db: Any) -> None:
    """A keyed call, or one that is not recognised, does not wait for another's fate."""
    bought(db)
    nobody = Claim(idempotency_key=None, by_fingerprint=False, says_retry=False)
    assert ask(db, "gen_2", keyed("a"), now=9, asks_twins=True) == Entered(generation_id="gen_2")
    assert ask(db, "gen_3", nobody, now=9, asks_twins=True) == Entered(generation_id="gen_3")


def test_every_twin_is_named(db: Any) -> None:
    """Any of them may be the one that is gone."""
    for number in (1, 2, 3):
        bought(db, f"gen_{number}", now=number)
    assert ask(db, "gen_9", now=9, asks_twins=True) == Entered(twin_ids=("gen_1", "gen_2", "gen_3"))


# Driven again


@pytest.mark.parametrize("claim", [keyed("a"), RETRY, PLAIN])
def test_a_failure_that_cost_nothing_is_driven_again_under_its_id(db: Any, claim: Claim) -> None:
    """A new round with a hold of its own; it ends as any other, and the books hold."""
    bought(db, claim=claim, leaves=True)
    ended(db, failure=OVERLOADED)
    entered = ask(db, "gen_2", claim, now=20)
    assert (entered.generation_id, entered.answer) == ("gen_1", Answer.DRIVE_AGAIN)
    row = entered.row
    assert row is not None
    assert (row.state, row.drive, row.parts_open, row.failure, row.finished_at) == ("queued", 1, 1, None, None)
    assert row.deadline_at == at(620)
    ended(db, now=30, drive=1)
    row = db.write_sync(get_generation, "gen_1")
    assert (row.state, row.charged_micros) == ("succeeded", PRICE)
    assert [event.type for event in db.write_sync(events_of, "gen_1")] == [
        *("queued", "running", "failed"),
        *("queued", "running", "succeeded"),
    ]
    assert db.write_sync(ledger_sums).hold
    assert db.write_sync(ledger_sums).accounts["held"] == 0


@pytest.mark.parametrize("failure", [REFUSED, LOST])
def test_a_failure_that_would_come_again_or_may_be_paid_is_told_again(db: Any, failure: Failure) -> None:
    """Under a key for as long as the key lives; nothing is bought."""
    bought(db, claim=keyed("a"))
    ended(db, failure=failure)
    entered = ask(db, "gen_2", keyed("a"), now=3000)
    assert entered.answer is Answer.REPLAY
    assert state_of(db, "gen_1") == State.FAILED


@pytest.mark.parametrize("claim", [keyed("a"), PLAIN])
def test_a_failure_whose_attempt_is_in_flight_is_joined(db: Any, claim: Claim) -> None:
    """Its time was over, its image is still on its way: a second one would be paid twice. Even if its end was heard."""
    bought(db, claim=claim, leaves=True)
    send(db)
    told = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
    assert db.write_sync(pass_deadline, "gen_1", told, at(10), "z", False) is not None
    receive(db, with_image=False)
    entered = ask(db, "gen_2", claim, now=100)
    assert (entered.generation_id, entered.answer) == ("gen_1", Answer.JOIN)


def test_an_image_that_came_late_is_given_though_its_failure_was_heard(db: Any) -> None:
    """The caller was told that nobody knows; the image came after all, it is paid for, and nobody has it."""
    bought(db, leaves=True)
    send(db)
    told = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
    db.write_sync(pass_deadline, "gen_1", told, at(10), "z", False)
    receive(db, with_image=False)
    blob = NewBlob(id="img_1", kind="result", position=0, store_key="k/1", info=INFO)
    db.write_sync(end_attempt, AttemptEnd(attempt_id="att_gen_1_0", at=at(200), purge_after="z", blobs=(blob,)))
    entered = ask(db, "gen_2", now=1200)
    assert (entered.generation_id, entered.answer) == ("gen_1", Answer.REPLAY)


@pytest.mark.parametrize("claim", [PLAIN, RETRY])
def test_what_was_deleted_is_no_repeat_of_who_did_not_name_it(db: Any, claim: Claim) -> None:
    """He is given a new one; only who names it is told that it is gone."""
    bought(db, leaves=True)
    ended(db)
    db.write_sync(lambda conn: conn.execute("UPDATE blob SET state = 'deleted'").rowcount)
    assert ask(db, "gen_2", claim, now=20) == Entered(generation_id="gen_2")
    bought(db, "gen_3", claim=keyed("a"))
    ended(db, "gen_3")
    db.write_sync(lambda conn: conn.execute("UPDATE blob SET state = 'deleting'").rowcount)
    assert ask(db, "gen_4", keyed("a"), now=20).answer is Answer.EXPIRED


def test_an_orphan_is_joined_though_an_older_one_was_deleted(db: Any) -> None:
    """Its owner had that one deleted; the repeat means the other, and buys nothing."""
    for number in (1, 2):
        bought(db, f"gen_{number}", now=number)
    db.write_sync(leave, ["gen_1", "gen_2"], "me")
    for id_ in ("gen_1", "gen_2"):
        ended(db, id_)
    assert db.write_sync(ask_erase, "gen_1", at(12)).is_new
    assert ask(db, "gen_3", now=20).generation_id == "gen_2"


def test_what_is_older_than_any_repeat_is_not_looked_at(db: Any) -> None:
    """The same words asked a thousand times are not searched each time."""
    bought(db, leaves=True)
    assert ask(db, "gen_2", now=3000, oldest=at(1)) == Entered(generation_id="gen_2")


def test_a_repeat_is_found_by_index() -> None:
    """Each unkeyed POST looks; a key's whole history would be read each time."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        for name in ("orphan", "kin", "twins"):
            query = queries("joining")[name]
            values = dict.fromkeys(re.findall(r"(?<!:):(\w+)", re.sub(r"--.*", "", query)), 0)
            plan = " ".join(row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {query}", values))
            wanted = "generation_by_fingerprint (key_id=? AND fingerprint=? AND created_at>?"
            assert wanted in plan, f"{name}: {plan}"
            assert "SCAN" not in plan, f"{name}: {plan}"


# Doors that are closed


def test_who_may_not_buy_may_join(db: Any) -> None:
    """A gateway that drains, or has no room, serves repeats to the end; what is new it refuses, and writes nothing."""
    bought(db, claim=keyed("a"))
    assert ask(db, "gen_2", keyed("a"), may_buy=False).answer is Answer.JOIN
    assert ask(db, "gen_3", keyed("b"), may_buy=False) == Entered()
    assert ask(db, "gen_3", may_buy=False, asks_twins=True, now=9) == Entered()
    assert db.write_sync(get_generation, "gen_3") is None


def test_who_may_not_buy_drives_nothing_again(db: Any) -> None:
    """That is a purchase too."""
    bought(db, claim=keyed("a"))
    ended(db, failure=OVERLOADED)
    assert ask(db, "gen_2", keyed("a"), may_buy=False) == Entered()
    assert state_of(db, "gen_1") == State.FAILED


def test_leaving_is_counted_and_never_below_nobody(db: Any) -> None:
    """Two who wait and three who leave leave nobody; those of another process are not ours to count."""
    bought(db, claim=keyed("a"))
    ask(db, "gen_2", keyed("a"))
    db.write_sync(leave, ["gen_1"], "another process")
    assert callers_of(db) == 2
    db.write_sync(leave, ["gen_1", "gen_1", "gen_1"], "me")
    assert callers_of(db) == 0


def callers_of(db: Any) -> int:
    """Connections that wait, as the row has them."""
    count: int = db.write_sync(lambda conn: conn.execute("SELECT callers FROM generation").fetchone()[0])
    return count


def test_who_comes_back_is_counted_again(db: Any) -> None:
    """He repeats nothing: whoever asks next does not take his image, until he leaves for good."""
    bought(db, leaves=True)
    db.write_sync(come_back, "gen_1", "me")
    assert ask(db, "gen_2").generation_id == "gen_2"
    db.write_sync(leave, ["gen_1"], "me")
    assert ask(db, "gen_3", asks_twins=False).answer is Answer.JOIN


def test_who_comes_back_to_another_process_is_its_first(db: Any) -> None:
    """What the process before had counted went with it."""
    bought(db)
    db.write_sync(come_back, "gen_1", "next")
    db.write_sync(leave, ["gen_1"], "next")
    entered = db.write_sync(enter, asking("gen_2", watched_by="next", asks_twins=False))
    assert (entered.generation_id, entered.answer) == ("gen_1", Answer.JOIN)


def test_what_its_owner_deleted_hides_nothing_that_can_be_joined(db: Any) -> None:
    """The older orphan is deleted: the next one of the same words is the one to join."""
    bought(db, "gen_1", leaves=True)
    db.write_sync(lambda conn: conn.execute("UPDATE generation SET deleted_at = '2026'").rowcount)
    bought(db, "gen_2", leaves=True)
    entered = db.write_sync(enter, asking("gen_3", asks_twins=False))
    assert (entered.generation_id, entered.answer) == ("gen_2", Answer.JOIN)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.parametrize("lives", [True, False])
def test_who_waits_at_another_process_is_named_while_that_lives(db: Any, lives: bool) -> None:
    """Of one that is dead nobody waits: what it had is joined."""

    def seen(conn: Any) -> None:
        hour = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
        conn.execute(f"INSERT INTO replica (owner, role, seen_us) VALUES ('other', 'serve', {hour})")

    bought(db, "gen_1", watched_by="other")
    if lives:
        db.write_sync(seen)
    entered = db.write_sync(enter, asking("gen_2", now=10))
    assert entered.twin_ids == (("gen_1",) if lives else ())
    assert entered.generation_id == (None if lives else "gen_1")
