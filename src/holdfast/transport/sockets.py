"""What is set on a socket towards an upstream, and why.

Keepalive probes hold the path open while an upstream is silent for minutes (AWS NAT forgets a flow after 350 s, home
routers after much less), and tell a dead one from a slow one within a minute or so.

The receive window is kept small while nothing may be read, and let grow when the body is admitted. Linux grows the
buffer of a socket that is read quickly up to `tcp_rmem[2]` (6 to 32 MB); thousands of answers that wait for their turn
could then pin gigabytes of kernel memory. A small `SO_RCVBUF` set *before* the connection caps the window scale for
good, and with it a transfer at 64 KB per round trip. Set *after* it, `SO_RCVBUF` only stops the growing, and
`SO_BUF_LOCK` (Linux 5.15) gives the growing back.

In a crowd even the window that every socket is born with is too much. There it is born small: `SO_RCVBUF` before the
connection, and the lock taken off at once, which leaves the window scale alone.

Measured: docs/discussions/upstream-sockets.md.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any

KEEPALIVE_IDLE_S = 20
"""Below the idle timers of paths that count packets; 60 s is the shortest in common use (home routers, ALB)."""
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 4
USER_TIMEOUT_MS = 60_000
"""Unacknowledged data or probes for so long mean that the path is dead: 20 + 4 x 10 s."""
NARROW_RCVBUF_BYTES = 65_536
"""The kernel doubles it to 131,072, the initial size of `tcp_rmem[1]`: below that, a first burst that fills the window
already offered would be dropped and sent again after a timeout."""
CROWD_RCVBUF_BYTES = 16_384
"""Doubled likewise. 11 KB of an unread answer stay in the kernel, not 88; a transfer begins with a quarter of the
window and has to grow it, which is why this is for crowds."""

_SO_BUF_LOCK = 72
"""`SO_BUF_LOCK` of asm-generic/socket.h; the `socket` module has no name for it."""
_RCVBUF_LOCK = 2
"""`SOCK_RCVBUF_LOCK` of linux/socket.h: the receive buffer stays as it is."""

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]


def upstream_socket(addr_info: AddrInfo) -> socket.socket:
    """Make an unconnected socket with the options above; what this kernel lacks is left out."""
    family, kind, protocol = addr_info[:3]
    sock = socket.socket(family=family, type=kind, proto=protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        sock.close()
        raise
    return sock


def crowd_socket(addr_info: AddrInfo) -> socket.socket:
    """Make the same with a small receive buffer, which is free to grow until `narrow`."""
    sock = upstream_socket(addr_info)
    if _can_unlock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CROWD_RCVBUF_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)
    return sock


def narrow(transport: asyncio.BaseTransport) -> None:
    """Stop the receive buffer of a connected socket from growing."""
    sock = transport.get_extra_info("socket")
    if sock is None or not _can_unlock:
        return
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 2 * NARROW_RCVBUF_BYTES:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_RCVBUF_BYTES)
    else:
        sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, _RCVBUF_LOCK)


def widen(transport: asyncio.BaseTransport) -> None:
    """Let it grow again, as the kernel sees fit."""
    sock = transport.get_extra_info("socket")
    if sock is not None and _can_unlock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)


def _probe_unlock() -> bool:
    """Whether this kernel can take a lock off a buffer; if not, none is put on, since it would cap every transfer."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)
        except OSError:
            return False
        return True


_can_unlock = _probe_unlock()


def errno_name(error: OSError) -> str:
    """Name an error of the system as people look it up: `ECONNREFUSED`."""
    if error.errno is None or isinstance(error, ssl.SSLError):
        # OpenSSL's numbers are no errno.
        return type(error).__name__
    return errno.errorcode.get(error.errno, "no errno")
