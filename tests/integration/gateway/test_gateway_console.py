"""The console's files over real sockets: how they are kept, packed and guarded."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest

NO_KEY: dict[str, str] = {}


async def stamp_of(gateway: Any) -> str:
    """The part of the address that changes with the files."""
    page = await gateway.ask("GET", "/console", headers=NO_KEY)
    (stamp,) = set(re.findall(r'"/console/([0-9a-f]{16})/', page.body.decode()))
    return str(stamp)


@pytest.mark.parametrize("path", ["/console", "/console/"])
async def test_the_page_is_shown_without_a_key_and_asked_for_again(gateway: Any, path: str) -> None:
    """It holds no secret; what changes with an upgrade is never taken from a cache unasked."""
    answer = await gateway.ask("GET", path, headers=NO_KEY)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    again = await gateway.ask("GET", path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status == 304
    assert again.body == b""


async def test_a_file_is_kept_for_ever_under_its_stamp(gateway: Any) -> None:
    """And under another one, of a page from before an upgrade, it is served but not kept."""
    stamp = await stamp_of(gateway)
    kept = await gateway.ask("GET", f"/console/{stamp}/app.js", headers=NO_KEY)
    assert kept.status == 200
    assert "immutable" in kept.headers["cache-control"]
    assert kept.headers["content-type"] == "text/javascript; charset=utf-8"
    old = await gateway.ask("GET", "/console/0123456789abcdef/pages/now.js", headers=NO_KEY)
    assert old.status == 200
    assert old.headers["cache-control"] == "no-cache"


async def test_a_file_is_packed_for_those_who_unpack(gateway: Any) -> None:
    """The same bytes either way."""
    stamp = await stamp_of(gateway)
    path = f"/console/{stamp}/style.css"
    plain = await gateway.ask("GET", path, headers={"Accept-Encoding": "identity"})
    packed = await gateway.ask("GET", path, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    assert packed.body in (plain.body, gzip.compress(plain.body, 9, mtime=0))
    assert "content-encoding" not in plain.headers
    head = await gateway.ask("HEAD", path, headers={"Accept-Encoding": "identity"})
    assert head.headers["content-length"] == str(len(plain.body))
    assert head.body == b""


@pytest.mark.parametrize(
    "name", ["nothing.js", "index.html", "vendor/README.md", "..%2Fserve.py", "%2e%2e/%2e%2e", "pages/..%2F..%2Fapp.js"]
)
async def test_nothing_but_its_files_is_found(gateway: Any, name: str) -> None:
    """A name is looked up among those that were read at start; no path is ever opened."""
    answer = await gateway.ask("GET", f"/console/0123456789abcdef/{name}", headers=NO_KEY)
    assert answer.status == 404
    assert b"import" not in answer.body


async def test_a_plain_connection_from_elsewhere_is_told_what_to_do(gateway: Any) -> None:
    """A proxy that nobody trusts says that somebody else asks: an admin's key would be readable on the way."""
    for path in ("/console", "/console/0123456789abcdef/app.js"):
        answer = await gateway.ask("GET", path, headers={"X-Forwarded-For": "203.0.113.9"})
        assert answer.status == 403
        assert b"tls_required" in answer.body
        assert b"server.tls_cert" in answer.body


async def test_the_menu_is_made_of_what_is_served(gateway: Any) -> None:
    """The page lists only what this gateway answers."""
    page = await gateway.ask("GET", "/console", headers=NO_KEY)
    (names,) = re.findall(r'name="holdfast-pages" content="([^"]*)"', page.body.decode())
    assert {"now", "generations", "playground", "doctor"} <= set(names.split())
