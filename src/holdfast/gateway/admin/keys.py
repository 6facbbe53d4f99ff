"""Keys and groups of keys, for admins: made, listed, changed, rotated, revoked."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.gateway.admin.framework import AFTER, AdminCall, Parameter, Served, Spec
from holdfast.gateway.keys import KeyDesk
from holdfast.store.keyring import PAGE_MAX
from holdfast.wire.keys import (
    GroupList,
    GroupResource,
    GroupWish,
    KeyList,
    KeyResource,
    KeyWish,
    NewGroupWish,
    NewKeyWish,
    RotateWish,
    stated,
)

LIMIT_USUAL = 100
_LIMIT = Parameter(
    name="limit",
    means="How many on a page.",
    schema={"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": LIMIT_USUAL},
)
_FULL = ("storage_low",)
_OF_ONE = ("key_not_found", "storage_low")

LIST_KEYS = Spec("GET", "/admin/v1/keys", "listKeys", "Keys, oldest first", answer=KeyList, parameters=(AFTER, _LIMIT))
CREATE_KEY = Spec(
    "POST",
    "/admin/v1/keys",
    "createKey",
    "Make a key; its answer shows it, once",
    answer=KeyResource,
    status=201,
    body=NewKeyWish,
    codes=_FULL,
    links=("getKey", "changeKey", "rotateKey", "revokeKey"),
)
GET_KEY = Spec("GET", "/admin/v1/keys/{id}", "getKey", "One key", answer=KeyResource, codes=("key_not_found",))
CHANGE_KEY = Spec(
    "PATCH",
    "/admin/v1/keys/{id}",
    "changeKey",
    "Change what is stated of a key; null takes a limit away",
    answer=KeyResource,
    body=KeyWish,
    codes=_OF_ONE,
)
ROTATE_KEY = Spec(
    "POST",
    "/admin/v1/keys/{id}/rotate",
    "rotateKey",
    "Give a key another secret; the one before is valid beside it for a while",
    answer=KeyResource,
    body=RotateWish,
    codes=_OF_ONE,
)
REVOKE_KEY = Spec(
    "POST",
    "/admin/v1/keys/{id}/revoke",
    "revokeKey",
    "Take a key back, for good; what it has asked for goes on",
    answer=KeyResource,
    codes=_OF_ONE,
)
LIST_GROUPS = Spec("GET", "/admin/v1/key-groups", "listKeyGroups", "Groups of keys, oldest first", answer=GroupList)
CREATE_GROUP = Spec(
    "POST",
    "/admin/v1/key-groups",
    "createKeyGroup",
    "Make a group of keys",
    answer=GroupResource,
    status=201,
    body=NewGroupWish,
    codes=_FULL,
    links=("changeKeyGroup",),
)
CHANGE_GROUP = Spec(
    "PATCH",
    "/admin/v1/key-groups/{id}",
    "changeKeyGroup",
    "Change what is stated of a group, which is named by its id or its label",
    answer=GroupResource,
    body=GroupWish,
    codes=_OF_ONE,
)
SPECS = (
    LIST_KEYS,
    CREATE_KEY,
    GET_KEY,
    CHANGE_KEY,
    ROTATE_KEY,
    REVOKE_KEY,
    LIST_GROUPS,
    CREATE_GROUP,
    CHANGE_GROUP,
)


class Keys:
    """Serves them."""

    def __init__(self, desk: KeyDesk, forget: Callable[[], None]) -> None:
        """Serve.

        Args:
            desk: Makes the work.
            forget: Told after a change: what was read of keys before it counts no more.
        """
        self._desk = desk
        self._forget = forget

    def served(self) -> tuple[Served, ...]:
        """All endpoints."""
        return (
            LIST_KEYS.by(self._list),
            CREATE_KEY.by(self._create),
            GET_KEY.by(self._get),
            CHANGE_KEY.by(self._change),
            ROTATE_KEY.by(self._rotate),
            REVOKE_KEY.by(self._revoke),
            LIST_GROUPS.by(self._list_groups),
            CREATE_GROUP.by(self._create_group),
            CHANGE_GROUP.by(self._change_group),
        )

    async def _list(self, asked: AdminCall) -> KeyList:
        limit = asked.number("limit", usual=LIMIT_USUAL, least=1, most=PAGE_MAX)
        return await asked.read(self._desk.look_through(after=asked.word("after") or "", limit=limit))

    async def _create(self, asked: AdminCall) -> KeyResource:
        body = await asked.json()
        made = await asked.change(
            self._desk.create(body), action="key.created", target=lambda done: done.id, details=stated(body)
        )
        asked.headers.append((b"location", f"/admin/v1/keys/{made.id}".encode()))
        return made

    async def _get(self, asked: AdminCall) -> KeyResource:
        return await asked.read(self._desk.look(asked.names["id"]))

    async def _change(self, asked: AdminCall) -> KeyResource:
        body, id_ = await asked.json(), asked.names["id"]
        return await self._changed(asked, self._desk.change(id_, body), "key.changed", id_, body)

    async def _rotate(self, asked: AdminCall) -> KeyResource:
        body, id_ = await asked.json(), asked.names["id"]
        return await self._changed(asked, self._desk.rotate(id_, body), "key.rotated", id_, body)

    async def _revoke(self, asked: AdminCall) -> KeyResource:
        id_ = asked.names["id"]
        return await self._changed(asked, self._desk.revoke(id_), "key.revoked", id_, b"")

    async def _changed(
        self, asked: AdminCall, work: Callable[..., KeyResource], action: str, id_: str, body: bytes
    ) -> KeyResource:
        try:
            return await asked.change(work, action=action, target=id_, details=stated(body))
        finally:
            # Also where the answer of the commit was lost: it may have been made.
            self._forget()

    async def _list_groups(self, asked: AdminCall) -> GroupList:
        return await asked.read(self._desk.groups())

    async def _create_group(self, asked: AdminCall) -> GroupResource:
        body = await asked.json()
        return await asked.change(
            self._desk.create_group(body),
            action="key_group.created",
            target=lambda done: done.id,
            details=stated(body),
        )

    async def _change_group(self, asked: AdminCall) -> GroupResource:
        body, name = await asked.json(), asked.names["id"]
        try:
            return await asked.change(
                self._desk.change_group(name, body),
                action="key_group.changed",
                target=lambda done: done.id,
                details=stated(body),
            )
        finally:
            # The margin of a group is read with its keys.
            self._forget()
