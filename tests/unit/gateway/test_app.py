"""Routing, and how every error is told: in the caller's dialect, and never after an answer has begun."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.errors import RequestError, StorageError
from holdfast.gateway import app as app_module
from holdfast.gateway.app import App, Endpoint, endpoint
from holdfast.gateway.call import Call, CallerLeft
from holdfast.types import Surface

Handled = list[tuple[str, dict[str, str]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was logged meanwhile."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(app_module, "emit", lambda event, **fields: lines.append({"event": event, **fields}))
    return lines


@pytest.fixture
def serve(a_clock: Any, told: list[dict[str, Any]]) -> Callable[..., App]:
    """Build applications."""

    def build(*endpoints: Endpoint) -> App:
        return App(list(endpoints), clock=a_clock, body_bytes_max=1000)

    return build


async def ask(app: App, caller: Any) -> Any:
    """Send one request; give the caller."""
    await app(caller.scope, caller.receive, caller.send)
    return caller


async def ok(call: Call, _: dict[str, str]) -> None:
    """Answer."""
    await call.json(200, b"{}")


def raising(error: BaseException) -> Callable[[Call, dict[str, str]], Any]:
    """Make a handler that fails."""

    async def handler(call: Call, names: dict[str, str]) -> None:
        raise error

    return handler


def routes(handled: Handled) -> list[Endpoint]:
    """A few endpoints that note what reached them."""

    def noting(name: str) -> Callable[[Call, dict[str, str]], Any]:
        async def handler(call: Call, names: dict[str, str]) -> None:
            handled.append((name, names))
            await call.json(200, b'{"ok":true}')

        return handler

    return [
        endpoint("POST", "/v1/models/{model}:generateContent", Surface.GEMINI, noting("generate")),
        endpoint("GET", "/v1/models/{model}", Surface.OPENAI, noting("model")),
        endpoint("GET", "/v1/generations/{id}/images/{index}", Surface.GENERATIONS, noting("image")),
        endpoint("GET", "/a.b", Surface.OPENAI, noting("dot")),
    ]


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("POST", "/v1/models/nano-banana-pro:generateContent", ("generate", {"model": "nano-banana-pro"})),
        ("GET", "/v1/models/nano-banana-pro", ("model", {"model": "nano-banana-pro"})),
        ("HEAD", "/v1/models/x", ("model", {"model": "x"})),
        ("GET", "/v1/generations/gen_1/images/0", ("image", {"id": "gen_1", "index": "0"})),
        ("GET", "/a.b", ("dot", {})),
    ],
)
async def test_a_path_finds_its_handler(
    serve: Callable[..., App], a_caller: Any, method: str, path: str, wanted: tuple[str, dict[str, str]]
) -> None:
    """A name is one segment without a colon, since Gemini puts its verb behind one."""
    handled: Handled = []
    caller = await ask(serve(*routes(handled)), a_caller(method, path))
    assert handled == [wanted]
    assert caller.status == 200
    assert caller.body == (b"" if method == "HEAD" else b'{"ok":true}')
    assert caller.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "path",
    ["/axb", "/v1/models/", "/v1/models/a/b", "/v1/models/a:countTokens", "/v1/models/x/", "/", ""],
)
async def test_a_path_that_nothing_serves_is_told_404(serve: Callable[..., App], a_caller: Any, path: str) -> None:
    """No prefix, no suffix, no wildcard: only what is declared is served."""
    handled: Handled = []
    caller = await ask(serve(*routes(handled)), a_caller("GET", path))
    assert handled == []
    assert caller.status == 404


@pytest.mark.parametrize(
    ("path", "headers", "surface"),
    [
        ("/v1/other", {}, Surface.OPENAI),
        ("/v1beta/other", {}, Surface.GEMINI),
        ("/v1/models/x:countTokens", {}, Surface.GEMINI),
        ("/v1/other", {"x-goog-api-key": "k"}, Surface.GEMINI),
        ("/v1/generations", {}, Surface.GENERATIONS),
    ],
)
async def test_a_404_is_told_in_the_dialect_that_was_meant(
    serve: Callable[..., App], a_caller: Any, path: str, headers: dict[str, str], surface: Surface
) -> None:
    """An SDK that cannot read the envelope shows its user nothing of the message."""
    caller = await ask(serve(), a_caller("POST", path, headers=headers))
    document = json.loads(caller.body)
    match surface:
        case Surface.OPENAI:
            assert document["error"]["code"] == "not_found"
        case Surface.GEMINI:
            assert (document["error"]["code"], document["error"]["status"]) == (404, "NOT_FOUND")
        case Surface.GENERATIONS:
            assert caller.headers["content-type"] == "application/problem+json"
            assert (document["status"], document["code"]) == (404, "not_found")


async def test_a_wrong_method_is_told_which_are_right(serve: Callable[..., App], a_caller: Any) -> None:
    """RFC 9110 §15.5.6: a 405 carries Allow; HEAD is served wherever GET is."""
    app = serve(
        endpoint("GET", "/thing", Surface.OPENAI, ok),
        endpoint("POST", "/thing", Surface.OPENAI, ok),
    )
    caller = await ask(app, a_caller("DELETE", "/thing"))
    assert caller.status == 405
    assert caller.headers["allow"] == "GET, HEAD, POST"
    assert json.loads(caller.body)["error"]["code"] == "method_not_allowed"
    only_post = await ask(serve(endpoint("POST", "/t", Surface.OPENAI, ok)), a_caller("HEAD", "/t"))
    assert (only_post.status, only_post.headers["allow"], only_post.body) == (405, "POST", b"")


@pytest.mark.parametrize("path", ["/v1/models/a\nb", "/v1/models/\x00", "/\x7f", "/\x1b[31m"])
async def test_a_control_character_in_the_path_is_refused(serve: Callable[..., App], a_caller: Any, path: str) -> None:
    """It would otherwise write into a log or a terminal."""
    handled: Handled = []
    caller = await ask(serve(*routes(handled)), a_caller("GET", path))
    assert (caller.status, handled) == (400, [])


async def test_a_refusal_carries_everything_a_caller_needs(serve: Callable[..., App], a_caller: Any) -> None:
    """Status, field, whether it was paid for, whether and when to repeat."""
    error = RequestError("Full.", code="queue_full", status=503, retry_after_s=29.2, param="n")
    app = serve(endpoint("POST", "/x", Surface.OPENAI, raising(error)))
    caller = await ask(app, a_caller("POST", "/x"))
    assert caller.status == 503
    told = json.loads(caller.body)["error"]
    assert (told["message"], told["param"], told["paid"], told["retryable"]) == ("Full.", "n", "no", True)
    assert caller.headers["x-should-retry"] == "true"
    assert caller.headers["retry-after"] == "30"
    assert caller.headers["cache-control"] == "no-store, no-transform"
    assert int(caller.headers["content-length"]) == len(caller.body)
    assert caller.is_answered


async def test_a_missing_key_is_told_how_to_authenticate(serve: Callable[..., App], a_caller: Any) -> None:
    """RFC 9110 §11.6.1: a 401 names the scheme; a repeat with the same key is pointless."""
    error = RequestError("No key.", code="invalid_api_key", status=401)
    caller = await ask(serve(endpoint("GET", "/x", Surface.OPENAI, raising(error))), a_caller("GET", "/x"))
    assert caller.status == 401
    assert caller.headers["www-authenticate"].startswith("Bearer ")
    assert caller.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("headers", "is_gemini"),
    [({"authorization": "Bearer k"}, False), ({"x-goog-api-key": "k"}, True), ({}, False)],
)
async def test_a_shared_path_tells_errors_in_the_dialect_of_the_credential(
    serve: Callable[..., App], a_caller: Any, headers: dict[str, str], is_gemini: bool
) -> None:
    """`GET /v1/models` is asked by both families of SDK, with wrong keys too."""
    error = RequestError("Unknown key.", code="invalid_api_key", status=401)
    app = serve(endpoint("GET", "/v1/models", Surface.OPENAI, raising(error), by_credential=True))
    told = json.loads((await ask(app, a_caller("GET", "/v1/models", headers=headers))).body)["error"]
    assert told["code"] == (401 if is_gemini else "invalid_api_key")
    assert ("status" in told) is is_gemini


async def test_a_fault_of_ours_is_500_and_claims_nothing(
    serve: Callable[..., App], a_caller: Any, told: list[dict[str, Any]]
) -> None:
    """What an upstream may have charged is not known here; the words of the exception are for the log."""
    app = serve(endpoint("POST", "/x", Surface.OPENAI, raising(KeyError("the secret prompt"))))
    caller = await ask(app, a_caller("POST", "/x"))
    document = json.loads(caller.body)["error"]
    assert caller.status == 500
    assert (document["paid"], document["retryable"]) == ("unknown", False)
    assert b"secret" not in caller.body
    assert caller.headers["x-request-id"] in document["message"]
    fault = next(line for line in told if line["event"] == "fault.internal")
    assert isinstance(fault["exc"], KeyError)
    assert fault["request_id"] == caller.headers["x-request-id"]


@pytest.mark.parametrize(("method", "paid", "may_repeat"), [("GET", "no", True), ("POST", "unknown", False)])
async def test_a_store_that_does_not_answer_is_no_fault_of_ours(
    serve: Callable[..., App], a_caller: Any, told: list[dict[str, Any]], method: str, paid: str, may_repeat: bool
) -> None:
    """503 and when to come again; whoever only looks may, and of anything else nothing is claimed."""
    away = StorageError("The database at db.internal is away.", reason="away")
    app = serve(endpoint(method, "/x", Surface.OPENAI, raising(away)))
    caller = await ask(app, a_caller(method, "/x"))
    document = json.loads(caller.body)["error"]
    assert (caller.status, document["code"]) == (503, "storage_low")
    assert (document["paid"], document["retryable"]) == (paid, may_repeat)
    assert caller.headers["retry-after"] == "5"
    assert b"db.internal" not in caller.body
    assert [line["event"] for line in told if line["event"] in ("fault.internal", "storage.failed")] == [
        "storage.failed"
    ]


@pytest.mark.parametrize("error", [ValueError("late"), RequestError("late")])
async def test_nothing_is_told_once_an_answer_has_begun(
    serve: Callable[..., App], a_caller: Any, error: Exception
) -> None:
    """A second head inside a body would be read as image data: the body is broken off instead."""

    async def handler(call: Call, _: dict[str, str]) -> None:
        await call.start(200, [(b"content-length", b"10")])
        await call.write(b"half")
        raise error

    caller = await ask(serve(endpoint("GET", "/x", Surface.OPENAI, handler)), a_caller("GET", "/x"))
    assert [message["type"] for message in caller.sent] == ["http.response.start", "http.response.body"]
    assert caller.protocol.was_broken_off
    assert not caller.is_answered


@pytest.mark.parametrize("error", [ValueError("late"), RequestError("late"), CallerLeft(), asyncio.CancelledError()])
async def test_an_answer_that_is_complete_is_never_broken_off(
    serve: Callable[..., App], a_caller: Any, error: BaseException
) -> None:
    """Whatever fails behind it: the connection is kept alive, and the next request may be on it already."""

    async def handler(call: Call, names: dict[str, str]) -> None:
        await ok(call, names)
        raise error

    caller = a_caller("GET", "/x")
    with contextlib.suppress(asyncio.CancelledError):
        await ask(serve(endpoint("GET", "/x", Surface.OPENAI, handler)), caller)
    assert caller.is_answered
    assert not caller.protocol.was_broken_off


async def test_an_answer_whose_last_piece_was_not_taken_is_broken_off(serve: Callable[..., App], a_caller: Any) -> None:
    """It waits for a full connection when the process ends: without its end it is not complete."""

    async def handler(call: Call, _: dict[str, str]) -> None:
        await call.start(200, [])
        await call.finish(b"the end")

    def cancelled() -> None:
        raise asyncio.CancelledError

    caller = a_caller("GET", "/x")
    caller.on_write = cancelled
    with pytest.raises(asyncio.CancelledError):
        await ask(serve(endpoint("GET", "/x", Surface.OPENAI, handler)), caller)
    assert caller.protocol.was_broken_off


async def test_a_caller_that_left_is_told_nothing(
    serve: Callable[..., App], a_caller: Any, told: list[dict[str, Any]]
) -> None:
    """It is no fault: nothing is logged as one."""
    caller = await ask(serve(endpoint("POST", "/x", Surface.OPENAI, raising(CallerLeft()))), a_caller("POST", "/x"))
    assert caller.sent == []
    assert caller.protocol.was_broken_off
    assert told == []


async def test_a_refusal_for_a_caller_that_left_is_not_written(serve: Callable[..., App], a_caller: Any) -> None:
    """Its connection is closing: a head would go nowhere, or to nobody."""

    async def handler(call: Call, _: dict[str, str]) -> None:
        call.protocol.transport.close()
        raise RequestError("Too late.")

    caller = await ask(serve(endpoint("GET", "/x", Surface.OPENAI, handler)), a_caller("GET", "/x"))
    assert caller.sent == []


async def test_an_answer_left_unfinished_is_broken_off(serve: Callable[..., App], a_caller: Any) -> None:
    """A handler that forgets the end must not leave its caller waiting for it."""

    async def handler(call: Call, _: dict[str, str]) -> None:
        await call.start(200, [])
        await call.write(b"{")

    caller = await ask(serve(endpoint("GET", "/x", Surface.OPENAI, handler)), a_caller("GET", "/x"))
    assert caller.protocol.was_broken_off


async def test_a_cancellation_passes_through_and_cuts_the_answer(serve: Callable[..., App], a_caller: Any) -> None:
    """A shutdown must not wait for its callers, nor tell them a success."""

    async def handler(call: Call, _: dict[str, str]) -> None:
        await call.start(200, [])
        await asyncio.Event().wait()

    app, caller = serve(endpoint("GET", "/x", Surface.OPENAI, handler)), a_caller("GET", "/x")
    task = asyncio.create_task(ask(app, caller))
    await asyncio.sleep(0)
    assert app.in_progress == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caller.protocol.was_broken_off
    assert app.in_progress == 0


async def test_what_is_in_progress_is_counted_whatever_comes_of_it(serve: Callable[..., App], a_caller: Any) -> None:
    """The drain waits for this number to reach 0."""
    app = serve(
        endpoint("GET", "/ok", Surface.OPENAI, ok),
        endpoint("GET", "/refused", Surface.OPENAI, raising(RequestError("No."))),
        endpoint("GET", "/broken", Surface.OPENAI, raising(ZeroDivisionError())),
        endpoint("GET", "/left", Surface.OPENAI, raising(CallerLeft())),
    )
    for path in ("/ok", "/refused", "/broken", "/left", "/nothing"):
        await ask(app, a_caller("GET", path))
        assert app.in_progress == 0


async def test_a_refusal_is_logged_without_what_was_asked(
    serve: Callable[..., App], a_caller: Any, told: list[dict[str, Any]]
) -> None:
    """Path, code and caller: never a query string, which may hold a key."""
    app = serve(endpoint("POST", "/x", Surface.OPENAI, raising(RequestError("prompt: too long", param="prompt"))))
    await ask(app, a_caller("POST", "/x", query={"key": "hf-secret"}, headers={"authorization": "Bearer hf-other"}))
    (line,) = told
    assert (line["event"], line["code"], line["client"]) == ("request.refused", "invalid_request", "127.0.0.1")
    assert "hf-" not in str(line)
