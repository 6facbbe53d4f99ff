"""A proxy on the way answers by itself, in its own words: a recipe with holdfast asks again, without an uproar."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from holdfast.recipes.catalog import BY_NAME

pytestmark = pytest.mark.timeout(300)
NAMES = ["requests", "httpx", "httpx2", "aiohttp", "urllib3", "fetch", "undici", "axios", "java", "go", "curl"]
"""Whose programs read answers themselves; what the SDKs make of a status is their own."""
PICTURE = b"\x89PNG is what it would begin with"
DATE = "Wed, 21 Oct 2037 07:28:00 GMT"
SAID = {"page": b'{"error": "no healthy upstream"}', "words": b"<html>Service Unavailable</html>"}
"""By the kind of answer: JSON that is not ours, and no JSON."""


class Proxy(BaseHTTPRequestHandler):
    """Turns the first request of each prompt away as proxies do, with a date; answers the second."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, list[str]]

    def do_POST(self) -> None:
        """Answer."""
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
        keys = self.seen.setdefault(prompt, [])
        keys.append(self.headers["Idempotency-Key"])
        if len(keys) == 1:
            self._answer(503, SAID[prompt.split()[1]], ("Retry-After", DATE))
        else:
            made = {"created": 1, "data": [{"b64_json": base64.b64encode(PICTURE).decode()}]}
            self._answer(200, json.dumps(made).encode())

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def proxy() -> Iterator[Any]:
    """One, in a thread of its own."""
    handler = type("Seen", (Proxy,), {"seen": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.seen = handler.seen  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def runs(stage: Any, proxy: Any) -> dict[tuple[str, str], Future[Any]]:
    """Begin them all."""
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    options = {"through_holdfast": True, "base_url": url, "limits": {"pause_s": 1}}
    return {(name, said): stage.begin(BY_NAME[name], f"{name} {said}", **options) for name in NAMES for said in SAID}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_proxy_says_is_no_end(runs: Any, proxy: Any, name: str, said: str) -> None:
    """A date as Retry-After, an error that is a text, a page: the second request, under the same key, has the image."""
    outcome = runs[name, said].result()
    assert outcome.status == 0, outcome.told
    assert outcome.image == PICTURE
    assert "Traceback" not in outcome.told
    keys = proxy.seen[f"{name} {said}"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert outcome.took_s >= 1.0, "it did not pause"
