"""From a URL to a connected socket: name, TCP, TLS, and why it did not come about."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohappyeyeballs

from holdfast.transport.buffers import BufferPool
from holdfast.transport.connection import Connection
from holdfast.transport.names import Names
from holdfast.transport.sockets import errno_name, upstream_socket
from holdfast.transport.tls import TlsLayer

ADDRESS_DELAY_S = 0.25
"""Before the next address of a name is tried beside a slow one (RFC 8305 §5)."""


class NotConnected(Exception):
    """There is no connection, so nothing was sent; the text says why."""


async def connect(
    pool: BufferPool, names: Names, *, host: str, port: int, context: ssl.SSLContext | None, connect_s: float
) -> Connection:
    """Connect, and shake hands where there is a `context`.

    Raises:
        NotConnected: With the reason, without the host.
    """
    try:
        async with asyncio.timeout(connect_s) as scope:
            return await _connected(pool, names, host, port, context)
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
    pool: BufferPool, names: Names, host: str, port: int, context: ssl.SSLContext | None
) -> Connection:
    loop = asyncio.get_running_loop()
    connection = Connection(pool)
    layer = None if context is None else TlsLayer(connection, pool, context, server_hostname=host)
    sock = await aiohappyeyeballs.start_connection(
        await names.addresses(host, port),
        happy_eyeballs_delay=ADDRESS_DELAY_S,
        interleave=1,
        loop=loop,
        socket_factory=upstream_socket,
    )
    await loop.create_connection(lambda: layer or connection, sock=sock)
    if layer is not None:
        try:
            await layer.handshake()
        except BaseException:
            layer.abort()
            raise
    return connection
