"""Transports that pick up a call for an image after a cut: around httpx's own, one for threads and one for tasks.

What is not a call for an image, and every server but holdfast, is passed through untouched. `mending` says what to do
next and `pickup` decides; what is here does it.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from holdfast.client.defaults import CallTimeouts
from holdfast.client.mending import (
    Call,
    Close,
    Failed,
    Find,
    Give,
    Head,
    Pass,
    Pause,
    Read,
    Report,
    Send,
    converse,
)
from holdfast.client.pickup import (
    Concern,
    Patience,
    Phase,
    PickUp,
    Repeats,
    Server,
    Try,
    concern_of,
    found_out,
)
from holdfast.clock import SystemClock

if TYPE_CHECKING:
    import httpx2

FIND_TIMEOUT_S = 10.0
"""For the question who that is: it is answered from a store, or by a proxy at once."""
FIND_BYTES = 4096
ORIGINS_MAX = 64
TOKEN = "holdfast.token"
"""Extension of a request: an object that all tries of one call have in common."""
_CREDENTIALS = ("authorization", "x-goog-api-key", "user-agent")
_KEPT_EXTENSIONS = ("http_version", "reason_phrase")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a client's calls are made; what both transports share."""

    http: Any
    """The module: httpx2, or httpx."""
    timeouts: CallTimeouts
    holdfast: bool | None
    """Whether the server is holdfast; None: it is found out."""
    clock: SystemClock = field(default_factory=SystemClock)
    repeats: Repeats = field(default_factory=Repeats)
    known: dict[str, Server] = field(default_factory=dict)
    """Who answered at which address, oldest first."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def timeout(self) -> Any:
        """The timeouts of each exchange, as httpx has them."""
        times = self.timeouts
        return self.http.Timeout(
            connect=times.connect_s, read=times.read_idle_s, write=times.write_s, pool=times.pool_s
        )

    def concern(self, request: httpx2.Request) -> Concern | None:
        """Say whether a request is picked up."""
        return concern_of(request.method, request.url.path, self._body_of(request))

    def _body_of(self, request: httpx2.Request) -> bytes | None:
        """Give a body that is in memory anyway; None for a form, which reading would copy, files and all."""
        try:
            return request.content
        except self.http.RequestNotRead:
            return None

    def _digest(self, request: httpx2.Request) -> bytes:
        return hashlib.blake2b(self._body_of(request) or b"", digest_size=16).digest()

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What an exchange raises that fails, or a body that can be sent only once."""
        return self.http.TransportError, self.http.StreamConsumed

    def begin(self, request: httpx2.Request, concern: Concern, strand: object) -> tuple[Call, Try | None]:
        """Name a request, and begin to follow it."""
        this = None if concern.is_collecting else self._named(request, strand)
        server = self._server(request, concern)
        own_s = request.extensions["timeout"].get("read") if self.is_own(request) else None
        patience = Patience(total_s=self.timeouts.total_s).within(own_s)
        # Without a key it is somebody's repeat, and whose is not known: the gateway joins it to what it repeats, once.
        is_nameless = this is not None and "idempotency-key" not in request.headers
        is_denied = self.holdfast is False or is_nameless
        if is_denied:
            server = Server.OTHER
        pickup = PickUp(server=server, patience=patience, now=self.clock.monotonic())
        return Call(
            pickup=pickup,
            now=self.clock.monotonic,
            jitter=self.clock.random,
            broken_off=lambda text: self.http.RemoteProtocolError(text, request=request),
            stream_consumed=self.http.StreamConsumed,
            is_denied=is_denied,
        ), this

    def is_own(self, request: httpx2.Request) -> bool:
        """Whether its timeouts are the caller's, and not ours."""
        return bool(request.extensions.get("timeout", {}) != self.timeout.as_dict())

    def _server(self, request: httpx2.Request, concern: Concern) -> Server:
        if self.holdfast is not None:
            return Server.HOLDFAST if self.holdfast else Server.OTHER
        if concern.is_collecting:
            return Server.HOLDFAST
        with self.lock:
            return self.known.get(_place(request, concern), Server.UNKNOWN)

    def _named(self, request: httpx2.Request, strand: object) -> Try | None:
        """Give it its call's key; None: it has one of its caller's."""
        headers = request.headers
        if "idempotency-key" in headers:
            return None
        count = headers.get("x-stainless-retry-count", "")
        length = headers.get("content-length")
        # Never handed on: it is a mapping with the caller's credential in it.
        token = request.extensions.pop(TOKEN, None)
        this = Try(
            # A form is written anew for each try, with another border of the same length.
            target=(str(request.url), length if token is None else self._digest(request)),
            strand=strand,
            retry_count=int(count) if count.isascii() and count.isdigit() and len(count) <= 6 else None,
            token=token,
        )
        with self.lock:
            key = self.repeats.key_for(this, self.clock.new_id("call"))
        if key is not None:
            headers["Idempotency-Key"] = key
        return this

    def ended(self, request: httpx2.Request, concern: Concern, call: Call, this: Try | None, *, is_whole: bool) -> None:
        """Note how a request ended, and who it was that answered."""
        with self.lock:
            if this is not None:
                (self.repeats.succeeded if is_whole else self.repeats.failed)(this)
            if call.pickup.server is not Server.UNKNOWN and not call.is_denied and not concern.is_collecting:
                self.known[_place(request, concern)] = call.pickup.server
                if len(self.known) > ORIGINS_MAX:
                    del self.known[next(iter(self.known))]

    def failed(self, request: httpx2.Request, error: Exception, phase: Phase) -> Failed:
        """Say what a failed exchange means."""
        http = self.http
        if phase is Phase.SENT and isinstance(error, http.ConnectError | http.ConnectTimeout | http.ProxyError):
            phase = Phase.UNSENT
        is_final = (
            isinstance(
                error, http.PoolTimeout | http.UnsupportedProtocol | http.LocalProtocolError | http.StreamConsumed
            )
            or (isinstance(error, http.TimeoutException) and self.is_own(request))
            or _is_distrust(error)
        )
        return Failed(error, phase, is_final)

    def question(self, request: httpx2.Request, concern: Concern) -> httpx2.Request:
        """Make the request that finds out who is asked: free everywhere, and answered by holdfast alone."""
        assert concern.find_path is not None
        query = {"idempotency_key": request.headers["idempotency-key"], "limit": "1"}
        if "key" in request.url.params:
            query["key"] = request.url.params["key"]
        url = request.url.copy_with(raw_path=f"{concern.find_path}?{urlencode(query)}".encode("ascii"))
        named = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
        timeout = self.http.Timeout(FIND_TIMEOUT_S).as_dict()
        question: httpx2.Request = self.http.Request("GET", url, headers=named, extensions={"timeout": timeout})
        return question

    def response(self, head: Head, stream: Any) -> httpx2.Response:
        """Make the answer that is handed on."""
        response: httpx2.Response = self.http.Response(
            head.status, headers=head.headers, stream=stream, extensions=dict(head.extensions)
        )
        return response

    def closed(self, request: httpx2.Request) -> Exception:
        """Make the exception of a call whose client was closed meanwhile."""
        error: Exception = self.http.ReadError("the client was closed while the call went on", request=request)
        return error


def _place(request: httpx2.Request, concern: Concern) -> str:
    """Name a server. One host may lead to several, by what stands before `/v1`."""
    url = request.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}{concern.find_path}"


def _is_distrust(error: BaseException) -> bool:
    """Whether a certificate was not believed: it will not be next time."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _head_of(response: httpx2.Response) -> Head:
    kept = {name: response.extensions[name] for name in _KEPT_EXTENSIONS if name in response.extensions}
    return Head(status=response.status_code, headers=response.headers, extensions=kept)


class SyncTransport:
    """A transport around another one, for threads."""

    def __init__(self, settings: Settings, inner: Any, stream_of: Callable[[Iterator[bytes]], Any]) -> None:
        """Wrap a transport, which is closed with this one.

        Args:
            settings: How calls are made.
            inner: What makes each exchange.
            stream_of: Makes a body of the library's own kind.
        """
        self._settings = settings
        self._inner = inner
        self._stream_of = stream_of
        self._closing = threading.Event()

    def __enter__(self) -> SyncTransport:
        self._inner.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._closing.set()
        self._inner.__exit__(*exc)

    def close(self) -> None:
        """Close the pool; whoever waits to ask again asks no more."""
        self._closing.set()
        self._inner.close()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request: with a whole answer, where it is for an image and holdfast is asked.

        Raises:
            Exception: What httpx raises for the last exchange that failed.
        """
        concern = self._settings.concern(request)
        if concern is None:
            response: httpx2.Response = self._inner.handle_request(request)
            return response
        drive = self._drive(request, concern)
        first = next(drive)
        if isinstance(first, Head):
            return self._settings.response(first, self._stream_of(drive))
        drive.close()
        passed: httpx2.Response = first
        return passed

    def _drive(self, request: httpx2.Request, concern: Concern) -> Generator[Any, None, None]:
        """Give the answer that is passed on; or a head, then the pieces of a body."""
        settings = self._settings
        call, this = settings.begin(request, concern, threading.get_ident())
        talk, report, is_whole = converse(call), None, False
        response: Any = None
        try:
            while True:
                try:
                    command = talk.send(report)
                except StopIteration as end:
                    is_whole = end.value
                    return
                report = None
                match command:
                    case bytes():
                        yield command
                    case Give(head):
                        yield head
                    case Send():
                        response, report = self._send(request)
                        chunks = iter(response.stream) if response is not None else iter(())
                    case Read():
                        report = self._read(request, chunks)
                    case Close():
                        response.close()
                    case Find():
                        report = self._find(request, concern)
                    case Pause(seconds):
                        self._closing.wait(seconds)
                    case Pass():
                        passed, response = response, None
                        yield passed
        finally:
            talk.close()
            if response is not None:
                response.close()
            settings.ended(request, concern, call, this, is_whole=is_whole)

    def _send(self, request: httpx2.Request) -> tuple[Any, Report]:
        if self._closing.is_set():
            raise self._settings.closed(request)
        try:
            response = self._inner.handle_request(request)
        except self._settings.errors as exc:
            return None, self._settings.failed(request, exc, Phase.SENT)
        return response, _head_of(response)

    def _read(self, request: httpx2.Request, chunks: Iterator[bytes]) -> Report:
        try:
            return next(chunks, None)
        except self._settings.errors as exc:
            return self._settings.failed(request, exc, Phase.INSIDE)

    def _find(self, request: httpx2.Request, concern: Concern) -> Server:
        if self._closing.is_set():
            raise self._settings.closed(request)
        try:
            response = self._inner.handle_request(self._settings.question(request, concern))
            try:
                body = b""
                for chunk in response.stream:
                    body += chunk
                    if len(body) >= FIND_BYTES:
                        break
            finally:
                response.close()
        except self._settings.errors:
            return Server.UNKNOWN
        return found_out(response.status_code, response.headers, body)


class AsyncTransport:
    """The same for tasks."""

    def __init__(self, settings: Settings, inner: Any, stream_of: Callable[[AsyncGenerator[bytes, None]], Any]) -> None:
        """Wrap a transport, which is closed with this one; see `SyncTransport`."""
        self._settings = settings
        self._inner = inner
        self._stream_of = stream_of
        self._is_closing = False

    async def __aenter__(self) -> AsyncTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._is_closing = True
        await self._inner.__aexit__(*exc)

    async def aclose(self) -> None:
        """Close the pool; whoever waits to ask again asks no more."""
        self._is_closing = True
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request; see `SyncTransport.handle_request`."""
        concern = self._settings.concern(request)
        if concern is None:
            response: httpx2.Response = await self._inner.handle_async_request(request)
            return response
        drive = self._drive(request, concern)
        first = await anext(drive)
        if isinstance(first, Head):
            return self._settings.response(first, self._stream_of(drive))
        await drive.aclose()
        passed: httpx2.Response = first
        return passed

    async def _drive(self, request: httpx2.Request, concern: Concern) -> AsyncGenerator[Any, None]:
        import anyio

        settings = self._settings
        call, this = settings.begin(request, concern, _task())
        talk, report, is_whole = converse(call), None, False
        response: Any = None
        try:
            while True:
                try:
                    command = talk.send(report)
                except StopIteration as end:
                    is_whole = end.value
                    return
                report = None
                match command:
                    case bytes():
                        yield command
                    case Give(head):
                        yield head
                    case Send():
                        response, report = await self._send(request)
                        chunks = aiter(response.stream) if response is not None else None
                    case Read():
                        report = await self._read(request, chunks)
                    case Close():
                        await response.aclose()
                    case Find():
                        report = await self._find(request, concern)
                    case Pause(seconds):
                        await anyio.sleep(seconds)
                    case Pass():
                        passed, response = response, None
                        yield passed
        finally:
            talk.close()
            settings.ended(request, concern, call, this, is_whole=is_whole)
            if response is not None:
                await response.aclose()

    async def _send(self, request: httpx2.Request) -> tuple[Any, Report]:
        if self._is_closing:
            raise self._settings.closed(request)
        try:
            response = await self._inner.handle_async_request(request)
        except self._settings.errors as exc:
            return None, self._settings.failed(request, exc, Phase.SENT)
        return response, _head_of(response)

    async def _read(self, request: httpx2.Request, chunks: Any) -> Report:
        try:
            chunk: bytes | None = await anext(chunks, None)
        except self._settings.errors as exc:
            return self._settings.failed(request, exc, Phase.INSIDE)
        return chunk

    async def _find(self, request: httpx2.Request, concern: Concern) -> Server:
        if self._is_closing:
            raise self._settings.closed(request)
        try:
            response = await self._inner.handle_async_request(self._settings.question(request, concern))
            try:
                body = b""
                async for chunk in response.stream:
                    body += chunk
                    if len(body) >= FIND_BYTES:
                        break
            finally:
                await response.aclose()
        except self._settings.errors:
            return Server.UNKNOWN
        return found_out(response.status_code, response.headers, body)


class PerLoop:
    """A pool for each event loop: a connection belongs to the loop that opened it.

    Programs call `asyncio.run` more than once with one client, and google-genai's own client bears it. What a loop that
    was closed has left open is dropped with it: nobody can close it any more in an orderly way.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._pools: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def pool(self) -> Any:
        """Give the running loop's."""
        loop = _loop()
        with self._lock:
            for other in [each for each in self._pools if each is not None and each.is_closed()]:
                del self._pools[other]
            if loop not in self._pools:
                self._pools[loop] = self._make()
            return self._pools[loop]

    async def __aenter__(self) -> PerLoop:
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the running loop's pool, and let another loop that runs close its own."""
        import asyncio

        with self._lock:
            pools, self._pools = self._pools, {}
        here = _loop()
        for loop, pool in pools.items():
            if loop is here:
                await pool.aclose()
            elif isinstance(loop, asyncio.AbstractEventLoop) and loop.is_running():
                asyncio.run_coroutine_threadsafe(pool.aclose(), loop)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request through it."""
        response: httpx2.Response = await self.pool().handle_async_request(request)
        return response


def _loop() -> Any:
    """Give the running loop; None where it is not asyncio's."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _task() -> object:
    """Name the thread and the task; None where it is not asyncio's: then nobody's repeat is recognised."""
    import asyncio

    try:
        return threading.get_ident(), id(asyncio.current_task())
    except RuntimeError:
        return None
