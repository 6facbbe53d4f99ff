"""Options of sockets towards upstreams, asked back from the kernel on real connections."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import termios
from array import array
from collections.abc import AsyncIterator, Callable

import pytest

from holdfast.transport import sockets
from holdfast.transport.sockets import (
    CROWD_RCVBUF_BYTES,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    KEEPALIVE_PROBES,
    NARROW_RCVBUF_BYTES,
    USER_TIMEOUT_MS,
    AddrInfo,
    crowd_socket,
    narrow,
    upstream_socket,
    widen,
)

SENT = bytes(range(256)) * 32_768


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connection(make: Callable[[AddrInfo], socket.socket]) -> AsyncIterator[Ends]:
    """Our side of a connection, made as the transport makes it, and the peer's writing end."""
    peers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: peers.put_nowait(writer), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    sock = make((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address))
    await asyncio.get_running_loop().sock_connect(sock, address)
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
    peer = await peers.get()
    yield reader, writer, peer
    writer.close()
    peer.transport.abort()
    server.close()


@pytest.fixture
async def connected() -> AsyncIterator[Ends]:
    """A connection of the usual kind."""
    async with connection(upstream_socket) as ends:
        yield ends


def receive_buffer(writer: asyncio.StreamWriter) -> int:
    """What the kernel grants at most, bytes."""
    return int(writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))


def test_a_socket_probes_a_silent_upstream() -> None:
    """A path that forgets the flow, or died, is noticed within a minute or so; asked back from the kernel."""
    with upstream_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))) as sock:
        assert not sock.getblocking()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
        ):
            assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
    assert KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES == USER_TIMEOUT_MS / 1000
    assert KEEPALIVE_IDLE_S < 60, "home routers and load balancers forget a flow after that"


def test_a_kernel_that_lacks_an_option_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has other names for some of them."""
    for name in ("TCP_KEEPIDLE", "TCP_USER_TIMEOUT"):
        monkeypatch.delattr(socket, name)
    with upstream_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_a_socket_that_cannot_be_prepared_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor must not leak with each attempt."""
    made: list[socket.socket] = []

    class Refusing(socket.socket):
        def setsockopt(self, *_: object) -> None:  # type: ignore[override]
            made.append(self)
            raise OSError(92, "Protocol not available")

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(OSError, match="not available"):
        upstream_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))
    assert made[0].fileno() == -1


@pytest.mark.parametrize("is_widened", [False, True])
async def test_a_narrow_window_does_not_grow_and_a_widened_one_does(connected: Ends, is_widened: bool) -> None:
    """Thousands of answers that wait for their turn would else pin gigabytes; one that is admitted must be fast."""
    reader, writer, peer = connected
    narrow(writer.transport)
    # The kernel doubles what it is told, for its own bookkeeping.
    assert receive_buffer(writer) == 2 * NARROW_RCVBUF_BYTES or not sockets._can_unlock
    if is_widened:
        widen(writer.transport)
    for _ in range(3):
        peer.write(SENT)
        assert await asyncio.wait_for(reader.readexactly(len(SENT)), 20) == SENT
    if sockets._can_unlock:
        assert (receive_buffer(writer) > 2 * NARROW_RCVBUF_BYTES) is is_widened


async def test_without_the_unlock_nothing_is_narrowed(
    connected: Ends,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older kernel could never widen it again: every transfer would be capped at 64 KB a round trip."""
    monkeypatch.setattr(sockets, "_can_unlock", False)
    _, writer, _ = connected
    before = receive_buffer(writer)
    narrow(writer.transport)
    widen(writer.transport)
    assert receive_buffer(writer) == before


@pytest.mark.parametrize("default_bytes", [65_536, 1 << 20])
async def test_a_buffer_that_is_small_already_is_not_made_larger(connected: Ends, default_bytes: int) -> None:
    """A system's default may lie on either side of ours."""
    _, writer, _ = connected
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, default_bytes // 2)
    narrow(writer.transport)
    assert receive_buffer(writer) == min(default_bytes, 2 * NARROW_RCVBUF_BYTES) or not sockets._can_unlock


async def test_in_a_crowd_an_unread_answer_weighs_little_and_one_that_is_admitted_is_fast() -> None:
    """9,800 of them with the usual window pass `tcp_mem`, and every connection of the machine loses segments."""
    async with connection(crowd_socket) as (reader, writer, peer):
        narrow(writer.transport)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        peer.write(SENT)
        await asyncio.sleep(0.3)
        unread = array("i", [0])
        fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.FIONREAD, unread)
        if sockets._can_unlock:
            assert 0 < unread[0] < 2 * CROWD_RCVBUF_BYTES
            assert receive_buffer(writer) == 2 * CROWD_RCVBUF_BYTES
        widen(writer.transport)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(3):
            assert await asyncio.wait_for(reader.readexactly(len(SENT)), 20) == SENT
            peer.write(SENT)
        if sockets._can_unlock:
            assert receive_buffer(writer) > 2 * NARROW_RCVBUF_BYTES, "the window scale was not capped"


def test_a_transport_without_a_socket_is_left_alone() -> None:
    """One that is closed has none."""

    class Bare(asyncio.BaseTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return default

    narrow(Bare())
    widen(Bare())
