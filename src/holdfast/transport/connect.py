"""From a URL to a connected socket: name, TCP, TLS, and why it did not come about."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import aiohappyeyeballs

from holdfast.transport.buffers import BufferPool
from holdfast.transport.connection import Connection
from holdfast.transport.names import Names
from holdfast.transport.sockets import AddrInfo, crowd_socket, errno_name, upstream_socket
from holdfast.transport.tls import TlsLayer

ADDRESS_DELAY_S = 0.25
"""Before the next address of a name is tried beside a slow one (RFC 8305 §5)."""


class NotConnected(Exception):
    """There is no connection, so nothing was sent; the text says why."""


async def connect(
    pool: BufferPool,
    names: Names,
    *,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    connect_s: float,
    in_crowd: bool = False,
) -> Connection:
    """Connect, and shake hands where there is a `context`.

    Args:
        pool: Buffers for the connection.
        names: Resolves the host.
        host: Name or address.
        port: 1 to 65535.
        context: For TLS.
        connect_s: Seconds for all of it.
        in_crowd: So many are open that each must weigh little in the kernel.

    Raises:
        NotConnected: With the reason, without the host.
    """
    try:
        async with asyncio.timeout(connect_s) as scope:
            return await _connected(pool, names, host, port, context, crowd_socket if in_crowd else upstream_socket)
    except TimeoutError as exc:
        if scope.expired():
            raise NotConnected("no connection in time (connect_s)") from exc
        raise NotConnected(f"cannot connect ({errno_name(exc)})") from exc
    except (socket.gaierror, UnicodeError) as exc:
        raise NotConnected("the name does not resolve") from exc
    except ssl.SSLCertVerificationError as exc:
        raise NotConnected("the certificate is not trusted (set ca_file for a private authority)") from exc
    except ssl.SSLError as exc:
        raise NotConnected("the TLS handshake failed") from exc
    except OSError as exc:
        raise NotConnected(f"cannot connect ({errno_name(exc)})") from exc


async def _connected(
    pool: BufferPool,
    names: Names,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    socket_factory: Callable[[AddrInfo], socket.socket],
) -> Connection:
    loop = asyncio.get_running_loop()
    connection = Connection(pool)
    layer = None if context is None else TlsLayer(connection, pool, context, server_hostname=host)
    sock = await aiohappyeyeballs.start_connection(
        await names.addresses(host, port),
        happy_eyeballs_delay=ADDRESS_DELAY_S,
        interleave=1,
        loop=loop,
        socket_factory=socket_factory,
    )
    await loop.create_connection(lambda: layer or connection, sock=sock)
    if layer is not None:
        try:
            await layer.handshake()
        except BaseException:
            layer.abort()
            raise
    return connection
