"""A page of another origin in Chromium: it calls the gateway by `fetch`, with the code of the documentation."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser_shared import WITHIN_MS, Stage, processes, settings_for
from playwright.sync_api import Page

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = '<!doctype html><html lang="en"><title>elsewhere</title><link rel="icon" href="data:,"><p>Somebody else.'
HELD = "a lighthouse in the fog [sim delay=1.5]"
"""Longer than the first beat: its answer is a 200 before there is an image."""
CALL = """async ([url, init]) => {
  const answer = await fetch(url, init)
  return [answer.status, Object.fromEntries(answer.headers), await answer.text()]
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def code() -> str:
    """The function that the page on this shows; there is no other script in the documentation."""
    texts = [path.read_text("utf-8") for path in DOCS.rglob("*.md") if path.parent.name != "clients"]
    (block,) = re.findall(r"^```js\n(.*?)^```$", "\n".join(texts), re.DOTALL | re.MULTILINE)
    return str(block)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two origins, neither of them the gateway's."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "index.html").write_text(PAGE, "utf-8")
    made = [ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) for _ in range(2)]
    for each in made:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{each.server_address[1]}" for each in made]
    for each in made:
        each.shutdown()
        each.server_close()


@pytest.fixture(scope="module")
def gateway(stage: Stage, servers: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway that pages of the first may call."""
    settings = settings_for(stage.simulator.base_url) | {"cors": {"origins": servers[:1]}}
    made = processes.Gateway(tmp_path_factory.mktemp("shared"), settings)
    yield made
    made.stop()


def page_of(stage: Stage, origin: str) -> Page:
    """Open a page of an origin, in a browser of its own."""
    context = stage.browser.new_context()
    context.set_default_timeout(WITHIN_MS)
    page = context.new_page()
    page.goto(f"{origin}/index.html")
    return page


@pytest.fixture
def page(stage: Stage, servers: list[str]) -> Iterator[Page]:
    """One that may call."""
    made = page_of(stage, servers[0])
    yield made
    made.context.close()


@pytest.fixture
def stranger(stage: Stage, servers: list[str]) -> Iterator[Page]:
    """One that may not."""
    made = page_of(stage, servers[1])
    yield made
    made.context.close()


def call(page: Page, gateway: Any, path: str, method: str = "GET", *, key: str | None = None, **init: Any) -> Any:
    """Let a page call the gateway: status, headers and text, as its script sees them."""
    headers = {"Authorization": f"Bearer {key or gateway.key}"} | init.pop("headers", {})
    return page.evaluate(CALL, [f"{gateway.base_url}{path}", {"method": method, "headers": headers, **init}])


def drawn(page: Page, gateway: Any, prompt: str, order: str) -> str:
    """Run what the documentation shows."""
    source = code().replace("http://127.0.0.1:16888", gateway.base_url)
    script = f"async ([prompt, key, order]) => {{ {source}\n return await draw(prompt, key, order) }}"
    return str(page.evaluate(script, [prompt, gateway.key, order]))


def test_a_held_call_brings_an_image_that_the_page_can_show_and_read(page: Page, gateway: Any) -> None:
    """The documentation's own code; its second call under the same name is given the same image."""
    url = drawn(page, gateway, HELD, "order-1")
    shown = page.evaluate(
        """async (url) => {
          const image = new Image()
          image.crossOrigin = "anonymous"
          image.src = url
          await image.decode()
          const canvas = document.createElement("canvas")
          canvas.getContext("2d").drawImage(image, 0, 0, 1, 1)
          return [image.naturalWidth, canvas.toDataURL().length > 0]
        }""",
        url,
    )
    assert shown[0] > 100
    assert shown[1], "a canvas that may not be read raises"
    assert drawn(page, gateway, HELD, "order-1").partition("?")[0] == url.partition("?")[0]
    until = time.monotonic() + WITHIN_MS / 1000
    while not (arrived := gateway.listed(collected=True)) and time.monotonic() < until:
        time.sleep(0.05)  # that it arrived is written after its last byte was acknowledged
    assert len(arrived) == 1
    assert gateway.listed(collected=False) == []


def test_a_failure_after_the_first_beat_is_an_error_of_the_page(page: Page, gateway: Any) -> None:
    """With the generation's id, which only an exposed header tells it."""
    with pytest.raises(Exception, match=r"gen_\w+: moderation_blocked"):
        drawn(page, gateway, "[sim delay=1.5 fault=refused_output]", "order-2")


def test_the_page_reads_every_header_of_ours_and_what_was_refused(page: Page, gateway: Any) -> None:
    """Statuses, documents, retry times."""
    body = '{"prompt": "a knot", "size": "1K"}'
    asked = {"Content-Type": "application/json", "Prefer": "respond-async", "X-Stainless-Retry-Count": "0"}
    status, headers, _ = call(page, gateway, "/v1/images/generations", "POST", headers=asked, body=body)
    assert status == 202
    assert headers["location"] == f"/v1/generations/{headers['generation-id']}"
    assert {"retry-after", "preference-applied", "x-request-id"} <= headers.keys()
    status, headers, text = call(page, gateway, "/v1/generations", key="hf-wrong")
    assert (status, headers["x-should-retry"]) == (401, "false")
    assert '"invalid_api_key"' in text


def test_the_page_follows_and_deletes_what_it_asked_for(page: Page, gateway: Any) -> None:
    """A stream of events by `fetch`, which may send a key; then `DELETE`, after a preflight of its own."""
    asked = {"Content-Type": "application/json"}
    _, headers, _ = call(page, gateway, "/v1/generations", "POST", headers=asked, body='{"prompt": "a pier in rain"}')
    path = headers["location"]
    status, headers, text = call(page, gateway, f"{path}/events")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert "event: generation.succeeded" in text
    assert call(page, gateway, path, "DELETE")[0] == 204
    assert '"deleted_at":"' in call(page, gateway, path)[2]


@pytest.mark.parametrize("path", ["/admin/v1/overview", "/console", "/metrics"])
def test_what_is_the_admins_no_page_elsewhere_reads(page: Page, gateway: Any, path: str) -> None:
    """Not with the admin's own key: the browser keeps it back."""
    with pytest.raises(Exception, match="Failed to fetch"):
        call(page, gateway, path)


def test_a_page_that_was_not_named_reads_nothing_and_buys_nothing(stranger: Page, gateway: Any) -> None:
    """Its browser asks first, and does not call."""
    before = len(gateway.listed(collected=True)) + len(gateway.listed(collected=False))
    for method, body in (("GET", None), ("POST", '{"prompt": "a knot"}'), ("DELETE", None)):
        with pytest.raises(Exception, match="Failed to fetch"):
            call(stranger, gateway, "/v1/generations", method, headers={"Content-Type": "application/json"}, body=body)
    assert len(gateway.listed(collected=True)) + len(gateway.listed(collected=False)) == before
