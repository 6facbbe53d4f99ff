"""Rows of API keys; the key itself is never stored."""

from __future__ import annotations

import sqlite3

from holdfast.store.queries import queries
from holdfast.store.records import KeyRow

_Q = queries("keys")


def insert_key(conn: sqlite3.Connection, key_id: str, digest: bytes, label: str, created_at: str) -> None:
    """Write a key's digest."""
    conn.execute(_Q["insert_key"], {"id": key_id, "digest": digest, "label": label, "created_at": created_at})


def find_key(conn: sqlite3.Connection, digest: bytes) -> KeyRow | None:
    """Find the key with this digest, unless it was revoked."""
    row = conn.execute(_Q["find_key"], {"digest": digest}).fetchone()
    return None if row is None else KeyRow.of(row)


def count_keys(conn: sqlite3.Connection) -> int:
    """Count all keys ever made."""
    return int(conn.execute(_Q["count_keys"]).fetchone()[0])
