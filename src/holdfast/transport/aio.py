"""HTTP/1.1 exchanges on asyncio, for the engine.

A connection serves one exchange. Calls last 30 to 250 s, so a handshake each is nothing, and a pool would add the one
race that cannot be told from a loss: a kept connection that the upstream closes while we write (charge unknown).

Nothing is taken from the environment: no proxies, no netrc, no cookies. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from holdfast import faults
from holdfast.errors import ConfigError
from holdfast.policy.addresses import AddressRules, Refused, destination_of
from holdfast.providers.conversation import malformed
from holdfast.threads import Threads
from holdfast.transport import breaks
from holdfast.transport.body import RequestBody, request_body, request_head
from holdfast.transport.breaks import Progress
from holdfast.transport.budget import ByteBudget
from holdfast.transport.buffers import BufferPool
from holdfast.transport.connect import NotConnected, connect
from holdfast.transport.connection import Broken, Connection
from holdfast.transport.exchange import Exchange, Head, HttpRequest, NotSent, Sink, Timeouts, Timings
from holdfast.transport.guarded import GuardedNames
from holdfast.transport.inflate import Inflating
from holdfast.transport.names import Names
from holdfast.transport.pump import BodyTooLarge, OwnTime, Pump
from holdfast.transport.reply import Framing, Garbage
from holdfast.transport.sockets import narrow
from holdfast.types import Failure, Phase
from holdfast.wire.scan import WireError

ERROR_BODY_BYTES_MAX = 1 << 20
"""An error answer is read this far; what it says stands in its first lines."""
ERROR_BODY_S = 10.0
"""And for this long: its status is what counts, and the caller waits."""
LATE_S = 0.25
"""A timer that comes later than this says that the process stood still (a stop signal, a frozen machine, a blocked
loop): timers are looked at before sockets then, and an answer that was in time would be told as lost."""
GRACE_S = 0.5
"""What such an exchange is given to read what lies with the kernel, once."""
CROWD = 1000
"""With more exchanges open than this, sockets are made for a crowd. Unread answers would weigh 88 KB each: with 9,800
that is more than many kernels allow for TCP (`tcp_mem`), and beyond it they drop what comes."""
_PORTS = {"http": 80, "https": 443}


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
        self._pool = BufferPool()
        self._names = Names()
        self._response_bytes_max = response_bytes_max
        self._threads = Threads(sink_threads, "sink")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="holdfast-input")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._open = 0

    def __repr__(self) -> str:
        return f"<AioTransport {self._open} exchanges open, {self._budget!r}>"

    @property
    def bytes_held(self) -> int:
        """Bytes of bodies in memory now."""
        return self._budget.bytes_used

    @property
    def bytes_held_max(self) -> int:
        """Most of them."""
        return self._budget.bytes_max

    async def close(self) -> None:
        """Let the threads go. The engine waits for exchanges that are still running first."""
        self._names.close()
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
        names: Names | None = None,
    ) -> Exchange | Failure:
        """Send a request and hand the body of the answer to a sink.

        Args:
            request: What to send.
            inputs: Files that the slots of its body stand for, by index.
            timeouts: Seconds for each phase.
            on_head: Called on the loop once the final head is there; gives the sink for the body.
            ca_file: PEM file of the authorities to trust instead of the system's.
            names: Gives the addresses of the host; the system's resolver by default.

        Returns:
            An `Exchange` when the sink has the whole body; a `Failure` when it broke, after closing the sink.

        Raises:
            NotSent: Not one byte has left: `ca_file` cannot be used, an input file is missing, no head can be written.
            OSError: An input file cannot be read.
            Exception: Whatever the sink raised, `WireError` excepted.
        """
        try:
            is_https = urlsplit(request.url).scheme == "https"
            context = await self._ssl_context(ca_file) if is_https else None
            body = None
            if request.body or request.method not in ("GET", "HEAD"):
                body = await request_body(request.body, inputs=inputs, readers=self._readers)
            call = _Call(request.url, head=request_head(request, body=body), body=body, began_at=self._loop.time())
        except Exception as exc:
            raise NotSent(exc) from exc
        # Held for minutes from here on: without what was sent.
        del request, body, inputs
        self._open += 1
        try:
            async with asyncio.timeout_at(call.began_at + timeouts.total_s) as scope:
                failure = await self._answered(
                    call, timeouts=timeouts, scope=scope, context=context, names=names or self._names
                )
                if failure is not None:
                    return failure
                return await self._receive(call, timeouts=timeouts, scope=scope, on_head=on_head)
        except Exception as exc:
            if isinstance(exc, TimeoutError) and scope.expired():
                return breaks.total_passed(call.progress, timeouts.total_s)
            if call.is_unsent:
                raise NotSent(exc) from exc
            raise
        finally:
            self._open -= 1
            call.close()

    async def fetch(
        self, url: str, *, rules: AddressRules, timeouts: Timeouts, on_head: Callable[[Head], Sink], ca_file: str = ""
    ) -> Exchange | Failure:
        """Get a file from where an answer said that it lies; no credential goes along, and no redirect is followed.

        Args:
            url: As the answer has it.
            rules: Where it may lead. Every address of its host is looked at, and one of those is connected to.
            timeouts: Seconds for each phase.
            on_head: As for `exchange`.
            ca_file: As for `exchange`.

        Returns:
            As `exchange` does; nothing was sent to an address that is not allowed.

        Raises:
            NotSent: As `exchange` does.
            Exception: Whatever the sink raised, `WireError` excepted.
        """
        destination = destination_of(url, rules)
        if isinstance(destination, Refused):
            # Settings that the reason names are those of webhooks.
            return breaks.unreachable(Phase.CONNECT, f"the link {destination.reason.partition(' (')[0]}")
        request = HttpRequest(method="GET", url=url, headers=(), body=())
        names = GuardedNames(rules, self._names.addresses)
        return await self.exchange(request, timeouts=timeouts, on_head=on_head, ca_file=ca_file, names=names)

    async def _answered(
        self,
        call: _Call,
        *,
        timeouts: Timeouts,
        scope: asyncio.Timeout,
        context: ssl.SSLContext | None,
        names: Names,
    ) -> Failure | None:
        """Connect, send, and wait for the head of the answer; None when it is there."""
        await faults.point("send.before_connecting")
        try:
            connection = call.connection = await connect(
                self._pool,
                names,
                host=call.host,
                port=call.port,
                context=context,
                connect_s=timeouts.connect_s,
                in_crowd=self._open > CROWD,
            )
        except NotConnected as exc:
            return breaks.unreachable(Phase.CONNECT, str(exc))
        if connection.is_closing or connection.is_over:
            return breaks.unreachable(Phase.SEND, "the connection closed before the request was written")
        assert connection.transport is not None
        narrow(connection.transport)
        await faults.point("send.after_connecting")
        try:
            async with asyncio.timeout(timeouts.write_s) as write_scope:
                await call.send()
        except TimeoutError:
            if not write_scope.expired():
                raise
            return breaks.lost_reply(call.progress, "the request was not taken in time (write_s)")
        await faults.point("send.after_request")
        call.watch(timeouts.read_idle_s, scope)
        while not connection.has_answered:
            await connection.something()
        parser = connection.parser
        if parser is not None and parser.head is not None:
            call.answered(self._loop.time())
            return None
        assert connection.error is not None, "an exchange that is over without a head has broken"
        return breaks.before_head(connection.error, call.progress)

    async def _receive(
        self, call: _Call, *, timeouts: Timeouts, scope: asyncio.Timeout, on_head: Callable[[Head], Sink]
    ) -> Exchange | Failure:
        """Read the body of an answer whose head is there."""
        sink: Sink | None = None
        outcome: Exchange | Failure | None = None
        try:
            head = call.head
            assert head is not None
            bytes_max = self._response_bytes_max if head.is_success else ERROR_BODY_BYTES_MAX
            if head.status < 200 or 300 <= head.status < 400:
                return breaks.redirected(call.progress)
            if head.is_success and call.announced_bytes > bytes_max:
                return breaks.too_large(call.progress, bytes_max)
            sink = on_head(head)
            due_at = scope.when()
            # An answer that begins just before its deadline is taken in. An error has a clock of its own, below.
            scope.reschedule(max(due_at or 0.0, call.head_at + timeouts.body_s) if head.is_success else None)
            outcome = await self._pumped(sink, call, head, scope=scope, bytes_max=bytes_max)
            return outcome
        finally:
            call.close()
            if sink is not None and not isinstance(outcome, Exchange):
                await self._threads.run(sink.close)

    async def _pumped(
        self, sink: Sink, call: _Call, head: Head, *, scope: asyncio.Timeout, bytes_max: int
    ) -> Exchange | Failure:
        is_success = head.is_success
        try:
            async with asyncio.timeout(None if is_success else ERROR_BODY_S) as error_scope:
                await self._run_pump(sink, call, head, scope if is_success else error_scope, bytes_max)
        except BodyTooLarge:
            if is_success:
                return breaks.too_large(call.progress, bytes_max)
        except WireError as error:
            return malformed(error, status=head.status)
        except (Broken, Garbage) as error:
            failure = breaks.after_head(error, call.progress)
            return failure if is_success else call.exchange(cut=failure)
        except TimeoutError:
            if not error_scope.expired():
                raise
            return call.exchange(cut=breaks.total_passed(call.progress, ERROR_BODY_S))
        return call.exchange()

    async def _run_pump(self, sink: Sink, call: _Call, head: Head, scope: asyncio.Timeout, bytes_max: int) -> None:
        assert call.connection is not None
        coding = (head.header("content-encoding") or "").strip().lower()
        if coding not in ("", "identity"):
            sink = call.inflating = Inflating(sink, coding, bytes_max=bytes_max)
        call.pump = Pump(
            call.connection,
            sink,
            budget=self._budget,
            pool=self._pool,
            threads=self._threads,
            own=OwnTime(self._loop, scope),
            bytes_max=bytes_max,
            is_stream=(head.header("content-type") or "").lower().startswith("text/event-stream"),
            skips_blanks=call.inflating is None,
        )
        await call.pump.run()

    async def _ssl_context(self, ca_file: str) -> ssl.SSLContext:
        context = self._contexts.get(ca_file)
        if context is None:
            # Reads and parses a few hundred certificates: 10-20 ms that the loop need not lose.
            context = await self._loop.run_in_executor(self._readers, _new_context, ca_file)
            self._contexts[ca_file] = context
        return context


class _Call:
    """One exchange as it goes on: what a failure needs to know about how far it came."""

    __slots__ = (
        "_due_at",
        "_idle_s",
        "_is_grace",
        "_loop",
        "_scope",
        "_timer",
        "_total_at",
        "_unsent",
        "began_at",
        "body",
        "connection",
        "head",
        "head_at",
        "host",
        "inflating",
        "port",
        "pump",
    )

    def __init__(self, url: str, *, head: bytes, body: RequestBody | None, began_at: float) -> None:
        parts = urlsplit(url)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._idle_s = 0.0
        self._due_at = 0.0
        self._is_grace = False
        self._scope: asyncio.Timeout | None = None
        self._total_at: float | None = None
        self._unsent = head
        self.host = parts.hostname or ""
        self.port = parts.port or _PORTS[parts.scheme]
        self.body = body
        self.began_at = began_at
        self.connection: Connection | None = None
        self.head: Head | None = None
        self.head_at = 0.0
        self.pump: Pump | None = None
        self.inflating: Inflating | None = None

    async def send(self) -> None:
        """Write the request, as far as the upstream lets us."""
        assert self.connection is not None
        head, self._unsent = self._unsent, b""
        if self.body is None:
            self.connection.write(head)
        else:
            await self.body.write(self.connection, head)
        await self.connection.drain()

    def watch(self, idle_s: float, scope: asyncio.Timeout) -> None:
        """From now on, silence for so long ends the exchange; time in which we do not read does not count.

        So does the time of `scope`, which is kept here until the head has come: a timer of ours knows when it is late.
        """
        assert self.connection is not None
        self._idle_s = idle_s
        self.connection.read_at = self._loop.time()
        if not scope.expired():
            self._scope, self._total_at = scope, scope.when()
            scope.reschedule(None)
        self._arm(self.connection.read_at + idle_s)

    def _arm(self, due_at: float) -> None:
        self._is_grace = False
        self._due_at = due_at if self._scope is None or self._total_at is None else min(due_at, self._total_at)
        self._timer = self._loop.call_at(self._due_at, self._on_due)

    def _on_due(self) -> None:
        connection = self.connection
        assert connection is not None
        now = self._loop.time()
        if connection.is_over:
            return
        if now - self._due_at > LATE_S and not self._is_grace:
            # What came meanwhile lies with the kernel, and was in time.
            self._is_grace = True
            self._timer = self._loop.call_later(GRACE_S, self._on_due)
            return
        if self._scope is not None and self._total_at is not None and now >= self._total_at:
            if not self._scope.expired():
                self._scope.reschedule(now)
            return
        silent_s = 0.0 if connection.is_paused else now - connection.read_at
        if silent_s >= self._idle_s:
            connection.fail(Broken("silent for too long (read_idle_s)"))
            return
        self._arm(now + self._idle_s - silent_s)

    @property
    def is_unsent(self) -> bool:
        """Whether it is certain that nothing has been handed to the socket."""
        return bool(self._unsent) if self.body is None else self.body.began_at is None

    def close(self) -> None:
        """Hang up."""
        if self._timer is not None:
            self._timer.cancel()
        if self.connection is not None:
            self.connection.abort()

    def answered(self, at: float) -> None:
        """Note the final head."""
        assert self.connection is not None
        assert self.connection.parser is not None
        self.head = self.connection.parser.head
        self.head_at = at
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(self._total_at)
        self._scope = None

    @property
    def announced_bytes(self) -> int:
        """The length that the answer gave; 0 if it gave none."""
        parser = self.connection.parser if self.connection is not None else None
        return parser.content_length if parser is not None and parser.framing is Framing.LENGTH else 0

    @property
    def progress(self) -> Progress:
        """What `breaks` needs to know."""
        has_begun = self.announced_bytes > 0 or (self.pump is not None and self.pump.first_byte_at is not None)
        return Progress(body=self.body, head=self.head, has_begun=has_begun)

    def exchange(self, *, cut: Failure | None = None) -> Exchange:
        """Sum up an answer that was read."""
        assert self.head is not None
        return Exchange(head=self.head, timings=self._timings(), cut=cut)

    def _timings(self) -> Timings:
        def since_start(at: float | None) -> float | None:
            return None if at is None else at - self.began_at

        body, pump = self.body, self.pump
        body_bytes = pump.body_bytes if pump is not None else 0
        return Timings(
            connected_s=since_start(body.began_at if body is not None else None) or 0.0,
            sent_s=since_start(body.ended_at if body is not None else None),
            head_s=self.head_at - self.began_at,
            first_byte_s=since_start(pump.first_byte_at if pump is not None else None),
            body_s=(pump.ended_at if pump is not None else self.head_at) - self.began_at,
            admission_s=pump.own_s if pump is not None else 0.0,
            body_bytes=self.inflating.body_bytes if self.inflating is not None else body_bytes,
        )


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
