"""What is shown of all keys together: found along indexes, whatever else there is, and added up rightly."""

from __future__ import annotations

import re
from typing import Any

import pytest

from holdfast.store.audit_log import entries, note
from holdfast.store.overview import (
    WantedOfAll,
    exposed,
    failures,
    first_view,
    list_all,
    show,
    whole_story,
)
from holdfast.store.queries import queries
from holdfast.store.sessions import SESSIONS_MAX, close_session, find_session, open_session

AT = "2026-11-28T{:02d}:{:02d}:00.000Z"


@pytest.fixture
def conn(database: Any) -> Any:
    """A database of each engine with two keys."""
    made = database.conn()
    for key in ("one", "two"):
        made.execute(
            "INSERT INTO api_key (id, label, created_at, is_admin) VALUES (?, ?, '2026', 1)",
            (f"key_{key}", f"team {key}"),
        )
        made.execute(
            "INSERT INTO key_secret (digest, key_id, created_at) VALUES (?, ?, '2026')",
            (key.encode(), f"key_{key}"),
        )
    return made


def put(conn: Any, table: str, **row: Any) -> None:
    """Insert a row."""
    names = ", ".join(row)
    conn.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(':' + name for name in row)})", row)


def generation(conn: Any, id_: str, *, minute: int = 0, hour: int = 10, **changes: Any) -> str:
    """Put a generation that succeeded and whose image nobody has collected."""
    at = AT.format(hour, minute)
    usual = {
        "id": id_,
        "key_id": "key_one",
        "surface": "openai",
        "model": "nano-banana-pro",
        "tier": "1K",
        "size": "1024x1024",
        "n": 1,
        "request": b'{"surface":"openai","prompt":"a lighthouse","inputs":[]}',
        "state": "succeeded",
        "parts": 1,
        "parts_open": 0,
        "deadline_at": at,
        "created_at": at,
        "finished_at": at,
        "currency": "USD",
        "unit_micros": 5,
        "held_micros": 5,
        "charged_micros": 5,
    }
    put(conn, "generation", **{**usual, **changes})
    return id_


def attempt(conn: Any, generation_id: str, **changes: Any) -> None:
    """Put an attempt of it that failed, and may have been charged."""
    usual = {
        "id": f"att_{generation_id}",
        "generation_id": generation_id,
        "part": 0,
        "drive": 0,
        "number": 1,
        "epoch": 0,
        "upstream": "google",
        "provider": "gemini",
        "model": "gemini-3-pro-image",
        "idempotency_key": generation_id,
        "state": "unknown",
        "charge": "unknown",
        "sent_at": AT.format(10, 0),
        "ended_at": AT.format(10, 1),
        "failure": '{"kind":"lost_reply","phase":"wait","charge":"unknown","detail":"cut"}',
        "estimated_micros": 7,
    }
    put(conn, "attempt", **{**usual, **changes})


def ids_of(page: Any) -> list[str]:
    """The ids on a page."""
    return [each.record.generation.id for each in page.shown]


def test_sums_are_by_hour_and_leave_out_what_is_open_or_before(conn: Any) -> None:
    """Money too; an hour without an end is left out."""
    generation(conn, "gen_1", hour=10, minute=59)
    generation(conn, "gen_2", hour=11, state="failed", charged_micros=0, failure='{"kind":"refused_output"}')
    generation(conn, "gen_3", hour=11, minute=1, compensated_micros=2)
    generation(conn, "gen_4", hour=11, minute=2, state="cancelled", charged_micros=0)
    generation(conn, "gen_5", hour=11, minute=3, state="running", finished_at=None)
    generation(conn, "gen_6", hour=8)
    hours = [AT.format(hour, 0) for hour in (9, 10, 11)]
    view = first_view(conn, hours=hours, live_max=10, recent_max=10)
    assert [(each.hour, each.succeeded, each.failed, each.cancelled) for each in view.hours] == [
        (AT.format(10, 0), 1, 0, 0),
        (AT.format(11, 0), 1, 1, 1),
    ]
    assert [(each.charged_micros, each.compensated_micros) for each in view.hours] == [(5, 0), (10 - 5, 2)]
    assert view.kinds == {"refused_output": 1}
    assert [each.record.generation.id for each in view.live] == ["gen_5"]
    assert [each.record.generation.id for each in view.recent] == ["gen_4", "gen_3", "gen_2", "gen_1", "gen_6"]
    assert view.uncollected == 3
    assert view.live[0].key_label == "team one"


def test_nothing_at_all_is_shown_as_nothing(conn: Any) -> None:
    """The first minute of a gateway."""
    view = first_view(conn, hours=[AT.format(1, 0)], live_max=1, recent_max=1)
    assert (view.hours, view.kinds, view.uncollected, view.exposure_micros) == ((), {}, 0, 0)
    assert list_all(conn, WantedOfAll(limit=5)) is not None
    assert whole_story(conn, "gen_1") is None
    assert show(conn, ["gen_1"]) == ()


def test_filters_hold_together(conn: Any) -> None:
    """Each alone and with the others; times are of accepting, the end left out."""
    generation(conn, "gen_1", minute=1, key_id="key_two")
    generation(conn, "gen_2", minute=2, collected_at=AT.format(10, 3))
    generation(conn, "gen_3", minute=3, state="failed", failure='{"kind":"x"}')
    generation(conn, "gen_4", minute=4, model="gpt-image-2")
    generation(conn, "gen_5", minute=5, purged_at=AT.format(12, 0))
    for wanted, found in [
        (WantedOfAll(limit=9), ["gen_5", "gen_4", "gen_3", "gen_2", "gen_1"]),
        (WantedOfAll(limit=9, key_id="key_two"), ["gen_1"]),
        (WantedOfAll(limit=9, state="failed"), ["gen_3"]),
        (WantedOfAll(limit=9, model="gpt-image-2"), ["gen_4"]),
        (WantedOfAll(limit=9, is_collected=True), ["gen_2"]),
        (WantedOfAll(limit=9, is_collected=False), ["gen_5", "gen_4", "gen_3", "gen_1"]),
        (WantedOfAll(limit=9, state="succeeded", is_collected=False), ["gen_4", "gen_1"]),
        (WantedOfAll(limit=9, state="succeeded", is_collected=False, key_id="key_two"), ["gen_1"]),
        (WantedOfAll(limit=9, state="succeeded", is_collected=False, model="gpt-image-2"), ["gen_4"]),
        (WantedOfAll(limit=9, since=AT.format(10, 4)), ["gen_5", "gen_4"]),
        (WantedOfAll(limit=9, until=AT.format(10, 2)), ["gen_1"]),
        (WantedOfAll(limit=9, since=AT.format(10, 2), until=AT.format(10, 4)), ["gen_3", "gen_2"]),
        (WantedOfAll(limit=9, after="gen_3"), ["gen_2", "gen_1"]),
        (WantedOfAll(limit=9, after="gen_3", until=AT.format(10, 2)), ["gen_1"]),
        (WantedOfAll(limit=9, after="gen_2", until=AT.format(10, 5)), ["gen_1"]),
    ]:
        page = list_all(conn, wanted)
        assert page is not None
        assert (ids_of(page), page.has_more) == (found, False), wanted
    assert list_all(conn, WantedOfAll(limit=9, after="gen_9")) is None


def test_a_filter_that_fits_little_looks_at_a_bounded_stretch(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page goes on behind what was looked at, though nothing of it is shown."""
    monkeypatch.setattr("holdfast.store.overview.LOOKED_AT_MAX", 3)
    for number in range(5):
        generation(conn, f"gen_{number}", minute=number, state="failed" if number == 0 else "succeeded")
    first = list_all(conn, WantedOfAll(limit=2, state="failed"))
    assert first is not None
    assert (ids_of(first), first.has_more, first.last_id) == ([], True, "gen_2")
    second = list_all(conn, WantedOfAll(limit=2, state="failed", after=first.last_id))
    assert second is not None
    assert (ids_of(second), second.has_more, second.last_id) == (["gen_0"], False, "gen_0")


def test_two_of_one_millisecond_are_both_shown(conn: Any) -> None:
    """The id decides, and no page loses one."""
    for number in range(4):
        generation(conn, f"gen_{number}")
    first = list_all(conn, WantedOfAll(limit=2))
    assert first is not None
    second = list_all(conn, WantedOfAll(limit=2, after=first.last_id))
    assert second is not None
    assert ids_of(first) + ids_of(second) == ["gen_3", "gen_2", "gen_1", "gen_0"]


def test_failures_are_counted_as_told_and_as_met(conn: Any) -> None:
    """By hour and by day, within the span."""
    generation(conn, "gen_1", hour=10, state="failed", failure='{"kind":"lost_reply"}')
    generation(conn, "gen_2", hour=11, state="failed", failure='{"code":"generation_cancelled"}')
    attempt(conn, "gen_1")
    by_hour = failures(conn, since="2026-11-28", until="2026-11-29", width=13)
    assert [(each.at, each.kind, each.count) for each in by_hour.told] == [
        ("2026-11-28T10", "lost_reply", 1),
        ("2026-11-28T11", "unknown", 1),
    ]
    assert [(each.upstream, each.kind) for each in by_hour.met] == [("google", "lost_reply")]
    by_day = failures(conn, since="2026-11-28", until="2026-11-29", width=10)
    assert {each.at for each in by_day.told} == {"2026-11-28"}
    assert failures(conn, since="2026-11-29", until="2026-11-30", width=10).told == ()


def test_what_nobody_knows_is_listed_until_it_is_known(conn: Any) -> None:
    """Neither what is in flight, nor what was resolved."""
    for id_ in ("gen_1", "gen_2", "gen_3"):
        generation(conn, id_)
    attempt(conn, "gen_1")
    attempt(conn, "gen_2", state="sent", ended_at=None, failure=None)
    attempt(conn, "gen_3")
    put(conn, "ledger_txn", kind="resolve", generation_id="gen_3", drive=0, attempt_id="att_gen_3", at="2026")
    put(conn, "account", id="unknown_exposure", balance=7)
    put(conn, "exposure_day", day="2026-11-28", model="m", micros=7)
    put(conn, "exposure_day", day="2026-10-01", model="m", micros=9)
    found = exposed(conn, since_day="2026-11-01", most=10)
    assert [each["generation_id"] for each in found.unknown] == ["gen_1"]
    assert (found.balance_micros, found.days) == (7, (("2026-11-28", "m", 7),))


def test_a_story_keeps_the_prompt_apart_and_purged_ones_have_none(conn: Any) -> None:
    """Only whoever asks for the whole story reads what was asked."""
    generation(conn, "gen_1")
    generation(conn, "gen_2", request=None)
    attempt(conn, "gen_1")
    whole = whole_story(conn, "gen_1")
    assert whole is not None
    assert whole.story.generation.request is None
    assert whole.request is not None
    assert b"lighthouse" in whole.request
    assert whole.story.attempts[0].estimated_micros == 7
    purged = whole_story(conn, "gen_2")
    assert purged is not None
    assert purged.request is None


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("ends_between", "COVERING INDEX generation_by_end"),
        ("told_kinds", "COVERING INDEX generation_failed"),
        ("told_failures", "COVERING INDEX generation_failed"),
        ("met_failures", "INDEX attempt_failed"),
        ("count_uncollected", "INDEX generation_uncollected"),
        ("open_ids", "INDEX generation_open"),
        ("ended_ids", "INDEX generation_by_end"),
        ("list_all", "INDEX generation_by_creation"),
        ("last_of_all", "INDEX generation_by_creation"),
        ("list_of_key", "INDEX generation_by_key"),
        ("last_of_key", "INDEX generation_by_key"),
        ("list_uncollected", "INDEX generation_uncollected"),
        ("last_of_uncollected", "INDEX generation_uncollected"),
        ("unknown_attempts", "INDEX attempt_unknown"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_people_look_at_is_found_by_index(conn: Any, name: str, index: str) -> None:
    """With a hundred thousand generations, a walk through all of them is half a second."""
    query = queries("overview")[name]
    values: dict[str, Any] = dict.fromkeys(re.findall(r"(?<!:):(\w+)", re.sub(r"--.*", "", query)), "1")
    values |= {each: 1 for each in ("limit", "looked_at_max", "most", "width") if each in values}
    plan = " ".join(row["detail"] for row in conn.execute(f"EXPLAIN QUERY PLAN {query}", values))
    assert f"USING {index}" in plan, plan
    assert not re.search(r"SCAN (generation|attempt)(?! USING)", plan), plan


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_every_start_looks_for_keeps_its_own_index(conn: Any) -> None:
    """An index over all generations must not look better than the one over those that are open."""
    plan = [row["detail"] for row in conn.execute(f"EXPLAIN QUERY PLAN {queries('generations')['open_generations']}")]
    assert "SCAN generation USING INDEX generation_open" in plan


def test_changes_are_listed_newest_first(conn: Any) -> None:
    """With whose they are; a filter, and a place to go on from."""
    for number in range(4):
        note(
            conn,
            actor="key_one" if number % 2 else "operator",
            action="key.revoked",
            target=f"key_{number}",
            at="2026",
            details={"n": number} if number else None,
        )
    found = entries(conn, limit=10)
    assert [(each.target, each.actor_label) for each in found] == [
        ("key_3", "team one"),
        ("key_2", None),
        ("key_1", "team one"),
        ("key_0", None),
    ]
    assert (found[0].details, found[3].details) == ({"n": 3}, None)
    assert [each.target for each in entries(conn, limit=1, actor="operator")] == ["key_2"]
    assert [each.target for each in entries(conn, limit=9, before=found[1].id)] == ["key_1", "key_0"]
    assert entries(conn, limit=9, action="x") == entries(conn, limit=9, target="x") == ()


def begin(conn: Any, digest: bytes, at: str, ends: str, *, secret: bytes = b"one") -> bool:
    """Open a session of the first key."""
    return open_session(conn, digest=digest, secret_digest=secret, key_id="key_one", created_at=at, expires_at=ends)


def test_a_session_stands_for_the_key_as_it_is_now(conn: Any) -> None:
    """Read with it, so nothing of it is remembered wrongly."""
    assert begin(conn, b"s", "2026-01-01", "2026-01-02")
    row = find_session(conn, b"s")
    assert row is not None
    assert (row.key.id, row.key.label) == ("key_one", "team one")
    assert row.is_valid("2026-01-01")
    assert not row.is_valid("2026-01-02")
    for statement, undone in (
        ("UPDATE api_key SET revoked_at = '2026'", "UPDATE api_key SET revoked_at = NULL"),
        ("UPDATE api_key SET is_admin = 0", "UPDATE api_key SET is_admin = 1"),
        ("UPDATE api_key SET expires_at = '2026-01-01'", "UPDATE api_key SET expires_at = NULL"),
        ("UPDATE key_secret SET expires_at = '2026-01-01'", "UPDATE key_secret SET expires_at = NULL"),
    ):
        conn.execute(statement)
        changed = find_session(conn, b"s")
        assert changed is not None
        assert not changed.is_valid("2026-01-01"), statement
        conn.execute(undone)
    close_session(conn, b"s")
    close_session(conn, b"s")
    assert find_session(conn, b"s") is None


def test_a_secret_that_is_not_on_record_opens_nothing(conn: Any) -> None:
    """Whoever holds the data folder alone has no key."""
    assert not begin(conn, b"s", "2026-01-01", "2026-01-02", secret=b"none")
    assert find_session(conn, b"s") is None


def test_sessions_are_bounded_and_ended_ones_forgotten(conn: Any) -> None:
    """Of one key the newest stay, another's are left alone."""
    open_session(
        conn, digest=b"other", secret_digest=b"two", key_id="key_two", created_at="2026-01-01", expires_at="2027"
    )
    begin(conn, b"ended", "2026-01-01", "2026-01-02")
    for number in range(SESSIONS_MAX + 3):
        begin(conn, b"%d" % number, f"2026-02-01T{number:02d}", "2027")
    left = {row["digest"] for row in conn.execute("SELECT digest FROM session")}
    assert left == {b"other", *(b"%d" % number for number in range(3, SESSIONS_MAX + 3))}
