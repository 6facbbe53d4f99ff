"""Keys in the store: made, changed, rotated, revoked; and what a key of an older folder becomes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.store import keyring
from holdfast.store.keyring import Kept
from holdfast.store.keys import find_key
from holdfast.store.queries import migrations
from holdfast.store.records import GroupRow, KeyRow
from holdfast.store.sqlite import SqliteStore

AT = "2026-11-28T12:00:00.000Z"
LATER = "2026-11-28T13:00:00.000Z"
A_DAY_ON = "2026-11-29T12:00:00.000Z"


@pytest.fixture
def conn(database: Any) -> Any:
    """An empty database of each engine."""
    return database.conn()


@pytest.fixture(autouse=True)
def first(conn: Any) -> KeyRow:
    """The key that a folder has from its beginning; it sorts behind the others."""
    return keyring.create(conn, {"label": "first"}, key_id="key_~", digest=b"first", at=AT).row


def a_key(conn: Any, name: str = "1", **columns: Any) -> Kept:
    """Make another one."""
    return keyring.create(conn, {"label": name, **columns}, key_id=f"key_{name}", digest=name.encode(), at=AT)


def a_group(conn: Any, name: str = "g", **columns: Any) -> GroupRow:
    """Make one."""
    return keyring.create_group(conn, {"label": name, **columns}, group_id=f"kgr_{name}", at=AT)


def refused(work: Callable[[], object]) -> RequestError:
    """What is said of it."""
    with pytest.raises(RequestError) as told:
        work()
    return told.value


def shown(conn: Any, digest: bytes) -> KeyRow:
    """What the gateway finds by a secret."""
    row = find_key(conn, digest)
    assert row is not None
    return row


def test_a_key_is_made_as_it_was_wished(conn: Any) -> None:
    """With one secret, which has no end of its own."""
    wish = {
        "expires_at": A_DAY_ON,
        "join_mode": "off",
        "is_admin": 1,
        "models": '["nano-*"]',
        "rate_per_min": 3,
        "concurrency": 2,
        "spend_micros_per_day": 10,
        "spend_micros_per_month": 100,
        "purchases_max": 1,
        "tls_required": 1,
    }
    kept = a_key(conn, **wish)
    assert kept.row == KeyRow(id="key_1", label="1", created_at=AT, **wish)
    assert [(each.created_at, each.expires_at) for each in kept.secrets] == [(AT, None)]
    assert keyring.look(conn, "key_1") == kept
    assert shown(conn, b"1") == kept.row


def test_a_key_without_wishes_may_everything_but_administer(conn: Any) -> None:
    """And joins only what says that it is a repeat."""
    row = a_key(conn).row
    assert row == KeyRow(id="key_1", label="1", created_at=AT)
    assert (row.is_admin, row.join_mode, row.models) == (0, "retries", None)


def test_the_first_key_of_a_folder_administers_whatever_is_wished(first: KeyRow, conn: Any) -> None:
    """Somebody must, and it is made once; a command that makes it before the first start is no exception."""
    assert (first.is_admin, first.join_mode) == (1, "all")
    conn.execute("DELETE FROM key_secret")
    conn.execute("DELETE FROM api_key")
    assert a_key(conn, is_admin=0, join_mode="off").row == KeyRow(
        id="key_1", label="1", created_at=AT, is_admin=1, join_mode="off"
    )


def test_a_group_is_named_by_its_id_or_its_label(conn: Any) -> None:
    """Its margin comes along with the key, as it is now."""
    group = a_group(conn, "resellers", margin_share=0.25)
    assert a_key(conn, "1", group_id="resellers").row.group_id == a_key(conn, "2", group_id=group.id).row.group_id
    assert shown(conn, b"1").margin_share == 0.25
    keyring.change_group(conn, "resellers", {"margin_share": None, "spend_micros_per_day": 7})
    assert shown(conn, b"1").margin_share is None
    assert keyring.find_group(conn, group.id) == group.but(margin_share=None, spend_micros_per_day=7)
    error = refused(lambda: a_key(conn, "3", group_id="unknown"))
    assert (error.param, error.status) == ("group_id", 400)
    assert refused(lambda: keyring.change(conn, "key_1", {"group_id": "unknown"}, at=AT)).param == "group_id"


def test_labels_of_groups_are_not_shared(conn: Any) -> None:
    """A command names a group by it."""
    a_group(conn, "a")
    a_group(conn, "b")
    assert refused(lambda: keyring.create_group(conn, {"label": "a"}, group_id="kgr_c", at=AT)).param == "label"
    assert refused(lambda: keyring.change_group(conn, "b", {"label": "a"})).param == "label"
    assert refused(lambda: keyring.change_group(conn, "c", {"label": "d"})).status == 404
    assert keyring.change_group(conn, "a", {"label": "a"}).label == "a"
    assert [each.label for each in keyring.groups(conn)] == ["a", "b"]


def test_groups_are_bounded(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are listed at once."""
    monkeypatch.setattr(keyring, "GROUPS_MAX", 2)
    a_group(conn, "a")
    a_group(conn, "b")
    assert "2 groups" in refused(lambda: a_group(conn, "c")).message


def test_a_change_leaves_what_it_does_not_state(conn: Any) -> None:
    """And takes limits away with null."""
    a_key(conn, rate_per_min=3, models='["m"]')
    changed = keyring.change(conn, "key_1", {"label": "new", "rate_per_min": None}, at=LATER)
    assert changed.row == KeyRow(id="key_1", label="new", created_at=AT, models='["m"]')
    assert shown(conn, b"1") == changed.row
    assert refused(lambda: keyring.change(conn, "key_9", {}, at=AT)).code == "key_not_found"


def test_a_rotation_lets_both_secrets_be_valid_for_a_while(conn: Any) -> None:
    """Of one key: what it has asked for stays its own."""
    a_key(conn)
    kept = keyring.rotate(conn, "key_1", digest=b"new", at=AT, overlap_s=3600)
    assert [each.expires_at for each in kept.secrets] == [None, LATER]
    old, new = shown(conn, b"1"), shown(conn, b"new")
    assert (old.id, old.secret_expires_at) == ("key_1", LATER)
    assert (new.id, new.secret_expires_at) == ("key_1", None)


def test_a_later_rotation_shortens_and_never_lengthens(conn: Any) -> None:
    """An old secret that ends within the hour is not given another day."""
    a_key(conn)
    keyring.rotate(conn, "key_1", digest=b"2", at=AT, overlap_s=3600)
    keyring.rotate(conn, "key_1", digest=b"3", at=AT, overlap_s=86_400)
    assert [shown(conn, each).secret_expires_at for each in (b"1", b"2", b"3")] == [LATER, A_DAY_ON, None]
    keyring.rotate(conn, "key_1", digest=b"4", at=AT, overlap_s=0)
    assert [shown(conn, each).secret_expires_at for each in (b"1", b"2", b"3", b"4")] == [AT, AT, AT, None]


def test_so_many_secrets_are_valid_at_once_and_the_way_out_is_told(conn: Any) -> None:
    """Ending them is a rotation too."""
    a_key(conn)
    for number in range(keyring.SECRETS_MAX - 1):
        keyring.rotate(conn, "key_1", digest=b"r%d" % number, at=AT, overlap_s=3600)
    error = refused(lambda: keyring.rotate(conn, "key_1", digest=b"x", at=AT, overlap_s=3600))
    assert error.param == "overlap_s"
    keyring.rotate(conn, "key_1", digest=b"x", at=AT, overlap_s=0)
    assert shown(conn, b"x").secret_expires_at is None


def test_a_secret_that_ended_is_remembered_for_a_month(conn: Any) -> None:
    """So that whoever shows it is told what became of it; then it is like any other that nobody knows."""
    a_key(conn)
    keyring.rotate(conn, "key_1", digest=b"2", at=AT, overlap_s=0)
    keyring.rotate(conn, "key_1", digest=b"3", at="2026-12-28T11:59:59.000Z", overlap_s=0)
    assert find_key(conn, b"1") is not None
    keyring.rotate(conn, "key_1", digest=b"4", at="2026-12-28T12:00:01.000Z", overlap_s=0)
    assert find_key(conn, b"1") is None
    assert find_key(conn, b"2") is not None


def test_a_revoked_key_is_gone_for_good(conn: Any) -> None:
    """It can be looked at, and revoked again without anything coming of it."""
    a_key(conn)
    assert keyring.revoke(conn, "key_1", at=AT).row.revoked_at == AT
    assert keyring.revoke(conn, "key_1", at=LATER).row.revoked_at == AT
    assert "revoked" in refused(lambda: keyring.change(conn, "key_1", {"label": "x"}, at=AT)).message
    assert "revoked" in refused(lambda: keyring.rotate(conn, "key_1", digest=b"2", at=AT, overlap_s=0)).message
    assert refused(lambda: keyring.revoke(conn, "key_9", at=AT)).status == 404


def test_the_last_key_that_may_administer_stays(conn: Any) -> None:
    """Whether it would be revoked or made an ordinary one; one that is revoked or has expired is no other."""
    a_key(conn, "admin", is_admin=1)
    keyring.revoke(conn, "key_~", at=AT)
    a_key(conn, "revoked", is_admin=1)
    keyring.revoke(conn, "key_revoked", at=AT)
    a_key(conn, "expired", is_admin=1, expires_at=AT)
    a_key(conn, "plain")
    assert "only one without an end" in refused(lambda: keyring.revoke(conn, "key_admin", at=LATER)).message
    change = refused(lambda: keyring.change(conn, "key_admin", {"is_admin": 0}, at=LATER))
    assert "only one without an end" in change.message
    keyring.change(conn, "key_admin", {"label": "still"}, at=LATER)
    keyring.revoke(conn, "key_plain", at=LATER)
    a_key(conn, "other", is_admin=1)
    assert keyring.change(conn, "key_admin", {"is_admin": 0}, at=LATER).row.is_admin == 0
    assert keyring.revoke(conn, "key_admin", at=LATER).row.revoked_at == LATER


def test_the_last_key_that_may_administer_is_given_no_end(conn: Any) -> None:
    """On the day on which it ends nobody could make another one; one that ends too is no other."""
    a_key(conn, "admin", is_admin=1)
    keyring.revoke(conn, "key_~", at=AT)
    a_key(conn, "ending", is_admin=1, expires_at=LATER)
    error = refused(lambda: keyring.change(conn, "key_admin", {"expires_at": LATER}, at=AT))
    assert error.param == "expires_at"
    assert "only one without an end" in error.message
    assert "only one without an end" in refused(lambda: keyring.revoke(conn, "key_admin", at=AT)).message
    # One that has an end may have another one, or none, and may go before the other.
    assert keyring.change(conn, "key_ending", {"expires_at": None}, at=AT).row.expires_at is None
    assert keyring.change(conn, "key_admin", {"expires_at": LATER}, at=AT).row.expires_at == LATER
    assert keyring.revoke(conn, "key_admin", at=AT).row.revoked_at == AT


def test_an_admin_that_has_an_end_is_not_taken_back_before_there_is_another(conn: Any) -> None:
    """As an older version may have left it."""
    a_key(conn, "admin", is_admin=1)
    keyring.revoke(conn, "key_~", at=AT)
    conn.execute("UPDATE api_key SET expires_at = ? WHERE id = 'key_admin'", (LATER,))
    assert "only valid one" in refused(lambda: keyring.revoke(conn, "key_admin", at=AT)).message


def test_the_first_key_has_no_end(conn: Any) -> None:
    """It is made an admin whatever was asked for."""
    conn.execute("DELETE FROM api_key")
    error = refused(lambda: a_key(conn, "first", expires_at=LATER))
    assert error.param == "expires_at"


def test_keys_are_listed_by_age_and_page(conn: Any) -> None:
    """Each with its secrets."""
    for name in "abc":
        a_key(conn, name)
    keyring.rotate(conn, "key_b", digest=b"2", at=LATER, overlap_s=0)
    assert [each.row.id for each in keyring.look_through(conn)] == ["key_a", "key_b", "key_c", "key_~"]
    (page,) = keyring.look_through(conn, after="key_a", most=1)
    assert (page.row.id, len(page.secrets)) == ("key_b", 2)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_keys_of_an_older_folder_stay_valid_and_the_first_administers(tmp_path: Path) -> None:
    """Digests, labels and what was revoked are kept; whoever has the first key runs the gateway."""
    path = tmp_path / "older.sqlite3"
    steps = migrations()
    with closing(sqlite3.connect(path)) as old:
        old.executescript("\n".join(steps[:11]) + "PRAGMA user_version = 11;")
        old.executemany(
            "INSERT INTO api_key (id, digest, label, created_at, revoked_at, join_mode) VALUES (?, ?, ?, ?, ?, ?)",
            [
                ("key_B", b"b", "second", "2026-02-01T00:00:00.000Z", None, "retries"),
                ("key_A", b"a", "first", "2026-01-01T00:00:00.000Z", None, "all"),
                ("key_C", b"c", "gone", "2026-03-01T00:00:00.000Z", AT, "retries"),
            ],
        )
        old.commit()
    with closing(SqliteStore(path, "new")) as store:
        rows = [store.write_sync(shown, digest) for digest in (b"a", b"b", b"c")]
        assert store.write_sync(lambda conn: conn.execute("SELECT count(*) FROM key_secret").fetchone()[0]) == 3
    assert [(row.id, row.label, row.is_admin, row.join_mode, row.revoked_at) for row in rows] == [
        ("key_A", "first", 1, "all", None),
        ("key_B", "second", 0, "retries", None),
        ("key_C", "gone", 0, "retries", AT),
    ]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_of_an_older_folder_no_revoked_key_administers_while_another_may(tmp_path: Path) -> None:
    """Whoever took the first key back, since it had leaked, has another: nobody would be admin otherwise."""
    path = tmp_path / "older.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript("\n".join(migrations()[:11]) + "PRAGMA user_version = 11;")
        old.executemany(
            "INSERT INTO api_key (id, digest, label, created_at, revoked_at) VALUES (?, ?, '', ?, ?)",
            [
                ("key_A", b"a", "2026-01-01T00:00:00.000Z", AT),
                ("key_B", b"b", "2026-02-01T00:00:00.000Z", None),
                ("key_C", b"c", "2026-03-01T00:00:00.000Z", None),
            ],
        )
        old.commit()
    with closing(SqliteStore(path, "new")) as store:
        assert [store.write_sync(shown, digest).is_admin for digest in (b"a", b"b", b"c")] == [0, 1, 0]
