"""Who is calling: a key as Bearer token, `x-goog-api-key` or `?key=`, compared as a keyed hash."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from holdfast.errors import RequestError
from holdfast.gateway.call import Call
from holdfast.log import emit
from holdfast.store.apikeys import digest_of
from holdfast.store.keys import find_key
from holdfast.store.records import KeyRow
from holdfast.store.sqlite import SqliteStore

CACHE_ENTRIES_MAX = 10_000
CACHE_S = 10.0
"""How long a key that was revoked elsewhere may still be believed."""


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


@dataclass(frozen=True, slots=True)
class _Known:
    row: KeyRow
    until: float


class Authenticator:
    """Looks keys up, and remembers good ones for `CACHE_S` seconds; bad ones are never remembered."""

    def __init__(self, store: SqliteStore, secret: bytes) -> None:
        self._store = store
        self._secret = secret
        self._known: dict[bytes, _Known] = {}

    async def authenticate(self, call: Call) -> KeyRow:
        """Give the key's row.

        Raises:
            RequestError: 401 `invalid_api_key`.
        """
        token = presented_key(call)
        if token is None:
            raise RequestError(
                "No API key was given. Send it as `Authorization: Bearer …`, `x-goog-api-key` or `?key=`.",
                code="invalid_api_key",
                status=401,
            )
        digest = digest_of(self._secret, token)
        now = asyncio.get_running_loop().time()
        known = self._known.get(digest)
        if known is not None and known.until > now:
            return known.row
        row = await self._store.read(find_key, digest)
        if row is None:
            emit("key.refused", level="warning", client=call.client)
            raise RequestError(
                "The API key is not known here. The first key was printed when the gateway first started, or "
                "written to first.key in its data folder.",
                code="invalid_api_key",
                status=401,
            )
        if len(self._known) >= CACHE_ENTRIES_MAX:
            self._known.clear()
        self._known[digest] = _Known(row, now + CACHE_S)
        return row
