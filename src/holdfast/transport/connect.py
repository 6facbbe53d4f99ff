"""From a URL to a connected socket: name, TCP, TLS, and why it did not come about."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

import aiohappyeyeballs

from holdfast.transport.sockets import AddrInfo, upstream_socket

P = TypeVar("P", bound=asyncio.BaseProtocol)

ADDRESS_DELAY_S = 0.25
"""Before the next address of a name is tried beside a slow one (RFC 8305 §5)."""


class NotConnected(Exception):
    """There is no connection, so nothing was sent; the text says why."""


async def connect(
    make: Callable[[], P], *, host: str, port: int, context: ssl.SSLContext | None, connect_s: float
) -> P:
    """Connect and give the protocol of the new connection.

    Raises:
        NotConnected: With the reason, without the host.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_s):
            sock = await aiohappyeyeballs.start_connection(
                await _addresses(loop, host, port),
                happy_eyeballs_delay=ADDRESS_DELAY_S,
                interleave=1,
                loop=loop,
                socket_factory=upstream_socket,
            )
            _, protocol = await loop.create_connection(
                make, sock=sock, ssl=context, server_hostname=host if context is not None else None
            )
            return protocol
    except TimeoutError as exc:
        raise NotConnected("no connection in time (connect_s)") from exc
    except socket.gaierror as exc:
        raise NotConnected("the name does not resolve") from exc
    except ssl.SSLCertVerificationError as exc:
        raise NotConnected("the certificate is not trusted (set ca_file for a private authority)") from exc
    except ssl.SSLError as exc:
        raise NotConnected("the TLS handshake failed") from exc
    except OSError as exc:
        raise NotConnected(f"cannot connect ({errno_name(exc)})") from exc


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[AddrInfo]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP))
    # A number needs no resolver, and no thread to ask one in.
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    where = (host, port) if address.version == 4 else (host, port, 0, 0)
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]


def errno_name(error: OSError) -> str:
    """Name an error of the system as people look it up: `ECONNREFUSED`."""
    return errno.errorcode.get(error.errno, "no errno") if error.errno else type(error).__name__
