"""Rows of API keys, of their secrets and their groups; a secret itself is never stored, its keyed hash is."""

from __future__ import annotations

from typing import Any

from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import KeyRow, values_of

_Q = queries("keys")


def insert_key(conn: Conn, /, key_id: str, digest: bytes, label: str, created_at: str, **more: Any) -> KeyRow:
    """Write a key and the digest of its first secret.

    A key that is not somebody's own joins only what says that it is a repeat.

    Args:
        conn: In a writing transaction.
        key_id: `key_…`.
        digest: `apikeys.digest_of` the text that its owner keeps.
        label: For people.
        created_at: RFC 3339.
        more: Further fields of `KeyRow`.

    Raises:
        IntegrityError: There is such an id, such a digest, or no such group.
    """
    lock(conn, "keys")
    row = KeyRow(id=key_id, label=label, created_at=created_at, **more)
    conn.execute(_Q["insert_key"], values_of(row))
    conn.execute(_Q["insert_secret"], {"digest": digest, "key_id": key_id, "created_at": created_at})
    return row


def find_key(conn: Conn, digest: bytes) -> KeyRow | None:
    """Find the key that has a secret with this digest, be it valid or not: `policy.access` judges that."""
    row = conn.execute(_Q["find_key"], {"digest": digest}).fetchone()
    return None if row is None else KeyRow.of(row)


def count_keys(conn: Conn) -> int:
    """Count all keys ever made."""
    return int(conn.execute(_Q["count_keys"]).fetchone()[0])
