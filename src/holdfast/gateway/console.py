"""`/console`: the page that people look at, and its files.

They are read once, at start, and served from memory: a name that is asked for is looked up, never opened. Everything it
shows it asks `/admin/v1` and `/v1` for, as anybody may; here is no secret, and so no sign-in either.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from holdfast.errors import RequestError
from holdfast.gateway.admin.gate import Gate
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.call import Call, Headers
from holdfast.types import Surface

FOLDER = Path(__file__).parents[1] / "console"
TYPES: Mapping[str, bytes] = MappingProxyType(
    {
        ".html": b"text/html; charset=utf-8",
        ".js": b"text/javascript; charset=utf-8",
        ".css": b"text/css; charset=utf-8",
        ".svg": b"image/svg+xml",
        ".LICENSE": b"text/plain; charset=utf-8",
    }
)
"""By suffix; what has another one is not served."""
STAMP_CHARS = 16
_IMPORT = re.compile(r'^import (?:.* from )?"(\.[^"]+)";$', re.MULTILINE)
# Page -> endpoints without which it has nothing to show; GET, unless a method is named.
PAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "now": ("/admin/v1/overview", "/admin/v1/events"),
        "generations": ("/admin/v1/generations", "/admin/v1/generations/gen_1"),
        "gallery": ("/admin/v1/generations", "/admin/v1/generations/gen_1/images/0"),
        "playground": ("/v1/models", "/v1/generations", "/v1/latency"),
        "latency": ("/admin/v1/latency",),
        "failures": ("/admin/v1/failures",),
        "upstreams": ("/admin/v1/upstreams",),
        "spend": ("/admin/v1/overview", "/admin/v1/exposure"),
        "usage": ("/admin/v1/usage", "/admin/v1/usage.csv"),
        "prices": ("/admin/v1/prices",),
        "reconcile": ("POST /admin/v1/reconcile", "/admin/v1/exposure", "/admin/v1/upstreams", "/admin/v1/audit"),
        "compensation": ("POST /admin/v1/compensation/preview", "/admin/v1/settings"),
        "keys": ("/admin/v1/keys", "/admin/v1/key-groups"),
        "doctor": ("/v1/probe/echo", "/v1/probe/hold"),
        "audit": ("/admin/v1/audit",),
        "settings": ("/admin/v1/settings",),
    }
)
SECURITY: tuple[tuple[bytes, bytes], ...] = (
    # Pictures may be of a file that was just dropped (`blob:`); nothing else comes from elsewhere, and no word that a
    # caller or an upstream wrote could run, even if it were taken for HTML.
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file, ready to be sent."""

    content_type: bytes
    body: bytes
    packed: bytes
    """The same, with gzip."""
    etag: bytes


def asset(content_type: bytes, body: bytes) -> Asset:
    """Make a file ready."""
    digest = hashlib.sha256(body).hexdigest()[:STAMP_CHARS]
    # Without a time in its header the same body gives the same bytes.
    packed = gzip.compress(body, 9, mtime=0)
    return Asset(content_type=content_type, body=body, packed=packed, etag=b'"%b"' % digest.encode())


def pages_served(endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
    """List the pages whose endpoints are there; a page without them is not shown."""

    def is_served(need: str) -> bool:
        method, path = need.split(" ") if " " in need else ("GET", need)
        return any(each.method == method and each.pattern.fullmatch(path) for each in endpoints)

    return tuple(page for page, needs in PAGES.items() if all(map(is_served, needs)))


def needed_by(assets: Mapping[str, Asset], *names: str) -> list[str]:
    """List modules with all that they import; what is imported later, by `import("…")`, is not among it."""
    found: dict[str, None] = {}
    left = [name for name in names if name in assets]
    while left:
        name = left.pop(0)
        if name in found:
            continue
        found[name] = None
        told = _IMPORT.findall(assets[name].body.decode())
        left += [posixpath.normpath(posixpath.join(posixpath.dirname(name), each)) for each in told]
    return list(found)


class Console:
    """Serves the page."""

    def __init__(
        self, gate: Gate, endpoints: Sequence[Endpoint], folder: Path = FOLDER, *, offers: Sequence[str] = ()
    ) -> None:
        """Read all of it.

        Args:
            gate: Says over which connections it is shown.
            endpoints: What else is served; it decides which pages there are.
            folder: Where its files are.
            offers: What this gateway has beyond its endpoints: `thumbnails`.
        """
        self._gate = gate
        self._offers = tuple(offers)
        self.pages = pages_served(endpoints)
        read = {
            path.relative_to(folder).as_posix(): (TYPES[path.suffix], path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }
        self.stamp = hashlib.sha256(b"".join(body for _, body in read.values())).hexdigest()[:STAMP_CHARS]
        """Changes with any file: what carries it in its address never changes, and may be kept for ever."""
        content_type, html = read.pop("index.html")
        self._assets = {name: asset(*each) for name, each in read.items()}
        self._page = asset(content_type, self._filled(html.decode()).encode())

    def __repr__(self) -> str:
        packed = sum(len(each.packed) for each in self._assets.values())
        return f"<Console {len(self._assets)} files, {packed / 1000:.0f} KB packed, pages: {' '.join(self.pages)}>"

    def _filled(self, html: str) -> str:
        base = f"/console/{self.stamp}"
        # Modules name one another: without these each would be found only when the one before has come.
        first = needed_by(self._assets, "app.js", "pages/now.js")
        preloads = [f'<link rel="modulepreload" href="{base}/{name}">' for name in first]
        html = html.replace("@preloads", "\n    ".join(preloads)).replace("@pages", " ".join(self.pages))
        html = html.replace("@offers", " ".join(self._offers))
        return html.replace("@base", base)

    def endpoints(self) -> list[Endpoint]:
        """The page, and its files."""
        return [
            endpoint("GET", "/console", Surface.GENERATIONS, self._show),
            endpoint("GET", "/console/", Surface.GENERATIONS, self._show),
            endpoint("GET", "/console/{stamp}/{name}", Surface.GENERATIONS, self._file),
            endpoint("GET", "/console/{stamp}/{folder}/{name}", Surface.GENERATIONS, self._file),
        ]

    async def _show(self, call: Call, _: dict[str, str]) -> None:
        self._gate.check_path(call)
        await _send(call, self._page, b"no-cache")

    async def _file(self, call: Call, names: dict[str, str]) -> None:
        self._gate.check_path(call)
        name = "/".join(filter(None, (names.get("folder"), names["name"])))
        found = self._assets.get(name)
        if found is None:
            raise RequestError(f"The console has no file {name[:80]!r}.", code="not_found", status=404)
        # A page that was opened before an upgrade goes on with the files there are now.
        kept = b"public, max-age=31536000, immutable" if names["stamp"] == self.stamp else b"no-cache"
        await _send(call, found, kept)


async def _send(call: Call, found: Asset, kept: bytes) -> None:
    headers: Headers = [(b"etag", found.etag), (b"cache-control", kept), (b"vary", b"accept-encoding"), *SECURITY]
    if call.headers.get("if-none-match", "").encode("latin-1") == found.etag:
        await call.start(304, headers)
        await call.finish()
        return
    body = found.body
    if "gzip" in call.headers.get("accept-encoding", ""):
        body = found.packed
        headers.append((b"content-encoding", b"gzip"))
    await call.respond(200, body, found.content_type, headers)
