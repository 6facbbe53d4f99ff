"""A path between a caller and a server that misbehaves as real ones do: idle cuts, stalls, resets, truncated bodies.

A TCP proxy that knows nothing of HTTP. Bytes are passed on as they come, at most `WINDOW_BYTES` a direction in memory:
who writes faster than the other side reads is not read from. The options may be changed while it runs; they hold for
connections to come and for those that are open.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

WINDOW_BYTES = 262_144
CONNECT_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 20_000
_RST = struct.pack("ii", 1, 0)


class Harm(StrEnum):
    """How a connection is hurt."""

    RESET = "reset"
    """Both sides get RST."""
    END = "end"
    """Both sides get FIN."""
    STALL = "stall"
    """Nothing passes any more, and nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one connection, unless it ends before."""

    harm: Harm
    after_s: float | None = None
    """Seconds after it was opened."""
    after_bytes: int | None = None
    """Bytes from the server; whichever comes first."""

    def __post_init__(self) -> None:
        assert self.after_s is None or self.after_s >= 0.0
        assert self.after_bytes is None or self.after_bytes >= 0


class Path:
    """See the module's docstring."""

    def __init__(
        self,
        to_host: str,
        to_port: int,
        *,
        idle_s: float | None = None,
        idle_harm: Harm = Harm.END,
        delay_s: float = 0.0,
        stall_after_bytes: int | None = None,
        reset_after_bytes: int | None = None,
        truncate_after_bytes: int | None = None,
        fate_of: Callable[[int], Fate | None] | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """Prepare a path; what counts bytes counts those from the server, on each connection.

        Args:
            to_host: Where it leads.
            to_port: The same.
            idle_s: Silence in both directions, seconds, after which both sides get FIN. None: never.
            idle_harm: What they get instead: RST, as from some load balancers, or nothing, as from a NAT that forgets.
            delay_s: Added to every piece of data, both ways.
            stall_after_bytes: From here on nothing passes any more, and nothing is said; the server's bytes pile up.
            reset_after_bytes: Here both sides get RST.
            truncate_after_bytes: Here both sides get FIN.
            fate_of: Says what becomes of the n-th connection, from 1; None for one that is spared.
            connections_max: Further ones are reset.
        """
        self.to_host = to_host
        self.to_port = to_port
        self.idle_s = idle_s
        self.idle_harm = idle_harm
        self.delay_s = delay_s
        self.stall_after_bytes = stall_after_bytes
        self.reset_after_bytes = reset_after_bytes
        self.truncate_after_bytes = truncate_after_bytes
        self.fate_of = fate_of
        self.cuts = 0
        """Connections that were cut because they were idle."""
        self.stalls = 0
        self.resets = 0
        self.truncations = 0
        self.accepted = 0
        """Connections so far."""
        self._connections_max = connections_max
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()

    def __repr__(self) -> str:
        return (
            f"<Path to {self.to_host}:{self.to_port} open={len(self._pairs)} cuts={self.cuts} "
            f"stalls={self.stalls} resets={self.resets} truncations={self.truncations}>"
        )

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._pairs)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is a free one for 0.

        Raises:
            OSError: The port is taken, or may not be used.
        """
        assert self._server is None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Pair(self).near, host, port, backlog=4096)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop, and drop what is open."""
        if self._server is None:
            return
        self._server.close()
        for pair in tuple(self._pairs):
            pair.drop()
        await self._server.wait_closed()
        self._server = None

    def admit(self, pair: _Pair) -> bool:
        """Take note of a connection; False: there are too many."""
        self.accepted += 1
        self._pairs.add(pair)
        return len(self._pairs) <= self._connections_max

    def forget(self, pair: _Pair) -> None:
        """Take note of its end."""
        self._pairs.discard(pair)


class _Side(asyncio.Protocol):
    """One of a pair's two connections."""

    def __init__(self, pair: _Pair, *, is_near: bool) -> None:
        self._pair = pair
        self._is_near = is_near
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WINDOW_BYTES)
        if self._is_near:
            self._pair.began()

    def data_received(self, data: bytes) -> None:
        self._pair.passed(data, from_near=self._is_near)

    def eof_received(self) -> bool | None:
        self._pair.ended(from_near=self._is_near)
        # The other direction stays open: half-closed connections are none of a path's business.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._pair.lost(exc)

    def pause_writing(self) -> None:
        self._pair.hold("full", from_near=not self._is_near)

    def resume_writing(self) -> None:
        self._pair.release("full", from_near=not self._is_near)


class _Pair:
    """Two connections that are one for those at their ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.near = _Side(self, is_near=True)
        self._far = _Side(self, is_near=False)
        self._connecting: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._fate: Fate | None = None
        self._doom: asyncio.TimerHandle | None = None
        """When its fate comes by the clock."""
        self._last_at_s = 0.0
        self._down_bytes = 0
        self._is_stalled = False
        self._is_over = False
        self._early: list[bytes] = []
        """What the caller said before the far side was connected: reading cannot be held back from the very start
        (uvloop begins to read after `connection_made`, whatever was asked in there)."""
        self._ended: set[bool] = set()
        """Sides whose end was seen, by whether it is the near one; and those it was passed on for."""
        self._passed_on: set[bool] = set()
        self._delayed = {True: 0, False: 0}
        """Bytes that wait for their delay, by whether they come from the near side."""
        self._holds: dict[bool, set[str]] = {True: set(), False: set()}
        """Why a side is not read from, by whether it is the near one."""

    # Events

    def began(self) -> None:
        """Connect the far side; what the near one says until then waits."""
        if not self._path.admit(self):
            self.reset()
            return
        self._last_at_s = asyncio.get_running_loop().time()
        self._watch()
        self._fate = self._path.fate_of(self._path.accepted) if self._path.fate_of is not None else None
        if self._fate is not None and self._fate.after_s is not None:
            self._doom = asyncio.get_running_loop().call_later(self._fate.after_s, self._suffer)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="path")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: self._far, self._path.to_host, self._path.to_port)
        except (OSError, TimeoutError):
            # To the caller the path itself is what cannot be reached.
            self.reset()
            return
        if self._is_over:
            self.drop()
            return
        early, self._early = self._early, []
        for data in early:
            self.passed(data, from_near=True)
        if True in self._ended:
            self._pass_end_behind(True)
        self.release("connecting", from_near=True)

    def passed(self, data: bytes, *, from_near: bool) -> None:
        """Pass bytes on, or whatever the options want."""
        if self._is_over or self._is_stalled:
            return
        if from_near and self._far.transport is None:
            self._early.append(data)
            self.hold("connecting", from_near=True)
            return
        loop = asyncio.get_running_loop()
        self._last_at_s = loop.time()
        self._watch()
        if not from_near:
            data = self._bounded(data)
        if not data:
            return
        delay_s = self._path.delay_s
        if delay_s <= 0.0 and not self._delayed[from_near]:
            self._forward(data, from_near)
            return
        self._delayed[from_near] += len(data)
        if self._delayed[from_near] > WINDOW_BYTES:
            self.hold("delayed", from_near=from_near)
        loop.call_later(delay_s, self._forward_late, data, from_near)

    def _bounded(self, data: bytes) -> bytes:
        """Count what comes from the server; give what may still pass, and do what is due behind it."""
        before = self._down_bytes
        self._down_bytes += len(data)
        path = self._path
        limits = [
            (limit, act)
            for limit, act in (
                (path.reset_after_bytes, self._reset_counted),
                (path.truncate_after_bytes, self._truncate),
                (path.stall_after_bytes, self._stall),
                (self._fate.after_bytes if self._fate is not None else None, self._suffer),
            )
            if limit is not None and self._down_bytes >= limit
        ]
        if not limits:
            return data
        limit, act = min(limits, key=lambda pair: pair[0])
        rest = data[: max(0, limit - before)]
        if rest:
            self._forward(rest, False)
        act()
        return b""

    def ended(self, *, from_near: bool) -> None:
        """Pass an end on, behind the bytes that came before it."""
        if from_near in self._ended:
            return
        self._ended.add(from_near)
        if self._is_stalled:
            # A caller who gives up is the end of a stalled connection; nobody else can be.
            self.drop()
        elif self._far.transport is not None:
            self._pass_end_behind(from_near)

    def _pass_end_behind(self, from_near: bool) -> None:
        if self._path.delay_s > 0.0 or self._delayed[from_near]:
            asyncio.get_running_loop().call_later(self._path.delay_s, self._pass_end, from_near)
        else:
            self._pass_end(from_near)

    def _pass_end(self, from_near: bool) -> None:
        self._passed_on.add(from_near)
        other = (self._far if from_near else self.near).transport
        if len(self._passed_on) == 2:
            self.drop()
        elif other is not None and not other.is_closing():
            other.write_eof()

    def lost(self, exc: Exception | None) -> None:
        """End the other side as this one ended: by RST or by FIN."""
        if exc is not None:
            self.reset()
        else:
            self.drop()

    def hold(self, why: str, *, from_near: bool) -> None:
        """Stop reading from a side."""
        transport = (self.near if from_near else self._far).transport
        self._holds[from_near].add(why)
        if transport is not None and not transport.is_closing():
            transport.pause_reading()

    def release(self, why: str, *, from_near: bool) -> None:
        """Read on, if nothing else holds it."""
        transport = (self.near if from_near else self._far).transport
        self._holds[from_near].discard(why)
        # uvloop would tell an end a second time to whoever reads on behind it.
        is_open = transport is not None and not transport.is_closing() and from_near not in self._ended
        if is_open and not self._holds[from_near]:
            assert transport is not None
            transport.resume_reading()

    # Acts

    def _forward(self, data: bytes, from_near: bool) -> None:
        transport = (self._far if from_near else self.near).transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def _forward_late(self, data: bytes, from_near: bool) -> None:
        was_held = self._delayed[from_near] > WINDOW_BYTES
        self._delayed[from_near] -= len(data)
        self._forward(data, from_near)
        if was_held and self._delayed[from_near] <= WINDOW_BYTES:
            self.release("delayed", from_near=from_near)

    def _watch(self) -> None:
        """Keep one timer, set for the earliest moment at which the silence can have been long enough."""
        idle_s = self._path.idle_s
        if idle_s is not None and self._idle is None and not self._is_over:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_at(self._last_at_s + idle_s, self._cut_if_idle)

    def _cut_if_idle(self) -> None:
        self._idle = None
        idle_s = self._path.idle_s
        if idle_s is None or self._is_over:
            return
        if asyncio.get_running_loop().time() < self._last_at_s + idle_s:
            self._watch()
            return
        self._path.cuts += 1
        match self._path.idle_harm:
            case Harm.RESET:
                self.reset()
            case Harm.END:
                self.drop()
            case Harm.STALL:
                self._is_stalled = True
                self.hold("stalled", from_near=False)

    def _suffer(self) -> None:
        """Let its fate come: once, and only while it is open."""
        fate, self._fate = self._fate, None
        if fate is None or self._is_over or self._is_stalled:
            return
        match fate.harm:
            case Harm.RESET:
                self._reset_counted()
            case Harm.END:
                self._truncate()
            case Harm.STALL:
                self._stall()

    def _reset_counted(self) -> None:
        self._path.resets += 1
        self.reset()

    def _truncate(self) -> None:
        self._path.truncations += 1
        self.drop()

    def _stall(self) -> None:
        self._path.stalls += 1
        self._is_stalled = True
        self.hold("stalled", from_near=False)

    def reset(self) -> None:
        """RST to both."""
        for transport in self._over():
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            transport.abort()

    def drop(self) -> None:
        """FIN to both, after what was written."""
        for transport in self._over():
            transport.close()

    def _over(self) -> list[asyncio.Transport]:
        self._is_over = True
        self._path.forget(self)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._doom is not None:
            self._doom.cancel()
            self._doom = None
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        sides = (self.near.transport, self._far.transport)
        return [transport for transport in sides if transport is not None and not transport.is_closing()]
