"""Rows of API keys; the key itself is never stored."""

from __future__ import annotations

import sqlite3

from holdfast.store.queries import queries
from holdfast.store.records import KeyRow

_Q = queries("keys")


def insert_key(
    conn: sqlite3.Connection, key_id: str, digest: bytes, label: str, created_at: str, *, join_mode: str = "retries"
) -> None:
    """Write a key's digest; a key that is not somebody's own joins only what says that it is a repeat."""
    values = {"id": key_id, "digest": digest, "label": label, "created_at": created_at, "join_mode": join_mode}
    conn.execute(_Q["insert_key"], values)


def find_key(conn: sqlite3.Connection, digest: bytes) -> KeyRow | None:
    """Find the key with this digest, unless it was revoked."""
    row = conn.execute(_Q["find_key"], {"digest": digest}).fetchone()
    return None if row is None else KeyRow.of(row)


def count_keys(conn: sqlite3.Connection) -> int:
    """Count all keys ever made."""
    return int(conn.execute(_Q["count_keys"]).fetchone()[0])
