"""Why a connection did not come about, told in words that name no address and in one exception."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any

import aiohappyeyeballs
import pytest

from holdfast.transport.buffers import BufferPool
from holdfast.transport.connect import NotConnected, connect
from holdfast.transport.names import Names
from holdfast.transport.sockets import crowd_socket, errno_name, upstream_socket


async def refused_by(error: BaseException | None, monkeypatch: pytest.MonkeyPatch, host: str = "up.example") -> str:
    """Let connecting fail so, or never end, and give what is said."""

    async def start(addresses: Any, **options: Any) -> socket.socket:
        if error is not None:
            raise error
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def found(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    with pytest.raises(NotConnected) as told:
        await connect(BufferPool(), Names(), host=host, port=443, context=None, connect_s=5.0 if error else 0.01)
    return str(told.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, "no connection in time (connect_s)"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "cannot connect (ETIMEDOUT)"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "sk-secret"), "cannot connect (ECONNREFUSED)"),
        (ConnectionResetError("closed during the handshake"), "cannot connect (ConnectionResetError)"),
        (OSError("Multiple exceptions: [Errno 111] 192.0.2.1, [Errno 101] 192.0.2.2"), "cannot connect (OSError)"),
        (OSError(123_456, "odd"), "cannot connect (no errno)"),
        (socket.gaierror(-2, "Name or service not known"), "the name does not resolve"),
        (UnicodeError("label empty or too long"), "the name does not resolve"),
        (ssl.SSLCertVerificationError(1, "self-signed"), "the certificate is not trusted"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "the TLS handshake failed"),
    ],
)
async def test_each_reason_is_named_and_no_address(
    error: BaseException | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has to know what to look at; the kernel's own timeout is not ours."""
    said = await refused_by(error, monkeypatch)
    assert words in said
    assert "192.0.2" not in said
    assert "sk-secret" not in said


async def test_a_cancellation_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes through."""
    with pytest.raises(asyncio.CancelledError):
        await refused_by(asyncio.CancelledError(), monkeypatch)


@pytest.mark.parametrize("host", ["a..b", ".example", "x" * 64 + ".example"])
async def test_what_is_no_name_does_not_resolve(host: str) -> None:
    """Python refuses to ask for it, with an exception that is no OSError."""
    with pytest.raises(NotConnected, match="does not resolve"):
        await connect(BufferPool(), Names(), host=host, port=443, context=None, connect_s=5.0)


@pytest.mark.parametrize("in_crowd", [False, True])
async def test_addresses_are_tried_side_by_side_with_our_sockets(
    monkeypatch: pytest.MonkeyPatch, in_crowd: bool
) -> None:
    """Families in turn (RFC 8305), a quarter of a second apart, each with keepalive set before it connects."""
    seen: dict[str, Any] = {}

    async def start(addresses: Any, **options: Any) -> socket.socket:
        seen.update(options, addresses=addresses)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start)
    with pytest.raises(NotConnected, match="ENETUNREACH"):
        await connect(BufferPool(), Names(), host="::1", port=1, context=None, connect_s=5.0, in_crowd=in_crowd)
    assert seen["socket_factory"] is (crowd_socket if in_crowd else upstream_socket)
    assert (seen["interleave"], seen["happy_eyeballs_delay"]) == (1, 0.25)
    assert seen["addresses"] == [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 1, 0, 0))]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.EPIPE, "Broken pipe"), "EPIPE"),
        (OSError(), "OSError"),
        (ssl.SSLError(1, "bad"), "SSLError"),
        (ssl.SSLEOFError(8, "EOF"), "SSLEOFError"),
        (OSError(123_456, "odd"), "no errno"),
    ],
)
def test_errors_are_named_as_people_look_them_up(error: OSError, name: str) -> None:
    """OpenSSL counts its own way: its 1 is not EPERM."""
    assert errno_name(error) == name
