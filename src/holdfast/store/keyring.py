"""What is done to keys and their groups: made, changed, rotated, revoked, looked through.

The same functions serve the admin API and `holdfast keys`: each is one transaction, and refuses what cannot be as a
caller is told it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from holdfast.clock import from_rfc3339, rfc3339
from holdfast.errors import RequestError
from holdfast.store.keys import count_keys, insert_key
from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import GroupRow, KeyRow, SecretRow, values_of

_Q = queries("keys")

SECRETS_MAX = 5
"""Of a key, valid at once: whoever rotates more often than his old secrets end has lost sight of them."""
SECRET_KEPT = timedelta(days=30)
"""How long a secret that was replaced is told so; then it is unknown."""
PAGE_MAX = 1000
GROUPS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A key and its secrets, newest first."""

    row: KeyRow
    secrets: tuple[SecretRow, ...]


def create(conn: Conn, columns: Mapping[str, Any], *, key_id: str, digest: bytes, at: str) -> Kept:
    """Make a key; the first of a folder administers, and is somebody's own, so that any repeat joins.

    Raises:
        RequestError: There is no such group, or the first key would end, and nobody could administer then.
    """
    lock(conn, "keys")
    columns = _with_group(conn, columns)
    if not count_keys(conn):
        columns = {"join_mode": "all", **columns, "is_admin": 1}
        if columns.get("expires_at") is not None:
            raise RequestError(
                "The first key administers, and may have no end: make it without one.", param="expires_at"
            )
    row = insert_key(conn, key_id, digest, created_at=at, **columns)
    return _kept(conn, row)


def change(conn: Conn, key_id: str, columns: Mapping[str, Any], *, at: str) -> Kept:
    """Change what is stated of a key.

    Raises:
        RequestError: There is no such key or group, it was revoked, or nobody could administer any more.
    """
    lock(conn, "keys")
    before = _not_revoked(conn, key_id)
    row = before.but(**_with_group(conn, columns))
    if before.is_admin and not row.is_admin:
        _check_others_administer(conn, before, at)
    elif before.is_admin and row.expires_at not in (None, before.expires_at):
        _check_others_stay(conn, row.id, "expires_at")
    conn.execute(_Q["update_key"], values_of(row))
    return _kept(conn, row)


def rotate(conn: Conn, key_id: str, *, digest: bytes, at: str, overlap_s: float) -> Kept:
    """Give a key another secret; those before are valid beside it for a while, at most.

    Raises:
        RequestError: There is no such key, it was revoked, or too many of its secrets are valid.
    """
    lock(conn, "keys")
    row = _not_revoked(conn, key_id)
    now = from_rfc3339(at)
    until = rfc3339(now + timedelta(seconds=overlap_s))
    conn.execute(_Q["replace_secrets"], {"key_id": row.id, "until": until})
    (valid,) = conn.execute(_Q["count_valid_secrets"], {"key_id": row.id, "at": at}).fetchone()
    if valid >= SECRETS_MAX:
        raise RequestError(
            f"The key {row.id} has {valid} secrets still valid. Rotate with a shorter overlap: 0 ends them now.",
            param="overlap_s",
        )
    conn.execute(_Q["drop_old_secrets"], {"key_id": row.id, "before": rfc3339(now - SECRET_KEPT)})
    conn.execute(_Q["insert_secret"], {"digest": digest, "key_id": row.id, "created_at": at})
    return _kept(conn, row)


def revoke(conn: Conn, key_id: str, *, at: str) -> Kept:
    """Take a key back, for good; one that was taken back stays as it is. What it has asked for goes on.

    Raises:
        RequestError: There is no such key, or nobody could administer any more.
    """
    lock(conn, "keys")
    row = _found(conn, key_id)
    if row.revoked_at is None:
        if row.is_admin:
            _check_others_administer(conn, row, at)
        row = row.but(revoked_at=at)
        conn.execute(_Q["update_key"], values_of(row))
    return _kept(conn, row)


def look(conn: Conn, key_id: str) -> Kept:
    """Give one.

    Raises:
        RequestError: 404: There is none.
    """
    return _kept(conn, _found(conn, key_id))


def look_through(conn: Conn, *, after: str = "", most: int = PAGE_MAX) -> list[Kept]:
    """List keys, oldest first: those behind an id, at most so many."""
    rows = conn.execute(_Q["list_keys"], {"after": after, "most": most}).fetchall()
    return [_kept(conn, KeyRow.of(row)) for row in rows]


def create_group(conn: Conn, columns: Mapping[str, Any], *, group_id: str, at: str) -> GroupRow:
    """Make a group.

    Raises:
        RequestError: Its label is taken, or there are too many.
    """
    lock(conn, "keys")
    if len(groups(conn)) >= GROUPS_MAX:
        raise RequestError(f"There are {GROUPS_MAX} groups of keys already.")
    row = GroupRow(id=group_id, created_at=at, **columns)
    _check_label(conn, row)
    conn.execute(_Q["insert_group"], values_of(row))
    return row


def change_group(conn: Conn, name: str, columns: Mapping[str, Any]) -> GroupRow:
    """Change what is stated of a group, which is named by its id or its label.

    Raises:
        RequestError: There is none, or its new label is taken.
    """
    lock(conn, "keys")
    row = find_group(conn, name)
    if row is None:
        raise RequestError(f"There is no group of keys {name[:64]!r}.", code="key_not_found", status=404)
    row = row.but(**columns)
    _check_label(conn, row)
    conn.execute(_Q["update_group"], values_of(row))
    return row


def find_group(conn: Conn, name: str) -> GroupRow | None:
    """Give a group by its id or its label."""
    row = conn.execute(_Q["get_group"], {"name": name}).fetchone()
    return None if row is None else GroupRow.of(row)


def groups(conn: Conn) -> list[GroupRow]:
    """List all groups, oldest first."""
    return [GroupRow.of(row) for row in conn.execute(_Q["list_groups"], {"most": GROUPS_MAX})]


def _found(conn: Conn, key_id: str) -> KeyRow:
    row = conn.execute(_Q["get_key"], {"id": key_id}).fetchone()
    if row is None:
        raise RequestError(f"There is no key {key_id[:64]!r}.", code="key_not_found", status=404)
    return KeyRow.of(row)


def _not_revoked(conn: Conn, key_id: str) -> KeyRow:
    row = _found(conn, key_id)
    if row.revoked_at is not None:
        raise RequestError(f"The key {row.id} was revoked at {row.revoked_at}, for good: make another one.", param="id")
    return row


def _kept(conn: Conn, row: KeyRow) -> Kept:
    secrets = conn.execute(_Q["secrets_of"], {"key_id": row.id})
    return Kept(row=row, secrets=tuple(SecretRow.of(each) for each in secrets))


def _with_group(conn: Conn, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Name the group by its id, if there is one: its label will do."""
    name = columns.get("group_id")
    if name is None:
        return dict(columns)
    group = find_group(conn, name)
    if group is None:
        raise RequestError(f"There is no group of keys {name[:64]!r}: make it first.", param="group_id")
    return {**columns, "group_id": group.id}


def _check_others_administer(conn: Conn, row: KeyRow, at: str) -> None:
    """See that somebody administers when this key does no more; if it has no end, by a key that has none either."""
    if row.expires_at is None:
        _check_others_stay(conn, row.id, "id")
        return
    (others,) = conn.execute(_Q["count_other_admins"], {"id": row.id, "at": at}).fetchone()
    if not others:
        raise RequestError(
            f"The key {row.id} is the only valid one that may administer: make another one first.", param="id"
        )


def _check_others_stay(conn: Conn, key_id: str, param: str) -> None:
    """See that a key that may administer and has no end stays: on the day on which the last one ended nobody could
    make another.
    """
    (others,) = conn.execute(_Q["count_other_lasting_admins"], {"id": key_id}).fetchone()
    if not others:
        raise RequestError(
            f"The key {key_id} is the only one without an end that may administer: make another one first, or "
            "nobody could when the last one has ended.",
            param=param,
        )


def _check_label(conn: Conn, row: GroupRow) -> None:
    same = find_group(conn, row.label)
    if same is not None and same.id != row.id:
        raise RequestError(f"The label {row.label!r} is another group's ({same.id}).", param="label")
