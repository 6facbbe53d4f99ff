"""Listening sockets whose options every accepted connection inherits (measured: plain and TLS, uvloop and asyncio)."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass

_log = logging.getLogger("holdfast.server")

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
NOT_SENT_LOWAT_BYTES = 128 * 1024
"""200 stalled readers of 27 MB: 861 MB of kernel memory without it, 61 MB with it; it does not cap the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """A bound, listening socket, and what the kernel granted."""

    sock: socket.socket
    host: str
    port: int
    congestion: str
    """The congestion control in force, `unknown` where the kernel does not tell."""


def listen(
    host: str, port: int, *, user_timeout_s: float, congestion: str, backlog: int = 4096, shares_port: bool = False
) -> Listening:
    """Bind and listen.

    With `shares_port` other processes of this user may do so too, and the kernel spreads callers over them; else a port
    that is taken is found out.

    Raises:
        OSError: errno EADDRINUSE when the port is taken, EACCES when it needs privileges.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        in_force = _prepare(sock, user_timeout_s=user_timeout_s, congestion=congestion)
        sock.bind((host, port))
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return Listening(sock=sock, host=host, port=sock.getsockname()[1], congestion=in_force)


def _prepare(sock: socket.socket, *, user_timeout_s: float, congestion: str) -> str:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_S,
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_S,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": int(user_timeout_s * 1000),
        "TCP_NOTSENT_LOWAT": NOT_SENT_LOWAT_BYTES,
    }
    for name, value in options.items():
        # macOS lacks some of these; the gateway runs there without them.
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        else:
            _log.warning("%s is not offered by this system; callers that vanish are noticed later", name)
    return _congestion(sock, congestion)


def _congestion(sock: socket.socket, wanted: str) -> str:
    """Use the wanted congestion control where the kernel offers it.

    At 1 % loss a loss-based sender needs 25 s for what BBR delivers in 4 s (docs/discussions/why-http1.md).
    """
    if not hasattr(socket, "TCP_CONGESTION"):
        return "unknown"
    if wanted:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, wanted.encode())
        except OSError:
            _log.info("congestion control %s is not offered by this kernel; its default stays", wanted)
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
