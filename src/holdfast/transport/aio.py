"""HTTP/1.1 exchanges over aiohttp, for the engine.

A connection serves one exchange. Calls last 30 to 250 s, so a handshake each is nothing, and a pool would add the one
race that cannot be told from a loss: a kept connection that the upstream closes while we write (charge unknown).

Nothing is taken from the environment: no proxies, no netrc, no cookies. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import aiohttp
from yarl import URL

from holdfast import __version__
from holdfast.errors import ConfigError
from holdfast.providers.conversation import malformed
from holdfast.transport import breaks
from holdfast.transport.body import RequestBody, request_body
from holdfast.transport.breaks import Progress
from holdfast.transport.budget import ByteBudget
from holdfast.transport.exchange import Exchange, Head, HttpRequest, Sink, Timeouts, Timings
from holdfast.transport.pump import BodyTooLarge, OwnTime, Pump
from holdfast.transport.sockets import upstream_socket
from holdfast.transport.threads import SinkThreads
from holdfast.types import Failure
from holdfast.wire.scan import WireError

READ_BUFFER_BYTES = 32_768
"""aiohttp then holds about 100-200 KB of a body that nobody reads; with its 256 KB default, three times as much."""
ERROR_BODY_BYTES_MAX = 1 << 20
"""An error answer is read this far; what it says stands in its first lines."""
ERROR_BODY_S = 10.0
"""And for this long: its status is what counts, and the caller waits."""
HEAD_LINE_BYTES_MAX = 16_384
HEADERS_MAX = 200


class AioTransport:
    """Performs exchanges. Make it inside a running loop, and close it there."""

    def __init__(
        self, *, bodies_bytes_in_flight_max: int = 32 << 20, response_bytes_max: int = 512 << 20, sink_threads: int = 3
    ) -> None:
        """Open nothing yet.

        Args:
            bodies_bytes_in_flight_max: Memory for bodies being read, over all exchanges (`store.…` of the settings).
            response_bytes_max: The longest body taken, as decoded.
            sink_threads: Threads that decode, hash and write bodies.
        """
        self._loop = asyncio.get_running_loop()
        self._budget = ByteBudget(bodies_bytes_in_flight_max)
        self._response_bytes_max = response_bytes_max
        self._threads = SinkThreads(sink_threads)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="holdfast-input")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._open = 0
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=upstream_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=HEAD_LINE_BYTES_MAX,
            max_field_size=HEAD_LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            # Images do not shrink; a body that comes compressed unasked is decoded all the same, under the same bound.
            headers={"User-Agent": f"holdfast/{__version__}", "Accept-Encoding": "identity"},
        )

    def __repr__(self) -> str:
        return f"<AioTransport {self._open} exchanges open, {self._budget!r}>"

    async def close(self) -> None:
        """Close what is open. Exchanges still running end as lost; the engine waits for them first."""
        await self._session.close()
        self._threads.close()
        self._readers.shutdown(wait=False)

    async def exchange(
        self,
        request: HttpRequest,
        *,
        inputs: Sequence[Path] = (),
        timeouts: Timeouts,
        on_head: Callable[[Head], Sink],
        ca_file: str = "",
    ) -> Exchange | Failure:
        """Send a request and hand the body of the answer to a sink.

        Args:
            request: What to send.
            inputs: Files that the slots of its body stand for, by index.
            timeouts: Seconds for each phase.
            on_head: Called on the loop once the final head is there; gives the sink for the body.
            ca_file: PEM file of the authorities to trust instead of the system's.

        Returns:
            An `Exchange` when the sink has the whole body; a `Failure` when it broke, after closing the sink.

        Raises:
            ConfigError: `ca_file` cannot be used.
            OSError: An input file cannot be read.
            Exception: Whatever the sink raised, `WireError` excepted.
        """
        context = await self._ssl_context(ca_file) if request.url.startswith("https:") else None
        body = None
        if request.body or request.method not in ("GET", "HEAD"):
            body = await request_body(request.body, inputs=inputs, write_s=timeouts.write_s, readers=self._readers)
        call = _Call(host=URL(request.url).host or "", body=body, began_at=self._loop.time())
        self._open += 1
        try:
            async with asyncio.timeout_at(call.began_at + timeouts.total_s) as scope:
                response = await self._send(request, call, timeouts=timeouts, context=context)
                if isinstance(response, Failure):
                    return response
                return await self._receive(response, call, timeouts=timeouts, scope=scope, on_head=on_head)
        except TimeoutError:
            if not scope.expired():
                raise
            return breaks.total_passed(call.progress, timeouts.total_s)
        finally:
            self._open -= 1

    async def _send(
        self, request: HttpRequest, call: _Call, *, timeouts: Timeouts, context: ssl.SSLContext | None
    ) -> aiohttp.ClientResponse | Failure:
        try:
            return await self._session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=call.body,
                allow_redirects=False,
                timeout=_client_timeout(timeouts.connect_s, timeouts.read_idle_s),
                ssl=True if context is None else context,
            )
        except (aiohttp.ClientError, OSError) as error:
            if call.body is not None and call.body.local_error is not None:
                raise call.body.local_error from error
            return breaks.before_head(error, call.progress)

    async def _receive(
        self,
        response: aiohttp.ClientResponse,
        call: _Call,
        *,
        timeouts: Timeouts,
        scope: asyncio.Timeout,
        on_head: Callable[[Head], Sink],
    ) -> Exchange | Failure:
        """Read the body of an answer whose head is there."""
        sink: Sink | None = None
        outcome: Exchange | Failure | None = None
        try:
            head = call.answered(response, self._loop.time())
            bytes_max = self._response_bytes_max if head.is_success else ERROR_BODY_BYTES_MAX
            if response.status < 200 or 300 <= response.status < 400:
                return breaks.redirected(call.progress)
            if head.is_success and (response.content_length or 0) > bytes_max:
                return breaks.too_large(call.progress, bytes_max)
            sink = on_head(head)
            due_at = scope.when()
            # An answer that begins just before its deadline is taken in. An error has a clock of its own, below.
            scope.reschedule(max(due_at or 0.0, call.head_at + timeouts.body_s) if head.is_success else None)
            outcome = await self._pumped(response, sink, call, scope=scope, bytes_max=bytes_max)
            return outcome
        finally:
            response.close()
            if sink is not None and not isinstance(outcome, Exchange):
                await self._threads.run(sink.close)

    async def _pumped(
        self, response: aiohttp.ClientResponse, sink: Sink, call: _Call, *, scope: asyncio.Timeout, bytes_max: int
    ) -> Exchange | Failure:
        assert call.head is not None
        is_success = call.head.is_success
        try:
            async with asyncio.timeout(None if is_success else ERROR_BODY_S) as error_scope:
                own = OwnTime(self._loop, scope if is_success else error_scope)
                call.pump = Pump(
                    response, sink, budget=self._budget, threads=self._threads, own=own, bytes_max=bytes_max
                )
                await call.pump.run()
        except BodyTooLarge:
            if is_success:
                return breaks.too_large(call.progress, bytes_max)
        except WireError as error:
            return malformed(error, status=call.head.status)
        except aiohttp.ClientError as error:
            failure = breaks.after_head(error, call.progress)
            return failure if is_success else call.exchange(cut=failure)
        except TimeoutError:
            if not error_scope.expired():
                raise
            return call.exchange(cut=breaks.total_passed(call.progress, ERROR_BODY_S))
        return call.exchange()

    async def _ssl_context(self, ca_file: str) -> ssl.SSLContext:
        context = self._contexts.get(ca_file)
        if context is None:
            # Reads and parses a few hundred certificates: 10-20 ms that the loop need not lose.
            context = await self._loop.run_in_executor(self._readers, _new_context, ca_file)
            self._contexts[ca_file] = context
        return context


class _Call:
    """One exchange as it goes on: what a failure needs to know about how far it came."""

    __slots__ = ("began_at", "body", "head", "head_at", "host", "is_announced", "pump")

    def __init__(self, *, host: str, body: RequestBody | None, began_at: float) -> None:
        self.host = host
        self.body = body
        self.began_at = began_at
        self.head: Head | None = None
        self.head_at = 0.0
        self.is_announced = False
        self.pump: Pump | None = None

    def answered(self, response: aiohttp.ClientResponse, at: float) -> Head:
        """Note the final head."""
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in response.headers.items():
            key = name.lower()
            headers[key] = (*headers.get(key, ()), value)
        self.head = Head(status=response.status, headers=MappingProxyType(headers))
        self.head_at = at
        self.is_announced = bool(response.content_length)
        return self.head

    @property
    def progress(self) -> Progress:
        """What `breaks` needs to know."""
        has_begun = self.is_announced or (self.pump is not None and self.pump.first_byte_at is not None)
        return Progress(host=self.host, body=self.body, head=self.head, has_begun=has_begun)

    def exchange(self, *, cut: Failure | None = None) -> Exchange:
        """Sum up an answer that was read."""
        assert self.head is not None
        assert self.pump is not None
        return Exchange(head=self.head, timings=self._timings(self.pump), cut=cut)

    def _timings(self, pump: Pump) -> Timings:
        def since_start(at: float | None) -> float | None:
            return None if at is None else at - self.began_at

        body = self.body
        return Timings(
            connected_s=since_start(body.began_at if body is not None else None) or 0.0,
            sent_s=since_start(body.ended_at if body is not None else None),
            head_s=self.head_at - self.began_at,
            first_byte_s=since_start(pump.first_byte_at),
            body_s=pump.ended_at - self.began_at,
            admission_s=pump.own_s,
            body_bytes=pump.body_bytes,
        )


@lru_cache(maxsize=64)
def _client_timeout(connect_s: float, read_idle_s: float) -> aiohttp.ClientTimeout:
    # Shared, not one object per held request; there are as many as there are sizes and networks.
    return aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s, sock_read=read_idle_s)


def _new_context(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise ConfigError(
            f"upstreams.ca_file: {ca_file!r} cannot be used: give a PEM file with the authority's certificate",
            key="upstreams.ca_file",
        ) from error
    # Nothing else is spoken: one packet lost on HTTP/2 stalls every stream of the connection.
    context.set_alpn_protocols(["http/1.1"])
    return context
