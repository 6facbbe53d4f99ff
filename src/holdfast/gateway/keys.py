"""What can be done to keys and groups, as transactions: the admin API runs them in a gateway, `holdfast keys` in a
folder that none has.

Each verb reads a document of `wire.keys` and gives the work to be done on a connection; the work gives the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from holdfast.clock import Clock, from_rfc3339, rfc3339
from holdfast.store import keyring
from holdfast.store.apikeys import SECRET_BYTES, digest_of, spell
from holdfast.store.keyring import Kept
from holdfast.store.port import Conn
from holdfast.store.records import GroupRow
from holdfast.wire.keys import (
    GroupList,
    GroupResource,
    KeyList,
    KeyResource,
    SecretResource,
    decode_group_wish,
    decode_key_wish,
    decode_rotate_wish,
)

KeyWork = Callable[[Conn], KeyResource]
GroupWork = Callable[[Conn], GroupResource]


class KeyDesk:
    """Makes the work; see the module's docstring."""

    def __init__(self, clock: Clock, folder_secret: bytes) -> None:
        self._clock = clock
        self._secret = folder_secret

    def create(self, body: bytes) -> KeyWork:
        """Make a key; the answer shows it, once.

        Raises:
            RequestError: The document is not possible. The work raises it too, where what is stored stands against it.
        """
        now = self._clock.now()
        columns = decode_key_wish(body, now=now, is_new=True)
        key_id = self._clock.new_id("key")
        key = spell(key_id, self._clock.token(SECRET_BYTES))
        digest = digest_of(self._secret, key)
        return lambda conn: resource_of(
            keyring.create(conn, columns, key_id=key_id, digest=digest, at=rfc3339(now)), now, key=key
        )

    def change(self, key_id: str, body: bytes) -> KeyWork:
        """Change what is stated of a key."""
        now = self._clock.now()
        columns = decode_key_wish(body, now=now, is_new=False)
        return lambda conn: resource_of(keyring.change(conn, key_id, columns, at=rfc3339(now)), now)

    def rotate(self, key_id: str, body: bytes) -> KeyWork:
        """Give a key another secret; the answer shows it, once."""
        now, overlap_s = self._clock.now(), decode_rotate_wish(body)
        key = spell(key_id, self._clock.token(SECRET_BYTES))
        digest = digest_of(self._secret, key)
        return lambda conn: resource_of(
            keyring.rotate(conn, key_id, digest=digest, at=rfc3339(now), overlap_s=overlap_s), now, key=key
        )

    def revoke(self, key_id: str) -> KeyWork:
        """Take a key back."""
        now = self._clock.now()
        return lambda conn: resource_of(keyring.revoke(conn, key_id, at=rfc3339(now)), now)

    def look(self, key_id: str) -> KeyWork:
        """Show a key; never its secret."""
        now = self._clock.now()
        return lambda conn: resource_of(keyring.look(conn, key_id), now)

    def look_through(self, *, after: str = "", limit: int = keyring.PAGE_MAX) -> Callable[[Conn], KeyList]:
        """List keys, oldest first."""
        now = self._clock.now()

        def work(conn: Conn) -> KeyList:
            found = keyring.look_through(conn, after=after, most=limit + 1)
            data = tuple(resource_of(each, now) for each in found[:limit])
            last_id = data[-1].id if data else None
            return KeyList(object="list", data=data, has_more=len(found) > limit, last_id=last_id)

        return work

    def create_group(self, body: bytes) -> GroupWork:
        """Make a group."""
        columns = decode_group_wish(body, is_new=True)
        group_id, at = self._clock.new_id("kgr"), rfc3339(self._clock.now())
        return lambda conn: group_of(keyring.create_group(conn, columns, group_id=group_id, at=at))

    def change_group(self, name: str, body: bytes) -> GroupWork:
        """Change what is stated of a group."""
        columns = decode_group_wish(body, is_new=False)
        return lambda conn: group_of(keyring.change_group(conn, name, columns))

    def groups(self) -> Callable[[Conn], GroupList]:
        """List groups, oldest first."""
        return lambda conn: GroupList(object="list", data=tuple(map(group_of, keyring.groups(conn))))


def resource_of(kept: Kept, now: datetime, *, key: str | None = None) -> KeyResource:
    """Show a key as it stands; `key` where it has just been made."""
    row, scopes = kept.row, kept.row.scopes
    return KeyResource(
        id=row.id,
        object="key",
        label=row.label,
        state=_state(row.revoked_at, row.expires_at, now),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        expires_at=row.expires_at,
        group_id=row.group_id,
        is_admin=bool(row.is_admin),
        models=scopes.models,
        sizes=None if row.sizes is None else msgspec.json.decode(row.sizes, type=tuple[str, ...]),
        surfaces=None if row.surfaces is None else msgspec.json.decode(row.surfaces, type=tuple[str, ...]),
        rate_per_min=row.rate_per_min,
        concurrency=row.concurrency,
        spend_micros_per_day=row.spend_micros_per_day,
        spend_micros_per_month=row.spend_micros_per_month,
        purchases_max=row.purchases_max,
        tls_required=bool(row.tls_required),
        join=row.join_mode,
        secrets=tuple(SecretResource(created_at=each.created_at, expires_at=each.expires_at) for each in kept.secrets),
        key=key,
    )


def _state(revoked_at: str | None, expires_at: str | None, now: datetime) -> Literal["valid", "expired", "revoked"]:
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and from_rfc3339(expires_at) <= now else "valid"


def group_of(row: GroupRow) -> GroupResource:
    """Show a group as it stands."""
    return GroupResource(
        id=row.id,
        object="key_group",
        label=row.label,
        created_at=row.created_at,
        margin_share=row.margin_share,
        spend_micros_per_day=row.spend_micros_per_day,
        spend_micros_per_month=row.spend_micros_per_month,
    )
