"""Handlers that answer without a generation: models, health, documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from holdfast.config import Settings
from holdfast.errors import RequestError
from holdfast.gateway.app import App
from holdfast.gateway.asked import Routes
from holdfast.gateway.auth import presented_key
from holdfast.gateway.call import Call
from holdfast.gateway.surfaces import Surfaces
from holdfast.store.records import KeyRow

NAMES = ["nano-banana-pro", "gemini-3-pro-image", "gpt-image-2", "resold"]


class FakeAuth:
    """Knows the key `good`."""

    async def authenticate(self, call: Call, _: object = None) -> KeyRow:
        """Let in or refuse."""
        if presented_key(call) != "good":
            raise RequestError("The API key is not known here.", code="invalid_api_key", status=401)
        return KeyRow(id="key_1", label="", created_at="")


class FakeEngine:
    """Says why new work would be refused."""

    def __init__(self) -> None:
        self.said: str | None = None

    def obstacle(self) -> str | None:
        """As the test says."""
        return self.said


class Unreached:
    """Fails a test that gets this far."""

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "image", "list_own", "events", "cancel", "delete", "serve"):
            return None
        raise AssertionError(f"{name} was reached")


@pytest.fixture
def engine() -> FakeEngine:
    """An engine without work."""
    return FakeEngine()


@pytest.fixture
def ask(settings_of: Callable[..., Settings], a_clock: Any, a_caller: Any, engine: FakeEngine) -> Callable[..., Any]:
    """Send one request to the application; give the caller."""
    unreached = cast(Any, Unreached())
    surfaces = Surfaces(
        engine=cast(Any, engine),
        auth=cast(Any, FakeAuth()),
        bodies=unreached,
        routes=Routes(settings_of()),
        generator=unreached,
        generations=unreached,
        webhooks=unreached,
        results=unreached,
        fetcher=unreached,
    )
    app = App(surfaces.endpoints(), clock=a_clock, body_bytes_max=1000)

    async def send(path: str, **more: Any) -> Any:
        caller = a_caller(more.pop("method", "GET"), path, **more)
        await app(caller.scope, caller.receive, caller.send)
        return caller

    return send


OPENAI = {"authorization": "Bearer good"}
GOOGLE = {"x-goog-api-key": "good"}


@pytest.mark.parametrize("headers", [OPENAI, {**OPENAI, "user-agent": "OpenAI/Python 3.54.0"}])
async def test_openai_callers_get_openais_list_of_models(ask: Any, headers: dict[str, str]) -> None:
    """Every name that may be written, aliases included."""
    caller = await ask("/v1/models", headers=headers)
    document = json.loads(caller.body)
    assert (caller.status, document["object"]) == (200, "list")
    assert [model["id"] for model in document["data"]] == NAMES


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/models", {"headers": GOOGLE}),
        ("/v1/models", {"query": {"key": "good"}}),
        ("/v1beta/models", {"headers": GOOGLE}),
        ("/v1beta/models", {"headers": OPENAI}),
    ],
)
async def test_google_callers_get_googles_list(ask: Any, path: str, more: dict[str, Any]) -> None:
    """google-genai 3 looks under `/v1`, where OpenAI's SDKs look too."""
    document = json.loads((await ask(path, **more)).body)
    assert [model["name"] for model in document["models"]] == [f"models/{name}" for name in NAMES]
    assert "generateContent" in document["models"][0]["supportedGenerationMethods"]


async def test_one_model_is_told_in_the_dialect_of_its_asker(ask: Any) -> None:
    """Under the name that was asked for."""
    openai = json.loads((await ask("/v1/models/gemini-3-pro-image", headers=OPENAI)).body)
    assert (openai["id"], openai["object"]) == ("gemini-3-pro-image", "model")
    for path in ("/v1/models/gemini-3-pro-image", "/v1beta/models/gemini-3-pro-image"):
        google = json.loads((await ask(path, headers=GOOGLE)).body)
        assert google["name"] == "models/gemini-3-pro-image"


@pytest.mark.parametrize(("headers", "code"), [(OPENAI, "model_not_found"), (GOOGLE, 404)])
async def test_an_unknown_model_is_404_in_that_dialect(ask: Any, headers: dict[str, str], code: str | int) -> None:
    """One path, two envelopes."""
    caller = await ask("/v1/models/dall-e-3", headers=headers)
    assert caller.status == 404
    assert json.loads(caller.body)["error"]["code"] == code


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/nano-banana-pro"),
        ("GET", "/v1beta/models"),
        ("GET", "/v1beta/models/nano-banana-pro"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/models/nano-banana-pro:generateContent"),
        ("POST", "/v1beta/models/nano-banana-pro:generateContent"),
    ],
)
async def test_nothing_is_read_before_the_key_is_known(ask: Any, method: str, path: str) -> None:
    """Bodies of 128 MB are for those who pay."""
    caller = await ask(path, method=method, headers={"authorization": "Bearer wrong"}, pieces=[b"{"])
    assert caller.status == 401
    assert caller.pieces == [b"{"]


async def test_an_unknown_model_is_refused_before_the_body_is_read(ask: Any) -> None:
    """Its name stands in the path."""
    caller = await ask("/v1/models/nope:generateContent", method="POST", headers=GOOGLE, pieces=[b"{"])
    assert caller.status == 404
    assert caller.pieces == [b"{"]


@pytest.mark.parametrize("query", [{}, {"alt": "json"}])
async def test_a_stream_is_served_as_events_only(ask: Any, query: dict[str, str]) -> None:
    """Without `alt=sse` Google sends an array; nobody could be held in one."""
    caller = await ask(
        "/v1beta/models/nano-banana-pro:streamGenerateContent", method="POST", headers=GOOGLE, query=query
    )
    error = json.loads(caller.body)["error"]
    assert (caller.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert "alt=sse" in error["message"]


async def test_health_and_readiness_need_no_key(ask: Any, engine: FakeEngine) -> None:
    """The process lives even where it takes no new work."""
    assert (await ask("/healthz")).status == 200
    assert (await ask("/readyz")).status == 200
    engine.said = "draining"
    assert (await ask("/healthz")).status == 200
    caller = await ask("/readyz")
    assert (caller.status, json.loads(caller.body)) == (503, {"status": "draining"})


async def test_the_documents_are_open_and_locked_down(ask: Any) -> None:
    """The page may load nothing, not even by mistake."""
    spec = await ask("/openapi.json")
    assert (spec.status, spec.headers["content-type"]) == (200, "application/json")
    assert json.loads(spec.body)["openapi"]
    page = await ask("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["x-content-type-options"] == "nosniff"
    head = await ask("/docs", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == page.headers["content-length"]
