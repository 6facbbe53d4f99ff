"""Lists at rest: newest first, page by page, narrowed, and never more work than a page is worth."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.policy.retention import Retention
from holdfast.store import listing
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.generations import accept, get_record, mark_received
from holdfast.store.listing import Page, Wanted, get_told, list_generations
from holdfast.store.port import Store
from holdfast.store.queries import queries
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.retention import Receipt
from holdfast.types import ImageInfo

PRICE = 134_000
RETENTION = Retention(max_s=604_800, after_finish_s=86_400, after_collect_s=3600)
INFO = ImageInfo(mime="image/png", width_px=64, height_px=64, bytes=9, sha256="ab" * 32)


@pytest.fixture
def db(database: Any) -> Any:
    """An empty store of each engine."""
    return database.open()


def at(second: int) -> str:
    """A moment of the test's own minute."""
    return f"2026-01-17T12:00:{second:02d}.000Z"


def put(db: Store, id_: str, second: int = 0, **overrides: Any) -> None:
    """Accept a generation."""
    values: dict[str, Any] = {
        "id": id_,
        "key_id": "key_1",
        "surface": "openai",
        "model": "nano-banana-pro",
        "tier": "1K",
        "size": "1024x1024",
        "n": 1,
        "parts": 1,
        "request": b'{"prompt":"x"}',
        "deadline_at": at(59),
        "hard_deadline": False,
        "created_at": at(second),
        "currency": "USD",
        "unit_micros": PRICE,
        "held_micros": PRICE,
    }
    db.write_sync(accept, NewGeneration(**values | overrides))


def finish(db: Store, id_: str) -> None:
    """Bring its image."""
    new = NewAttempt(
        id=f"att_{id_}",
        generation_id=id_,
        part=0,
        drive=0,
        upstream="google",
        provider="gemini",
        model="gemini-3-pro-image",
        idempotency_key=f"{id_}.0.0",
        estimated_micros=PRICE,
        owner="me",
        sent_at=at(1),
    )
    assert db.write_sync(begin_attempt, new) is not None
    blob = NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=f"blobs/{id_}", info=INFO)
    answer = b'{"candidates":[]}'
    end = AttemptEnd(attempt_id=new.id, at=at(30), purge_after=at(50), blobs=(blob,), answer=answer)
    db.write_sync(end_attempt, end)


def page(db: Store, *, limit: int = 20, key_id: str = "key_1", **wanted: Any) -> Page:
    """Read a page that is there."""
    found = db.write_sync(list_generations, key_id, Wanted(limit=limit, **wanted))
    assert found is not None
    return found


def ids(found: Page) -> list[str]:
    """Which generations are on it."""
    return [record.generation.id for record in found.records]


def test_the_newest_come_first(db: Store) -> None:
    """By the moment of their acceptance; of one instant, by id."""
    for id_, second in (("gen_b", 1), ("gen_a", 1), ("gen_z", 0), ("gen_c", 2)):
        put(db, id_, second)
    found = page(db)
    assert ids(found) == ["gen_c", "gen_b", "gen_a", "gen_z"]
    assert (found.has_more, found.last_id) == (False, "gen_z")


def test_pages_together_are_the_list_whatever_their_length(db: Store) -> None:
    """Nothing twice, nothing left out, also where many were accepted in one millisecond."""
    for number in range(7):
        put(db, f"gen_{number}", number // 3)
    whole = ids(page(db))
    assert len(whole) == 7
    for limit in (1, 2, 3, 6, 7, 8):
        seen: list[str] = []
        after = None
        while True:
            found = page(db, limit=limit, after=after)
            assert len(found.records) <= limit
            seen += ids(found)
            if not found.has_more:
                break
            after = found.last_id
        assert seen == whole


def test_what_is_accepted_meanwhile_disturbs_no_page(db: Store) -> None:
    """A cursor is a place in the list, not a count from its top."""
    for number in range(4):
        put(db, f"gen_{number}", number)
    first = page(db, limit=2)
    put(db, "gen_new", 9)
    assert ids(page(db, limit=2, after=first.last_id)) == ["gen_1", "gen_0"]


def test_a_key_sees_its_own_and_goes_on_from_its_own(db: Store) -> None:
    """Another key's generation is no place in this list, as one that never was."""
    put(db, "gen_mine")
    put(db, "gen_theirs", key_id="key_2")
    assert ids(page(db)) == ["gen_mine"]
    assert ids(page(db, key_id="key_2")) == ["gen_theirs"]
    assert ids(page(db, key_id="key_3")) == []
    for nowhere in ("gen_theirs", "gen_never", ""):
        assert db.write_sync(list_generations, "key_1", Wanted(limit=1, after=nowhere)) is None


def test_filters_narrow_it_each_and_together(db: Store) -> None:
    """State, model, and whether image bytes have arrived."""
    for number in range(4):
        put(db, f"gen_{number}", number, model="gpt-image-2" if number % 2 else "nano-banana-pro")
    finish(db, "gen_1")
    finish(db, "gen_2")
    db.write_sync(mark_received, [Receipt("gen_1", True), Receipt("gen_2", False)], at(40), RETENTION)
    assert ids(page(db, state="queued")) == ["gen_3", "gen_0"]
    assert ids(page(db, model="gpt-image-2")) == ["gen_3", "gen_1"]
    assert ids(page(db, is_collected=True)) == ["gen_1"]
    assert ids(page(db, is_collected=False, state="succeeded")) == ["gen_2"]
    assert ids(page(db, state="succeeded", model="gpt-image-2", is_collected=True)) == ["gen_1"]
    assert ids(page(db, state="failed")) == []


def test_one_is_found_by_its_idempotency_key(db: Store) -> None:
    """Of this API key only, and together with the other filters."""
    for id_, key_id in (("gen_1", "key_1"), ("gen_2", "key_2")):
        put(db, id_, key_id=key_id)
        named = "UPDATE generation SET idempotency_key = 'order-7' WHERE id = :id"
        db.write_sync(lambda conn, named=named, id_=id_: conn.execute(named, {"id": id_}).rowcount)
    put(db, "gen_3", 3)
    found = page(db, idempotency_key="order-7")
    assert (ids(found), found.has_more) == (["gen_1"], False)
    assert ids(page(db, idempotency_key="order-7", state="failed")) == []
    assert ids(page(db, idempotency_key="order-8")) == []


def test_a_filter_that_fits_little_looks_at_a_bounded_stretch(db: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may then be short or empty and says that there is more, and the next ones find the rest."""
    monkeypatch.setattr(listing, "LOOKED_AT_MAX", 4)
    for number in range(10):
        put(db, f"gen_{number}", number, model="gpt-image-2" if number in (1, 8) else "nano-banana-pro")
    pages = [page(db, limit=2, model="gpt-image-2")]
    while pages[-1].has_more:
        pages.append(page(db, limit=2, model="gpt-image-2", after=pages[-1].last_id))
    assert [ids(each) for each in pages] == [["gen_8"], [], ["gen_1"]]
    assert [each.last_id for each in pages] == ["gen_6", "gen_2", "gen_1"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_list_walks_through_the_table(db: Store) -> None:
    """Every way of asking is served by an index that begins with the key."""
    values = {"key_id": "k", "before_at": "9", "before_id": "", "idempotency_key": "x", "limit": 2, "looked_at_max": 9}
    values |= dict.fromkeys(("state", "model", "is_collected"))
    wanted = {
        "list_of_key": "generation_by_key (key_id=? AND created_at<?)",
        "last_looked_at": "generation_by_key (key_id=? AND created_at<?)",
        "list_of_idempotency_key": "generation_by_idempotency_key (key_id=? AND idempotency_key=?)",
    }

    def plan(conn: Any, name: str) -> list[str]:
        return [row[3] for row in conn.execute("EXPLAIN QUERY PLAN " + queries("listing")[name], values)]

    for name, index in wanted.items():
        steps = db.write_sync(plan, name)
        assert f"SEARCH generation USING INDEX {index}" in steps, name
        assert not any("SCAN generation" in step for step in steps), name


def test_what_is_told_leaves_out_what_nobody_is_told(db: Store) -> None:
    """The request and the upstream's documents may be megabytes, times a hundred on a page."""
    put(db, "gen_1")
    finish(db, "gen_1")
    whole, told = db.write_sync(get_record, "gen_1"), db.write_sync(get_told, "gen_1")
    assert whole is not None
    assert told is not None
    assert (whole.generation.request, whole.attempts[0].answer) == (b'{"prompt":"x"}', b'{"candidates":[]}')
    assert told.generation == whole.generation.but(request=None)
    assert told.attempts == tuple(each.but(answer=None) for each in whole.attempts)
    assert told.blobs == whole.blobs
    assert page(db).records == (told,)
    assert db.write_sync(get_told, "gen_2") is None
