"""The stage of the browser tests: a gateway and simulated upstreams as real processes, callers at work, and Chromium.

Whatever a test looks at, no page logs an error (a breach of its content policy would be one), runs a word that it was
given, or asks anybody but the gateway.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from holdfast.simulator.film import paint
from holdfast.simulator.pictures import prepare

PROGRAM = shutil.which("chromium") or "/usr/bin/chromium"
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
WITHIN_MS = 20_000
"""For whatever is waited for: a machine that others keep busy is no reason to fail."""
expect.set_options(timeout=WITHIN_MS)
TRAFFIC_EVERY_S = 1.5
"""Between two calls of the callers at work."""
TAKEN = "taken"
"""What a hostile text makes the title, if it is run."""


def _load(name: str, file: Path) -> ModuleType:
    # Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
sys.modules["browser_shared"] = sys.modules[__name__]
processes = _load("browser_processes", HERE.parent / "acceptance" / "processes.py")
answers = _load("browser_answers", HERE / "answers.py")


def settings_for(upstream_url: str) -> dict[str, Any]:
    """Make the gateway's settings: estimates are of the simulated upstreams' size, a twelfth of life's."""
    settings: dict[str, Any] = processes.settings_for(upstream_url)
    return settings | {"latency": {"prior_weight": 1e9, "scale": 1 / 12}}


class Traffic(threading.Thread):
    """Callers who ask for images one after another, of every kind of outcome, until told to stop."""

    KINDS = (
        {"prompt": "a lighthouse in the fog [sim delay=2.5]", "size": "2K"},
        {"prompt": "a harbour at dawn, long exposure [sim delay=4]", "size": "1K"},
        {"prompt": "something that is refused [sim fault=refused_output]", "size": "1K"},
        {"prompt": "a knot that holds [sim delay=1.5]", "size": "4K"},
        {"prompt": "a pier in rain [sim delay=2]", "size": "1K", "model": "gpt-image-2"},
    )

    def __init__(self, gateway: Any) -> None:
        super().__init__(name="traffic", daemon=True)
        self._gateway = gateway
        self._over = threading.Event()
        self.problem: Exception | None = None

    def run(self) -> None:
        """Ask, and ask again."""
        bearer = {"Authorization": f"Bearer {self._gateway.key}"}
        try:
            with httpx2.Client(base_url=self._gateway.base_url, headers=bearer, trust_env=False, timeout=20) as client:
                count = 0
                while not self._over.wait(TRAFFIC_EVERY_S):
                    kind = self.KINDS[count % len(self.KINDS)]
                    client.post("/v1/generations", json=kind).raise_for_status()
                    count += 1
        except httpx2.HTTPError as exc:
            self.problem = exc

    def stop(self) -> None:
        """Let nobody ask any more."""
        self._over.set()
        self.join()
        assert self.problem is None, self.problem


@dataclass(kw_only=True)
class Stage:
    """What tests play on."""

    gateway: Any
    simulator: Any
    browser: Browser
    session: Any = None
    """Cookies of somebody who is signed in."""
    complaints: list[str] = field(default_factory=list)
    """What pages logged as errors, and whom else they asked."""
    _lasting: dict[str, BrowserContext] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Of the console."""
        return f"{self.gateway.base_url}/console"

    @property
    def pages(self) -> list[str]:
        """What the gateway says that there is to be shown."""
        (names,) = re.findall('name="holdfast-pages" content="([^"]*)"', self.fetch("/console").text)
        return str(names).split()

    @cached_property
    def picture(self) -> bytes:
        """A small image."""
        return bytes(prepare(paint(64, 64, "png"), "png").with_serial("reference").file())

    def fetch(self, url: str) -> Any:
        """Get what needs no key."""
        with httpx2.Client(base_url=self.gateway.base_url, trust_env=False, timeout=20) as client:
            return client.get(url).raise_for_status()

    def head(self, path: str) -> dict[str, str]:
        """Headers of what is served, lower case."""
        return {name.lower(): value for name, value in self.fetch(path).headers.items()}

    def status(self, method: str, path: str, *, key: str) -> int:
        """Call the gateway with a key; only how it answered."""
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=self.gateway.base_url, headers=headers, trust_env=False, timeout=20) as client:
            return int(client.request(method, path).status_code)

    def ended(self, prompt: str, *, status: str = "succeeded", key: str | None = None, **fields: Any) -> str:
        """Have something made, and wait for its end; its id."""
        body = {"prompt": prompt, "size": "1K", **fields}
        made = self.api("POST", "/v1/generations", key=key, json=body)
        while made["status"] in ("queued", "running"):
            made = self.api("GET", f"/v1/generations/{made['id']}", key=key, headers={"Prefer": "wait=10"})
        assert made["status"] == status, made
        return str(made["id"])

    def collected(self, generation_id: str, url: str) -> None:
        """Fetch an image, and wait until that is on record: it is written a moment after the last byte."""
        self.fetch(url)
        until = time.monotonic() + 20
        while generation_id not in [each["id"] for each in self.api("GET", "/v1/generations?collected=true")["data"]]:
            assert time.monotonic() < until, f"nobody noted that {generation_id} was collected"
            time.sleep(0.05)

    def api(self, method: str, path: str, *, key: str | None = None, **options: Any) -> Any:
        """Call the gateway with a key, the first one by default; its JSON."""
        bearer = {"Authorization": f"Bearer {key or self.gateway.key}"}
        with httpx2.Client(base_url=self.gateway.base_url, headers=bearer, trust_env=False, timeout=20) as client:
            answer = client.request(method, path, **options)
            assert answer.is_success, (method, path, answer.status_code, answer.text)
            return answer.json() if answer.content else None

    def context(self, size: str = "desktop", *, signed_in: bool = True, **options: Any) -> BrowserContext:
        """Open a browser of its own, as large as a desk's or a phone's."""
        options = {"viewport": SIZES[size], "has_touch": size == "phone"} | options
        if signed_in:
            options["storage_state"] = self.session
        context = self.browser.new_context(**options)
        context.set_default_timeout(WITHIN_MS)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", lambda request: self._on_request(request.url))
        return context

    def lasting(self, size: str) -> BrowserContext:
        """Give a browser that all tests share, which keeps the files it has loaded as a person's does."""
        if size not in self._lasting:
            self._lasting[size] = self.context(size)
        return self._lasting[size]

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium logs every answer that is an error; tests that ask for one look at what is shown instead.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _on_request(self, url: str) -> None:
        if not url.startswith((self.gateway.base_url, "blob:", "data:")):
            self.complaints.append(f"asked {url}")


def open_page(page: Page, stage: Stage, name: str = "") -> Page:
    """Show a page, and wait until it has what it shows."""
    page.goto(f"{stage.url}#/{name}")
    page.locator("#main h1").first.wait_for()
    # No waiting inside the page: that would evaluate text, which the content policy refuses.
    expect(page.locator("#main")).not_to_have_attribute("aria-busy", "true")
    return page


def sign_in(page: Page, key: str) -> None:
    """Sign in as a person does."""
    page.get_by_label("Admin key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def session_of(stage: Stage) -> Any:
    """Sign in once; the cookies are every other context's."""
    with stage.context(signed_in=False) as context:
        page = context.new_page()
        page.goto(stage.url)
        sign_in(page, stage.gateway.key)
        page.locator("#main h1").first.wait_for()
        return context.storage_state()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Everything that runs, and its end."""
    folder = tmp_path_factory.mktemp("browser")
    with ExitStack() as stack:
        simulator = processes.Simulator(folder)
        stack.callback(simulator.stop)
        gateway = processes.Gateway(folder, settings_for(simulator.base_url))
        stack.callback(gateway.stop)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        stack.callback(browser.close)
        made = Stage(gateway=gateway, simulator=simulator, browser=browser)
        made.session = session_of(made)
        traffic = Traffic(gateway)
        traffic.start()
        try:
            yield made
        finally:
            traffic.stop()
    assert gateway.status == 0


@pytest.fixture(autouse=True)
def no_complaints(stage: Stage) -> Iterator[None]:
    """Nothing was wrong inside any page."""
    stage.complaints.clear()
    yield
    assert stage.complaints == []


@pytest.fixture
def desk(stage: Stage) -> Iterator[Page]:
    """A page of somebody who is signed in, on a desk."""
    with stage.lasting("desktop").new_page() as page:
        yield page


@pytest.fixture
def slim(stage: Stage) -> Iterator[Page]:
    """The same on a phone, where the least has room."""
    with stage.lasting("phone").new_page() as page:
        yield page


@pytest.fixture(params=list(SIZES))
def any_size(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The same, on a desk and on a phone."""
    with stage.lasting(request.param).new_page() as page:
        yield page
