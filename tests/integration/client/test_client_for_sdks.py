"""The clients that are handed to SDKs: keys, timeouts, what passes, what is let go. Real SDKs, answers from memory."""

from __future__ import annotations

import asyncio
import base64
import importlib
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types

import holdfast
from holdfast.client import httpx_transport
from holdfast.client.defaults import IDLE_REUSE_S, call_timeouts
from holdfast.errors import ConfigError

ULID = "01J9Z3NDEKTSV4RRFFQ69G5FAV"
OURS = {"x-request-id": f"req_{ULID}", "content-type": "application/json"}
MADE = OURS | {"generation-id": f"gen_{ULID}"}
IMAGE = json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(b"image" * 1000).decode()}]}).encode()
PART = {"inlineData": {"mimeType": "image/png", "data": "aW1hZ2U="}}
DRAWN = json.dumps({"candidates": [{"content": {"parts": [PART], "role": "model"}, "finishReason": "STOP"}]}).encode()
LIBRARIES = ["httpx2", "httpx"]


@pytest.fixture(params=LIBRARIES)
def http(request: pytest.FixtureRequest) -> Any:
    """Give either library."""
    return importlib.import_module(request.param)


@dataclass(kw_only=True)
class Script:
    """A server that answers what it is told, in order, the last for ever."""

    http: Any
    answers: list[Any] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    open: int = 0
    """Bodies that were begun and not closed."""

    @property
    def posts(self) -> list[Any]:
        """What may have bought something."""
        return [each for each in self.requests if each.method == "POST"]

    @property
    def keys(self) -> list[str | None]:
        """Their keys."""
        return [each.headers.get("idempotency-key") for each in self.posts]

    def answer(self, request: Any) -> Any:
        """Give the next answer, or break."""
        self.requests.append(request)
        if request.method == "GET" and request.url.path == "/v1/generations":
            told = self.answers[0] if isinstance(self.answers[0], dict) else {}
            return self.response(*told.get("who", (404, {}, b"{}")))
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(told, dict):
            told = self.answers.pop(0)
        if isinstance(told, BaseException):
            raise told
        return told() if callable(told) else self.response(*told)

    def response(self, status: int, headers: dict[str, str], body: bytes, cut_at: int | None = None) -> Any:
        """Make an answer whose body breaks off somewhere."""
        script = self

        class Body(self.http.SyncByteStream, self.http.AsyncByteStream):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Iterator[bytes]:
                script.open += 1
                yield body[:cut_at]
                if cut_at is not None:
                    raise script.http.ReadError("cut")

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for piece in self:
                    yield piece

            def close(self) -> None:
                script.open = 0

            async def aclose(self) -> None:
                script.open = 0

        return self.http.Response(status, headers=headers, stream=Body())

    def client(self, **options: Any) -> Any:
        """Make a client that reaches it."""
        return holdfast.httpx_client(
            library=self.http.__name__, transport=self.http.MockTransport(self.answer), **options
        )

    def async_client(self, **options: Any) -> Any:
        """Make its asynchronous twin."""

        async def answer(request: Any) -> Any:
            return self.answer(request)

        return holdfast.httpx_async_client(
            library=self.http.__name__, transport=self.http.MockTransport(answer), **options
        )

    def openai(self, *, retries: int = 0, timeout: Any = openai.NOT_GIVEN, **options: Any) -> openai.OpenAI:
        """Hand it to openai."""
        named = {} if timeout is openai.NOT_GIVEN else {"timeout": timeout}
        return openai.OpenAI(
            api_key="k", base_url="http://there/v1", max_retries=retries, http_client=self.client(**options), **named
        )

    def google(self, *, attempts: int = 1, timeout: int | None = None, **options: Any) -> genai.Client:
        """Hand it to google-genai."""
        told = types.HttpOptions(
            base_url="http://there",
            timeout=timeout,
            retry_options=types.HttpRetryOptions(attempts=attempts, initial_delay=0.01, jitter=0.0),
            httpx_client=self.client(**options),
            httpx_async_client=self.async_client(**options),
        )
        return genai.Client(api_key="k", http_options=told)


def draw(client: openai.OpenAI, prompt: str = "a lighthouse") -> bytes:
    """Ask openai for an image."""
    return base64.b64decode(client.images.generate(prompt=prompt, model="m").data[0].b64_json)


def change(client: openai.OpenAI) -> bytes:
    """Ask it for another one of an image."""
    image = ("one.png", io.BytesIO(b"png" * 99), "image/png")
    return base64.b64decode(client.images.edit(image=image, prompt="p", model="m").data[0].b64_json)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let openai repeat at once."""
    monkeypatch.setattr(openai.OpenAI, "_calculate_retry_timeout", lambda *_: 0.0)


# One key for one call


@pytest.mark.parametrize("call", [draw, change], ids=["generate", "edit"])
def test_openai_s_own_repeats_share_a_key(http: Any, call: Callable[[openai.OpenAI], bytes]) -> None:
    """At a server that is not holdfast too: whether that looks at keys is its own affair. A form has a new border."""
    script = Script(http=http, answers=[(500, {}, b"{}"), (503, {}, b"{}"), (200, {}, IMAGE)])
    with script.openai(retries=2) as client:
        assert call(client) == b"image" * 1000
        first, *others = script.keys
        assert first is not None
        assert others == [first, first]
        call(client)
    assert script.keys[-1] not in (first, None), "the same once more is another call"


def test_calls_at_once_have_keys_of_their_own(http: Any) -> None:
    """The same words in several threads are as many images, whoever of them repeats."""
    script = Script(http=http, answers=[(500, {}, b"{}")] * 8 + [(200, {}, IMAGE)])
    with script.openai(retries=20) as client:
        threads = [threading.Thread(target=draw, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(script.keys)) == 4
    assert len(script.posts) == 12


async def test_tasks_at_once_have_keys_of_their_own(http: Any) -> None:
    """The same of AsyncOpenAI in one thread."""
    script = Script(http=http, answers=[(500, {}, b"{}")] * 8 + [(200, {}, IMAGE)])
    async with openai.AsyncOpenAI(
        api_key="k", base_url="http://there/v1", max_retries=20, http_client=script.async_client()
    ) as client:
        client._calculate_retry_timeout = lambda *_: 0.0  # type: ignore[method-assign]
        await asyncio.gather(*(client.images.generate(prompt="p", model="m") for _ in range(4)))
    assert len(set(script.keys)) == 4
    assert len(script.posts) == 12


def test_google_s_own_repeats_share_a_key(http: Any) -> None:
    """It counts nothing; the next call has another key, also after one that failed."""
    script = Script(http=http, answers=[(503, {}, b"{}"), (503, {}, b"{}"), (200, {}, DRAWN), (500, {}, b"{}")])
    client = script.google(attempts=3)
    client.models.generate_content(model="gemini-3-pro-image", contents="p")
    first, *others = script.keys
    assert first is not None
    assert others == [first, first]
    for _ in range(2):
        with pytest.raises(google_errors.ServerError):
            client.models.generate_content(model="gemini-3-pro-image", contents="p")
    keys = script.keys[3:]
    assert len(keys) == 6
    assert len(set(keys) - {first, None}) == 2


async def test_google_s_asynchronous_repeats_share_a_key(http: Any) -> None:
    """Streamed or not."""
    script = Script(http=http, answers=[(503, {}, b"{}"), (200, {}, DRAWN)])
    client = script.google(attempts=3).aio
    await client.models.generate_content(model="gemini-3-pro-image", contents="p")
    assert len(script.keys) == 2
    assert len(set(script.keys)) == 1


def test_a_caller_s_own_key_stays(http: Any) -> None:
    """Whoever names his calls knows which are the same."""
    script = Script(http=http, answers=[(200, MADE, IMAGE)])
    with script.openai() as client:
        client.images.generate(prompt="p", model="m", extra_headers={"Idempotency-Key": "mine"})
    assert script.keys == ["mine"]


def test_what_is_not_for_an_image_passes(http: Any) -> None:
    """No key, no question, no second try; not even where it breaks."""
    script = Script(http=http, answers=[(200, OURS, b'{"data": []}', None), (200, MADE, b"{}", 1)])
    with script.openai(holdfast=True) as client:
        client.models.list()
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "p"}])
    assert [each.method for each in script.requests] == ["GET", "POST"]
    assert script.keys == [None]


# Other servers


@pytest.mark.parametrize("cut_at", [0, 10, len(IMAGE) - 1])
def test_another_server_is_never_asked_twice(http: Any, cut_at: int) -> None:
    """A cut is told as it is: whether the image was bought, nobody knows, and a second one certainly would be."""
    script = Script(http=http, answers=[(200, {"content-type": "application/json"}, IMAGE, cut_at)])
    with script.openai() as client, pytest.raises(openai.APIConnectionError):
        draw(client)
    assert len(script.posts) == 1


def test_who_it_is_is_asked_for_once_and_for_nothing(http: Any) -> None:
    """Cut before the head: the question has the credential and the key, and its answer decides."""
    script = Script(http=http, answers=[http.ReadError("cut")])
    with script.openai() as client:
        for _ in range(2):
            with pytest.raises(openai.APIConnectionError):
                draw(client)
    post, question, _ = script.requests
    assert question.url.path == "/v1/generations"
    assert question.url.params["idempotency_key"] == post.headers["idempotency-key"]
    assert question.headers["authorization"] == "Bearer k"


def test_holdfast_is_asked_again_once_it_is_known(http: Any) -> None:
    """By the answer to the question; from then on nothing is asked."""
    answers: list[Any] = [
        http.ReadError("cut"),
        {"who": (200, OURS, b'{"object":"list","data":[]}')},
        (200, MADE, IMAGE),
        http.ReadError("cut"),
        (200, MADE, IMAGE),
    ]
    script = Script(http=http, answers=answers)
    with script.openai() as client:
        draw(client)
        draw(client)
    assert [each.method for each in script.requests] == ["POST", "GET", "POST", "POST", "POST"]
    first, second, third, fourth = script.keys
    assert first == second
    assert third == fourth
    assert first != third


def test_holdfast_that_is_denied_is_not_looked_for(http: Any) -> None:
    """`holdfast=False`: one POST and nothing else, whatever the answer's head says."""
    script = Script(http=http, answers=[(200, MADE, IMAGE, 100)])
    with script.openai(holdfast=False) as client, pytest.raises(openai.APIConnectionError):
        draw(client)
    assert len(script.requests) == 1


# Errors, timeouts, ends


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_errors_of_the_api_pass_unchanged(http: Any, status: int, error: type[openai.APIStatusError]) -> None:
    """Body and headers as the gateway gave them, from one request."""
    body = json.dumps({"error": {"message": "no", "code": "because"}}).encode()
    script = Script(http=http, answers=[(status, OURS | {"x-should-retry": "true", "retry-after": "7"}, body)])
    with script.openai(holdfast=True) as client, pytest.raises(error) as raised:
        draw(client)
    assert raised.value.code == "because"
    assert raised.value.response.headers["retry-after"] == "7"
    assert len(script.requests) == 1


def test_what_is_cut_is_mended(http: Any) -> None:
    """The SDK reads one whole answer; it never learns how many there were."""
    script = Script(
        http=http, answers=[*((200, MADE, b"\n\n" + IMAGE, at) for at in (0, 1, 50, 900)), (200, MADE, IMAGE)]
    )
    with script.openai() as client:
        assert draw(client) == b"image" * 1000
    assert len(set(script.keys)) == 1
    assert script.open == 0


async def test_what_is_cut_is_mended_for_tasks(http: Any) -> None:
    """The same for google-genai's asynchronous half."""
    script = Script(http=http, answers=[*((200, MADE, DRAWN, at) for at in (0, 1, 50)), (200, MADE, DRAWN)])
    client = script.google().aio
    answer = await client.models.generate_content(model="gemini-3-pro-image", contents="p")
    assert answer.parts[0].inline_data.data == b"image"
    assert len(script.posts) == 4


@pytest.mark.parametrize(("size", "network"), [("1K", "intranet"), ("4K", "home"), ("4096x4096", "peak")])
def test_timeouts_follow_size_and_network(http: Any, size: str, network: str) -> None:
    """As the table has them; for google-genai too, which says None where nobody said anything."""
    times = call_timeouts(size, network)
    wanted = {"connect": times.connect_s, "read": times.read_idle_s, "write": times.write_s, "pool": times.pool_s}
    script = Script(http=http, answers=[(200, MADE, IMAGE), (200, MADE, DRAWN)])
    with script.openai(size=size, network=network) as client:
        draw(client)
    script.google(size=size, network=network).models.generate_content(model="gemini-3-pro-image", contents="p")
    assert [each.extensions["timeout"] for each in script.requests] == [wanted, wanted]


def test_a_caller_s_own_timeout_stays_and_is_his_last_word(http: Any) -> None:
    """What he set is what runs, and when it fires nothing is asked again."""
    script = Script(http=http, answers=[http.ReadTimeout("silent")])
    with script.openai(holdfast=True, timeout=3.0) as client, pytest.raises(openai.APITimeoutError):
        draw(client)
    assert [each.extensions["timeout"]["read"] for each in script.requests] == [3.0]
    script = Script(http=http, answers=[http.ReadTimeout("silent")])
    with pytest.raises(http.ReadTimeout):
        script.google(holdfast=True, timeout=3000).models.generate_content(model="gemini-3-pro-image", contents="p")
    assert [each.extensions["timeout"]["read"] for each in script.requests] == [3.0]


def test_a_full_pool_and_a_distrusted_certificate_are_told_at_once(http: Any) -> None:
    """Nothing is gained by asking again."""
    import ssl

    distrust = http.ConnectError("no")
    distrust.__cause__ = ssl.SSLCertVerificationError()
    for error in (http.PoolTimeout("full"), distrust, http.UnsupportedProtocol("what")):
        script = Script(http=http, answers=[error])
        with script.client(holdfast=True) as client, pytest.raises(type(error)):
            client.post("http://there/v1/images/generations", json={})
        assert len(script.requests) == 1


def test_ctrl_c_ends_a_pause(http: Any) -> None:
    """While it waits to ask again, in the main thread, as people press it."""
    # Pressed once it has asked again, in vain: however slow the machine is, nobody is interrupted before.
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))

    def down() -> Any:
        if not timer.ident:
            timer.start()
        raise http.ConnectError("down")

    script = Script(http=http, answers=[(200, MADE, IMAGE, 5), down])
    with script.openai() as client, pytest.raises(KeyboardInterrupt):
        draw(client)
    timer.join()
    assert script.open == 0


async def test_a_cancelled_task_lets_go(http: Any) -> None:
    """In a pause: nothing is asked after it, nothing stays open."""
    script = Script(http=http, answers=[(200, MADE, IMAGE, 5), *[http.ConnectError("down")] * 99])
    async with script.async_client() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await client.post("http://there/v1/images/generations", json={})
        asked = len(script.requests)
        await asyncio.sleep(0)
    assert len(script.requests) == asked
    assert script.open == 0


def test_a_stream_that_is_closed_early_lets_go(http: Any) -> None:
    """Whoever has seen enough closes it."""
    event = b'event: image_generation.partial_image\ndata: {"type": "x"}\n\n'
    script = Script(http=http, answers=[(200, MADE | {"content-type": "text/event-stream"}, event * 3)])
    with script.client() as client, client.stream("POST", "http://there/v1/images/generations", json={}) as answer:
        assert next(answer.iter_raw())
    assert script.open == 0


def test_a_body_that_can_be_sent_only_once_is_sent_once(http: Any) -> None:
    """A generator is gone after the first try: what is told is the cut."""
    script = Script(http=http, answers=[http.ReadError("cut"), (200, MADE, IMAGE)])
    with script.client(holdfast=True) as client:

        def body() -> Iterator[bytes]:
            yield b"{}"

        request = client.build_request("POST", "http://there/v1/images/generations", content=body())
        request.stream.__iter__().__next__()
        with pytest.raises((http.ReadError, http.StreamConsumed)):
            client.send(request)


# The client itself


def test_connections_are_as_the_table_has_them(http: Any) -> None:
    """HTTP/1.1, pools, and none reused that was idle for 45 s."""
    with holdfast.httpx_client(library=http.__name__) as client:
        pool = client._transport._inner._pool
        assert (pool._max_connections, pool._max_keepalive_connections) == (10, 5)
        assert (pool._keepalive_expiry, pool._http1, pool._http2) == (IDLE_REUSE_S, True, False)
        assert client.follow_redirects


async def test_the_asynchronous_pool_is_twice_as_large(http: Any) -> None:
    """One task costs less than one thread."""
    async with holdfast.httpx_async_client(library=http.__name__) as client:
        pool = client._transport._inner.pool()._pool
        assert (pool._max_connections, pool._max_keepalive_connections) == (20, 10)


def test_one_client_serves_several_loops(http: Any) -> None:
    """`asyncio.run` twice: a connection of the first loop is not reused in the second one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models"

        def answer() -> None:
            with listener.accept()[0] as near:
                while near.recv(65_536):
                    near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        client = holdfast.httpx_async_client(library=http.__name__, trust_env=False)

        pools = []

        async def call(*, is_last: bool) -> int:
            status = (await client.get(url)).status_code
            pools.append(client._transport._inner.pool())
            if is_last:
                await client.aclose()
            else:
                # Its connections only: a test leaves no socket to the collector.
                await pools[0].aclose()
            return int(status)

        for is_last in (False, True):
            thread = threading.Thread(target=answer)
            thread.start()
            assert asyncio.run(call(is_last=is_last)) == 200
            thread.join()
    assert pools[0] is not pools[1]
    assert client._transport._inner._pools == {}


def test_sockets_have_keepalive(http: Any) -> None:
    """A peer that is gone is noticed within a minute, on every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            near, _ = listener.accept()
            with near:
                near.recv(65_536)
                near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                near.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            holdfast.httpx_client(library=http.__name__, trust_env=False) as client,
            client.stream("GET", f"http://127.0.0.1:{port}/v1/models") as answer,
        ):
            sock = answer.extensions["network_stream"].get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            answer.read()
        thread.join()


@pytest.mark.parametrize(("no_proxy", "is_asked"), [("", True), ("there.example", False)])
def test_proxies_of_the_environment_are_used(
    http: Any, monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_asked: bool
) -> None:
    """Also by a client with transports of its own; and those that are not to be used are not."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            near, _ = listener.accept()
            with near:
                lines.append(near.recv(65_536).split(b"\r\n", 1)[0])
                near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        with holdfast.httpx_client(library=http.__name__) as client:
            if is_asked:
                thread = threading.Thread(target=serve)
                thread.start()
                assert client.post("http://there.example/v1/images/generations", json={}).status_code == 200
                thread.join()
                assert lines == [b"POST http://there.example/v1/images/generations HTTP/1.1"]
            else:
                transport = client._transport_for_url(http.URL("http://there.example/"))
                assert transport is client._transport
    with holdfast.httpx_client(library=http.__name__, trust_env=False) as client:
        assert client._mounts == {}


def test_many_cuts_leave_no_connection_behind(http: Any) -> None:
    """More of them than the pool has places, each closed before the next begins."""
    accepted, over = itertools.count(1), threading.Event()
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
    answer += "".join(f"{name}: {value}\r\n" for name, value in MADE.items()).encode() + b"\r\n"
    whole = answer + b"%x\r\n%s\r\n0\r\n\r\n" % (len(IMAGE), IMAGE)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while not over.is_set():
                near, _ = listener.accept()
                with near:
                    if not near.recv(65_536):
                        continue
                    near.sendall(answer + b"5\r\nhello" if next(accepted) % 8 else whole)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/images/generations"
        with holdfast.httpx_client(library=http.__name__, trust_env=False) as client:
            client._transport._closing.wait = lambda _: False
            for _ in range(3):
                assert client.post(url, json={}).content == IMAGE
            assert len(client._transport._inner._pool.connections) <= 1
        over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()


def test_a_client_is_cheap_until_it_is_asked_for() -> None:
    """`import holdfast` loads neither library, and no client."""
    code = "import sys, holdfast; print([m for m in sys.modules if m.split('.')[0] in ('httpx', 'httpx2', 'openai')])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setattr(httpx_transport, "_family", httpx_transport._family.__wrapped__)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match="pip install httpx"):
        holdfast.httpx_client(library="httpx")


@pytest.mark.parametrize("options", [{"network": "moon"}, {"library": "requests"}, {"timeout_s": 0.0}])
def test_options_that_are_none_are_refused(options: dict[str, Any]) -> None:
    """Before anything is sent, with those there are."""
    with pytest.raises(ConfigError):
        holdfast.httpx_client(**options)


def test_a_call_ends_within_its_budget(http: Any) -> None:
    """`timeout_s` is for the whole call, whatever a gateway does meanwhile."""
    script = Script(http=http, answers=[(200, MADE, IMAGE, 5), *[http.ConnectError("down")] * 99])
    began_at = time.monotonic()
    with script.openai(timeout_s=1.5) as client, pytest.raises(openai.APIConnectionError):
        draw(client)
    # Its ninety-nine pauses would take minutes.
    assert time.monotonic() - began_at < 30.0
