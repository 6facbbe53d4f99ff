"""What a browser is told of a call by another origin's page: whether it may be made, and what the page may read of it.

Pure: no I/O, clock or randomness. Source: Fetch Standard §3.3 (CORS protocol), https://fetch.spec.whatwg.org.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ANY = "*"
PREFLIGHT_S = 7200
"""How long a browser need not ask again: the most that Chromium takes."""
ASKED_MAX = 64
"""Headers that are allowed at once; SDKs send a dozen of their own."""
EXPOSED = (
    "Generation-Id",
    "Location",
    "Preference-Applied",
    "Idempotency-Replayed",
    "Holdfast-Served-By",
    "Holdfast-Ignored",
    "Server-Timing",
    "Retry-After",
    "Retry-After-Ms",
    "X-Should-Retry",
    "X-Request-Id",
    "ETag",
    "Accept-Ranges",
    "Content-Range",
    "Content-Disposition",
    "WWW-Authenticate",
    "Allow",
)
"""What a page may read besides what every page may: all of ours, and what tells when to come again or what was sent."""
_KEPT = re.compile(r"/(?:admin|console|metrics)(?:/.*)?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")

Header = tuple[bytes, bytes]


def is_shared(path: str) -> bool:
    """Whether pages of others may ever call this path: what only admins ask is our own page's."""
    return _KEPT.fullmatch(path) is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Who may."""

    origins: frozenset[str]
    """`https://app.example.com`, or `*`."""
    credentials: bool = False
    """Whether cookies may come along."""

    def __post_init__(self) -> None:
        assert self.origins, "who shares with nobody has no Sharing"
        assert not (self.credentials and ANY in self.origins)

    def allows(self, origin: str | None) -> bool:
        """Whether a page of this origin may call."""
        return origin is not None and (ANY in self.origins or origin in self.origins)

    def told(self, origin: str | None) -> tuple[Header, ...]:
        """Give the headers of any answer; `origin` is what the browser said, None: nothing."""
        if ANY in self.origins:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED)
        # Also where it is not allowed: a cache must not give one origin's answer to another.
        vary: Header = (b"vary", b"Origin")
        if not self.allows(origin):
            return (vary,)
        assert origin is not None
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        cookies = ((b"access-control-allow-credentials", b"true"),) if self.credentials else ()
        return (allowed, *cookies, _EXPOSED, vary)

    def preflight(self, wanted: str, methods: Iterable[str]) -> tuple[Header, ...]:
        """Give what is told beside `told` to a browser that asks whether a page may call.

        Args:
            wanted: `Access-Control-Request-Headers`. Whatever is asked for is allowed: SDKs send headers that nobody
                can list, and none of them lets a page do what another cannot.
            methods: Those of the path.
        """
        names = [each.strip() for each in wanted.split(",")][:ASKED_MAX]
        good = ", ".join(name for name in names if _NAME.fullmatch(name))
        allowed = ((b"access-control-allow-headers", good.encode()),) if good else ()
        return (
            (b"access-control-allow-methods", ", ".join(sorted(methods)).encode()),
            *allowed,
            (b"access-control-max-age", b"%d" % PREFLIGHT_S),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        )


_EXPOSED: Header = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())
