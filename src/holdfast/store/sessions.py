"""Rows of sessions: who has signed in to the console. The cookie is never stored, its keyed hash is."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import KeyRow

SESSIONS_MAX = 20
"""Of one key: a person has some browsers; whoever signs in once more ends the oldest."""

_Q = queries("sessions")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session, and the key it was opened with as it stands now."""

    key: KeyRow
    created_at: str
    expires_at: str

    def is_valid(self, now: str) -> bool:
        """Whether it still stands for its key: a key that was revoked, replaced or demoted ends its sessions."""
        ends = (self.expires_at, self.key.expires_at, self.key.secret_expires_at)
        is_over = any(end is not None and end <= now for end in ends)
        return self.key.revoked_at is None and bool(self.key.is_admin) and not is_over


def open_session(
    conn: Conn, *, digest: bytes, secret_digest: bytes, key_id: str, created_at: str, expires_at: str
) -> bool:
    """Write a session, and forget those that have ended or are one too many; False: there is no such key.

    Args:
        conn: In a writing transaction.
        digest: Of the cookie.
        secret_digest: `apikeys.digest_of` the key that it is opened with.
        key_id: Whose key that is.
        created_at: Now, RFC 3339.
        expires_at: Its end at the latest.
    """
    lock(conn, "sessions", key_id)
    conn.execute(_Q["forget_ended"], {"now": created_at})
    values = {"digest": digest, "secret_digest": secret_digest, "created_at": created_at, "expires_at": expires_at}
    if conn.execute(_Q["open_session"], values).rowcount != 1:
        return False
    conn.execute(_Q["forget_oldest"], {"key_id": key_id, "kept": SESSIONS_MAX})
    return True


def find_session(conn: Conn, digest: bytes) -> SessionRow | None:
    """Find a session with its key, be they valid or not; None: it was never opened, or its secret is forgotten."""
    row = conn.execute(_Q["find_session"], {"digest": digest}).fetchone()
    if row is None:
        return None
    return SessionRow(key=KeyRow.of(row), created_at=row["opened_at"], expires_at=row["ends_at"])


def close_session(conn: Conn, digest: bytes) -> None:
    """Forget a session; one that is not there is no error."""
    conn.execute(_Q["close_session"], {"digest": digest})
