"""Who is calling: a key as Bearer token, `x-goog-api-key` or `?key=`, compared as a keyed hash."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from holdfast.clock import Clock, SystemClock
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.call import Call, effective_scheme, is_trusted
from holdfast.log import emit
from holdfast.policy.access import check_tls, check_valid
from holdfast.policy.budgets import Budget
from holdfast.policy.wrong_keys import DELAY_S_MAX, WrongKeys, neighbourhood
from holdfast.store.apikeys import digest_of, is_operator
from holdfast.store.budgets import budgets_of
from holdfast.store.keys import find_key
from holdfast.store.port import Store
from holdfast.store.records import KeyRow
from holdfast.types import Surface

CACHE_ENTRIES_MAX = 10_000
CACHE_S = 10.0
"""How long a key that was revoked or changed by another process may still be believed; what this one changes counts at
once."""
KEY_CHARS_MAX = 512
"""Of a key that is looked up; ours have 73."""
AWAY_RETRY_S = 5.0
OPERATOR = KeyRow(id="operator", label="holder of the data folder", created_at="", is_admin=1, surfaces="[]")
"""Who acts with the data folder's secret: `holdfast keys` on the gateway's own machine. It asks for no images."""

Networks = tuple[IPv4Network | IPv6Network, ...]


def presented_key(call: Call) -> str | None:
    """The credential of a call, whichever of the three places it stands in."""
    authorization = call.headers.get("authorization", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return call.headers.get("x-goog-api-key") or call.query.get("key") or None


def speaks_gemini(call: Call) -> bool:
    """Whether the credential's place marks a Gemini caller: `GET /v1/models` has two dialects."""
    return "x-goog-api-key" in call.headers or "key" in call.query or "x-goog-api-client" in call.headers


def address_of(call: Call, trusted: Networks) -> str:
    """Say where a call comes from: what a trusted proxy says of its own client, else who is connected."""
    if not is_trusted(call.client, trusted):
        return call.client
    # Each proxy adds whom it was connected to, at the end: the last one that is none of ours is the caller.
    named = [each.strip() for each in call.headers.get("x-forwarded-for", "").split(",")]
    return next((each for each in reversed(named) if each and not is_trusted(each, trusted)), call.client)


@dataclass(frozen=True, slots=True)
class _Known:
    row: KeyRow
    until: float


class SignedIn(Protocol):
    """Knows who has signed in, by a cookie."""

    async def key_of(self, call: Call) -> KeyRow | None:
        """Give the row of the key that a session stands for; None: the call brings none.

        Raises:
            RequestError: 401, it has ended; 403 `csrf_failed`.
        """


class Authenticator:
    """Looks keys up, and remembers good ones for `CACHE_S` seconds; bad ones are never remembered."""

    def __init__(self, store: Store, secret: bytes, *, clock: Clock | None = None, trusted: Networks = ()) -> None:
        """Know keys.

        Args:
            store: Where they are.
            secret: The data folder's.
            clock: Tells when a key has expired.
            trusted: Proxies whose word for scheme and address counts.
        """
        self._store = store
        self._secret = secret
        self._clock = clock or SystemClock()
        self._trusted = trusted
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._version = 0
        self._wrong = WrongKeys()
        self.sessions: SignedIn | None = None
        """Asked where a call shows no key."""

    async def authenticate(self, call: Call, asks_on: Surface | None = None) -> KeyRow:
        """Give the row of the key that a call shows.

        Args:
            call: Its headers and query.
            asks_on: The surface on which it asks for images, where it does.

        Raises:
            RequestError: 401 `invalid_api_key` or `key_revoked`, 403 `tls_required` or `scope_missing`; 429 where many
                wrong keys come from one address.
        """
        token = presented_key(call)
        row = None
        if token is not None:
            row = await self._know(token, call)
        elif self.sessions is not None:
            row = await self.sessions.key_of(call)
        if row is None:
            raise RequestError(
                "No API key was given. Send it as `Authorization: Bearer …`, `x-goog-api-key` or `?key=`.",
                code="invalid_api_key",
                status=401,
            )
        if row.tls_required:
            check_tls(tls_required=True, scheme=effective_scheme(call, self._trusted))
        if row.surfaces is not None and asks_on is not None:
            row.scopes.check_surface(asks_on)
        return row

    async def budgets_of(self, key: KeyRow) -> tuple[Budget, ...]:
        """Read what a key may spend, and its group."""
        return await self._store.read(budgets_of, key.id)

    async def _know(self, token: str, call: Call) -> KeyRow:
        """Give the row of a key, remembered or not."""
        digest = digest_of(self._secret, token)
        known = self._known.get(digest)
        if known is not None and known.until > asyncio.get_running_loop().time():
            return known.row
        return await self._look_up(call, token, digest)

    def forget(self) -> None:
        """Believe nothing that was read before: a key was changed, and the change counts from now on."""
        self._known.clear()
        self._version += 1

    async def _look_up(self, call: Call, token: str, digest: bytes) -> KeyRow:
        now, version = self._clock.now(), self._version
        if is_operator(self._secret, token, now.timestamp()):
            return OPERATOR
        try:
            row = await self._store.read(find_key, digest) if len(token) <= KEY_CHARS_MAX else None
        except StorageError as exc:
            if exc.reason != "away":
                raise
            # Nothing has been asked for yet: the same call may come again, and buys no second image.
            emit("storage.failed", level="warning", message=str(exc))
            raise RequestError(
                "The gateway's database does not answer at this moment, and the key could not be looked up; nothing "
                "was bought.",
                code="storage_low",
                status=503,
                retry_after_s=AWAY_RETRY_S,
            ) from exc
        if row is None:
            emit("key.refused", level="warning", client=call.client)
            await self._slow_down(call)
            raise RequestError(
                "The API key is not known here. The first key was printed when the gateway first started, or "
                "written to first.key in its data folder.",
                code="invalid_api_key",
                status=401,
            )
        left_s = check_valid(
            revoked_at=row.revoked_at,
            expires_at=row.expires_at,
            secret_expires_at=row.secret_expires_at,
            now=now,
        )
        if version == self._version:
            # One that was changed while it was read is read again.
            self._remember(digest, row, CACHE_S if left_s is None else min(CACHE_S, left_s))
        return row

    def _remember(self, digest: bytes, row: KeyRow, for_s: float) -> None:
        self._known[digest] = _Known(row, asyncio.get_running_loop().time() + for_s)
        while len(self._known) > CACHE_ENTRIES_MAX:
            self._known.popitem(last=False)

    async def _slow_down(self, call: Call) -> None:
        """Let whoever showed a wrong key wait.

        Raises:
            RequestError: Too many wait already.
        """
        address = neighbourhood(address_of(call, self._trusted))
        delay_s = self._wrong.delay_s(address, asyncio.get_running_loop().time())
        if not delay_s:
            return
        if not self._wrong.may_wait(address):
            raise RequestError(
                "The API key is not known here, and many wrong keys come from this address.",
                code="rate_limited",
                status=429,
                retry_after_s=2 * DELAY_S_MAX,
            )
        with self._wrong.waiting(address):
            await asyncio.sleep(delay_s)
