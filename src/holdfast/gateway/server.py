"""Two listeners on one loop, our own signals, our own drain; uvicorn does the rest.

uvicorn's `Server` installs signal handlers as a stack, of which only the last one started sees SIGTERM, and on exit
closes kept-alive connections at once. So its handlers are switched off here, and `should_exit` is set only when every
held caller has been answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import uvicorn

from holdfast.config import Role, Settings
from holdfast.errors import ConfigError
from holdfast.gateway.protocol import ConnectionLimits, HoldProtocol
from holdfast.gateway.sockets import Listening, listen
from holdfast.log import emit

LINGER_S = 2.0
"""For the last bytes of a connection that is closed. uvicorn would wait for them, and cancel whoever writes them."""
UVICORN_LINGERS_S = 5
"""Longer, so that nothing is left for it to cancel."""


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `Signals` below owns them."""
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What `ready` is told once the listeners answer."""

    base_url: str
    tls_base_url: str | None
    listeners: tuple[Listening, ...]
    stop: Callable[[], None]
    """Begin to drain, as SIGTERM does."""


def limits_of(settings: Settings) -> ConnectionLimits:
    """The connection's limits, from `server.*`."""
    server = settings.server
    return ConnectionLimits(
        header_bytes_max=server.header_bytes_max,
        header_timeout_s=server.header_timeout_s,
        body_gap_s=server.body_gap_s,
        idle_timeout_s=server.idle_timeout_s,
        caller_dead_s=settings.heartbeat.caller_dead_s,
    )


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """A server context that offers HTTP/1.1 only.

    Raises:
        ConfigError: The files cannot be used, with the setting to look at.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"The certificate cannot be used: {exc}. Check server.tls_cert and server.tls_key.", key="server.tls_cert"
        ) from exc
    return context


class PortRefused(OSError):
    """A port that cannot be listened on: taken, forbidden, or on an address that this machine does not have."""

    def __init__(self, error: OSError, host: str, port: int, *, is_tls: bool) -> None:
        super().__init__(error.errno, error.strerror)
        self.host = host
        self.port = port
        self.is_tls = is_tls
        """Whether it is the TLS listener's."""


def open_listeners(settings: Settings) -> tuple[Listening, Listening | None]:
    """Bind the plain listener, and the TLS one when there is a certificate.

    Raises:
        PortRefused: Which port it was, and why.
        ConfigError: `server.host` is no address.
    """
    plain = _bound(settings, is_tls=False)
    if not settings.server.tls_cert:
        return plain, None
    try:
        return plain, _bound(settings, is_tls=True)
    except OSError:
        plain.sock.close()
        raise


def _bound(settings: Settings, *, is_tls: bool) -> Listening:
    server = settings.server
    port = server.tls_port if is_tls else server.port
    try:
        return listen(
            server.host,
            port,
            user_timeout_s=settings.heartbeat.caller_dead_s,
            congestion=server.congestion,
            # Several of these on one machine are how it uses all of its cores.
            shares_port=server.role is Role.SERVE,
        )
    except socket.gaierror as exc:
        raise ConfigError(
            f"server.host: {server.host!r} is no address: {exc.strerror}. Use 127.0.0.1, or 0.0.0.0 for all of this "
            "machine's.",
            key="server.host",
        ) from exc
    except OSError as exc:
        raise PortRefused(exc, server.host, port, is_tls=is_tls) from exc


def _server(app: Any, settings: Settings, context: ssl.SSLContext | None) -> QuietServer:
    config = uvicorn.Config(
        app,
        http=HoldProtocol.bound_to(limits_of(settings)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(settings.server.idle_timeout_s),
        timeout_graceful_shutdown=UVICORN_LINGERS_S,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
        backlog=4096,
    )
    return QuietServer(config)


class Listeners:
    """The listening sockets and their servers; a plain one and, with a certificate, a TLS one."""

    def __init__(self, settings: Settings) -> None:
        """Bind; nobody is answered before `start`.

        Raises:
            PortRefused: A port is taken or forbidden.
            ConfigError: The certificate or the address cannot be used.
        """
        self._settings = settings
        cert = settings.server.tls_cert
        self._context = tls_context(cert, settings.server.tls_key) if cert else None
        self.plain, self.tls = open_listeners(settings)
        self._pairs: list[tuple[Listening, QuietServer]] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def all(self) -> tuple[Listening, ...]:
        """The listening sockets, plain first."""
        return (self.plain,) if self.tls is None else (self.plain, self.tls)

    async def start(self, app: Any) -> None:
        """Accept connections, and let `app` answer them."""
        for listening in self.all:
            context = self._context if listening is self.tls else None
            self._pairs.append((listening, _server(app, self._settings, context)))
        for listening, server in self._pairs:
            self._tasks.append(
                asyncio.create_task(server.serve(sockets=[listening.sock]), name=f"listener:{listening.port}")
            )
        while not all(server.started for _, server in self._pairs):
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.002)

    def begin_to_leave(self) -> None:
        """From now on every answer is its connection's last: whoever asks again does so on another one."""
        for _, server in self._pairs:
            protocol = cast(type[HoldProtocol], server.config.http_protocol_class)
            protocol.is_leaving = True
        for connection in self._connections():
            if connection.is_answering():
                connection.cycle.keep_alive = False

    def listen_no_more(self) -> None:
        """Let new connections be refused, so that a balancer takes the next gateway; those that are there stay."""
        for _, server in self._pairs:
            for each in server.servers:
                each.close()
        for listening in self.all:
            listening.sock.close()

    def hang_up(self) -> None:
        """Close what is idle: since `begin_to_leave` that is what nobody has asked anything on."""
        for connection in self._connections():
            connection.shutdown()

    def break_off(self) -> int:
        """Cut every answer that is not complete: nobody waits for its end any more; return how many were cut."""
        cut = 0
        for connection in self._connections():
            if connection.cycle is not None and not connection.cycle.response_complete:
                # Whoever has not sent its whole request, or has left, loses no answer.
                cut += connection.is_answering() and not connection.transport.is_closing()
                connection.break_off()
        return cut

    def _connections(self) -> list[HoldProtocol]:
        return [cast(HoldProtocol, each) for _, server in self._pairs for each in server.server_state.connections]

    async def close(self) -> int:
        """End every connection and wait for the servers; who has stopped reading holds up nobody's end.

        Returns:
            How many answers were complete and not handed over to the kernel to their last byte.
        """
        for _, server in self._pairs:
            server.should_exit = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LINGER_S)
        cut = 0
        for connection in self._connections():
            is_complete = connection.cycle is not None and connection.cycle.response_complete
            cut += is_complete and connection.transport.get_write_buffer_size() > 0
            connection.transport.abort()
        await asyncio.gather(*self._tasks)
        for listening in self.all:
            listening.sock.close()
        return cut


class Signals:
    """SIGTERM and SIGINT: the first begins to drain, the second ends at once. SIGHUP: settings are read anew.

    Whoever serves without a way to read them anew ends at SIGHUP, as every program does whose terminal is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, renews: bool = False) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.renewal = asyncio.Event()
        self._loop = loop
        self._taken = {signal.SIGTERM: self.received, signal.SIGINT: self.received}
        if renews:
            self._taken[signal.SIGHUP] = self.renewal.set

    def __enter__(self) -> Signals:
        for number, received in self._taken.items():
            self._loop.add_signal_handler(number, received)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._taken:
            self._loop.remove_signal_handler(number)

    def received(self) -> None:
        """Take one signal."""
        if self.first.is_set():
            self.second.set()
        else:
            self.first.set()


def announce(listeners: Listeners, settings: Settings, stop: Callable[[], None]) -> Running:
    """Say what is served, in the log and to `ready`."""
    host = settings.server.host
    shown = f"[{host}]" if ":" in host else host
    tls = listeners.tls
    running = Running(
        base_url=f"http://{shown}:{listeners.plain.port}",
        tls_base_url=f"https://{shown}:{tls.port}" if tls is not None else None,
        listeners=listeners.all,
        stop=stop,
    )
    emit(
        "server.started",
        base_url=running.base_url,
        tls_base_url=running.tls_base_url,
        congestion=listeners.plain.congestion,
        data=str(settings.store.data),
    )
    return running
