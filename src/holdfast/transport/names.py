"""Which addresses a host has: one question for all who ask at once, its answer kept for a moment.

A start that takes up 2,000 generations would else put the same question 2,000 times, through the four threads that a
loop has for it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from holdfast.transport.sockets import AddrInfo

KEPT_S = 10.0
"""Long enough for a burst, and a host that moves is found again within one try."""


class Names:
    """Asks the system's resolver. One event loop only; as many entries as upstreams have hosts."""

    __slots__ = ("_asked", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: dict[tuple[str, int], tuple[asyncio.Task[list[AddrInfo]], float]] = {}
        """Each question and the loop time until which its answer holds."""

    async def addresses(self, host: str, port: int) -> list[AddrInfo]:
        """Give the addresses of a host, in the resolver's order.

        Raises:
            OSError: It has none, or nobody can say; `socket.gaierror` mostly.
            UnicodeError: It is no name.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        now, key = self._loop.time(), (host, port)
        asked, until = self._asked.get(key, (None, 0.0))
        if asked is None or (asked.done() and now >= until):
            asked = self._loop.create_task(self._ask(key), name=f"resolve {host}")
            asked.add_done_callback(_seen)
            self._asked[key] = (asked, now + KEPT_S)
        # Whoever gives up does not take the answer from those who wait on.
        return list(await asyncio.shield(asked))

    async def _ask(self, key: tuple[str, int]) -> list[AddrInfo]:
        try:
            return list(await self._loop.getaddrinfo(*key, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP))
        except (OSError, UnicodeError):
            # Whoever asks next asks anew.
            del self._asked[key]
            raise

    def close(self) -> None:
        """Stop asking."""
        for asked, _ in self._asked.values():
            asked.cancel()


def _literal(host: str, port: int) -> AddrInfo | None:
    """Read an address that is written as numbers: it needs no resolver, and no thread to ask one in."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
    if address.scope_id is not None:
        # The system knows the number of the interface.
        return None
    return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))


def _seen(asked: asyncio.Task[list[AddrInfo]]) -> None:
    """Look at an error that nobody waits for any more: the loop would report it as a mistake."""
    if not asked.cancelled():
        asked.exception()
