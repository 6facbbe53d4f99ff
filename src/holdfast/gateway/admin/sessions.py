"""Signing in: a key is shown once, and a cookie stands for it from then on.

The cookie is 256 bits of chance; its keyed hash is on record with the hash of the secret that it was opened with, so a
session ends at once with its key, with a replaced secret, or when the key is no admin's any more. Whatever changes
something needs a second proof, a header that only our own page can set: its value is derived from the cookie, so there
is nothing to keep. Browsers tell where a request comes from (`Sec-Fetch-Site`, `Origin`); from elsewhere, the cookie
counts for nothing.

Source: OWASP Session Management and CSRF Prevention cheat sheets (2025): `__Host-` prefix, HttpOnly, Secure,
SameSite=Strict, a token bound to the session by HMAC, Fetch Metadata.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from holdfast.clock import Clock, rfc3339
from holdfast.errors import RequestError
from holdfast.gateway.admin.framework import AdminCall, Served, Spec
from holdfast.gateway.admin.gate import Networks
from holdfast.gateway.auth import presented_key
from holdfast.gateway.call import Call, effective_scheme, is_trusted
from holdfast.store.apikeys import digest_of
from holdfast.store.port import Conn, Store
from holdfast.store.records import KeyRow
from holdfast.store.sessions import close_session, find_session, open_session
from holdfast.wire.admin import AdminSession

SESSION_S = 12 * 3600
"""A working day; longer, and a machine left alone is an admin's the next morning."""
COOKIE = "holdfast_session"
SECURE_COOKIE = "__Host-holdfast_session"
"""Over TLS: a browser takes it with this name only if no other host can have set it (RFC 6265bis §4.1.3.2)."""
CSRF = "holdfast-csrf"
_TOKEN_BYTES = 32
_TOKEN_CHARS = 43
_SAFE = ("GET", "HEAD")
_OURS = (None, "same-origin", "none")
"""What a browser says of where a request comes from: our own page, or an address that was typed; older ones say
nothing."""

GET_SESSION = Spec("GET", "/admin/v1/session", "getSession", "Who is signed in", answer=AdminSession)
OPEN_SESSION = Spec(
    "POST",
    "/admin/v1/session",
    "openSession",
    "Sign in with an admin key in `Authorization`: its answer sets a cookie",
    answer=AdminSession,
    status=201,
    codes=("storage_low",),
)
CLOSE_SESSION = Spec("DELETE", "/admin/v1/session", "closeSession", "Sign out", status=204, codes=("storage_low",))
SPECS = (GET_SESSION, OPEN_SESSION, CLOSE_SESSION)


@dataclass(frozen=True, slots=True)
class _Cookie:
    token: str
    csrf: str


class Sessions:
    """Knows who has signed in, and serves the endpoints."""

    def __init__(
        self, *, store: Store, secret: bytes, clock: Clock, trusted: Networks = (), public_url: str = ""
    ) -> None:
        """Know sessions.

        Args:
            store: Where they are.
            secret: The data folder's.
            clock: Tells when one has ended.
            trusted: Proxies whose word for scheme and host counts.
            public_url: `server.public_url`: what pages may be served under, whatever Host a proxy makes of it.
        """
        self._public_host = urlsplit(public_url).netloc.lower() or None
        self._store = store
        self._secret = secret
        self._clock = clock
        self._trusted = trusted

    async def key_of(self, call: Call) -> KeyRow | None:
        """Give the key that a call's cookie stands for; None: it brings none.

        Read anew each time: a key that was revoked a moment ago has no session.

        Raises:
            RequestError: 401, it has ended; 403 `csrf_failed`: it comes from elsewhere, or lacks the header.
        """
        cookie = self._cookie(call)
        if cookie is None:
            return None
        self._check_origin(call)
        if call.method not in _SAFE and not hmac.compare_digest(
            call.headers.get(CSRF, "").encode(), cookie.csrf.encode()
        ):
            raise RequestError(
                "Whoever is signed in sends the session's csrf_token along, as `Holdfast-CSRF`; "
                "GET /admin/v1/session tells it.",
                code="csrf_failed",
                status=403,
            )
        row = await self._store.read(find_session, self._digest(cookie.token))
        if row is None or not row.is_valid(rfc3339(self._clock.now())):
            raise RequestError("The session has ended. Sign in again.", code="invalid_api_key", status=401)
        return row.key

    def served(self) -> tuple[Served, ...]:
        """All endpoints."""
        return GET_SESSION.by(self._get), OPEN_SESSION.by(self._open), CLOSE_SESSION.by(self._close)

    async def _get(self, asked: AdminCall) -> AdminSession:
        key, cookie = asked.actor.key, self._cookie(asked.call)
        if asked.actor.by == "key" or cookie is None:
            return AdminSession(key_id=key.id, label=key.label, by="key")
        row = await asked.read(find_session, self._digest(cookie.token))
        if row is None:
            raise RequestError("The session has ended. Sign in again.", code="invalid_api_key", status=401)
        return AdminSession(
            key_id=key.id,
            label=key.label,
            by="session",
            csrf_token=cookie.csrf,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )

    async def _open(self, asked: AdminCall) -> AdminSession:
        call, key = asked.call, asked.actor.key
        # Nobody signs somebody in from another page.
        self._check_origin(call)
        shown = presented_key(call)
        if shown is None:
            raise RequestError("Sign in with a key, in `Authorization: Bearer …`.", code="invalid_api_key", status=401)
        token = _spell(self._clock.token(_TOKEN_BYTES))
        now = self._clock.now()
        created_at, expires_at = rfc3339(now), rfc3339(now + timedelta(seconds=SESSION_S))

        def opened(conn: Conn) -> None:
            if not open_session(
                conn,
                digest=self._digest(token),
                secret_digest=digest_of(self._secret, shown),
                key_id=key.id,
                created_at=created_at,
                expires_at=expires_at,
            ):
                raise RequestError("Sign in with an admin's own key.", code="admin_required", status=403)

        await asked.change(opened, action="session.opened", target=key.id)
        asked.headers.append((b"set-cookie", self._set(call, token, SESSION_S)))
        return AdminSession(
            key_id=key.id,
            label=key.label,
            by="session",
            csrf_token=self._csrf(token),
            created_at=created_at,
            expires_at=expires_at,
        )

    async def _close(self, asked: AdminCall) -> None:
        cookie = self._cookie(asked.call)
        if cookie is not None:
            digest = self._digest(cookie.token)
            await asked.change(lambda conn: close_session(conn, digest), action="session.closed", target=asked.actor.id)
        asked.headers.append((b"set-cookie", self._set(asked.call, "", 0)))

    def _cookie(self, call: Call) -> _Cookie | None:
        """Find the cookie; over TLS only the one that no other host can have set."""
        wanted = SECURE_COOKIE if self._is_secure(call) else COOKIE
        # Proxies may join several Cookie headers by a comma (RFC 9113 §8.2.3 does by a semicolon).
        for pair in call.headers.get("cookie", "").replace(",", ";").split(";"):
            name, _, token = pair.strip().partition("=")
            if name == wanted and len(token) == _TOKEN_CHARS and token.isascii():
                return _Cookie(token, self._csrf(token))
        return None

    def _set(self, call: Call, token: str, seconds: int) -> bytes:
        secure = self._is_secure(call)
        name = SECURE_COOKIE if secure else COOKIE
        told = f"{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
        return (told + ("; Secure" if secure else "")).encode()

    def _is_secure(self, call: Call) -> bool:
        return effective_scheme(call, self._trusted) == "https"

    def _check_origin(self, call: Call) -> None:
        """See that a request comes from our own page, as far as the browser tells.

        Raises:
            RequestError: 403 `csrf_failed`.
        """
        site, origin = call.headers.get("sec-fetch-site"), call.headers.get("origin")
        host = call.headers.get("host", "")
        if is_trusted(call.client, self._trusted):
            host = call.headers.get("x-forwarded-host", host).partition(",")[0].strip()
        ours = (host.lower(), self._public_host)
        if site in _OURS and (origin is None or origin.lower().partition("://")[2] in ours):
            return
        raise RequestError(
            "The request was made by a page from elsewhere, for which a session counts nothing. Send a key.",
            code="csrf_failed",
            status=403,
        )

    def _digest(self, token: str) -> bytes:
        return hmac.new(self._secret, b"session\0" + token.encode(), hashlib.sha256).digest()

    def _csrf(self, token: str) -> str:
        return _spell(hmac.new(self._secret, b"csrf\0" + token.encode(), hashlib.sha256).digest())


def _spell(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
