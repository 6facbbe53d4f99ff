"""A bounded number of connections, all alike, for writes and reads. Belongs to one loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from holdfast.store.postgres.conn import Link

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Pool:
    """Connections that are made when they are wanted and kept. The one that was used last is used first."""

    def __init__(self, connect: Connect, size: int) -> None:
        self._connect = connect
        self._size = size
        self._free = asyncio.Semaphore(size)
        # Reports may take seconds: half of all is never theirs.
        self._for_reads = asyncio.Semaphore(max(1, size // 2))
        self._idle: list[Link] = []
        self._busy = 0
        self.pids: frozenset[int] = frozenset()
        """Of the connections that are open, as the server numbers them; replaced as a whole."""

    def __repr__(self) -> str:
        return f"<Pool: {self._busy} of {self._size} busy, {len(self._idle)} idle>"

    @asynccontextmanager
    async def link(self, *, reads: bool = False) -> AsyncIterator[Link]:
        """Lend a connection. One that is closed, or whose transaction was not ended, is not kept.

        Raises:
            OSError: The server cannot be reached.
            PostgresError: It takes no connection.
        """
        async with self._for_reads if reads else contextlib.nullcontext(), self._free:
            link = self._take() or await self._make()
            self._busy += 1
            try:
                yield link
            finally:
                self._busy -= 1
                if link.raw.is_closed() or link.raw.is_in_transaction():
                    link.raw.terminate()
                else:
                    self._idle.append(link)

    async def _make(self) -> Link:
        raw = await self._connect()
        pid = raw.get_server_pid()
        self.pids |= {pid}
        raw.add_termination_listener(lambda _: self._unname(pid))
        return Link(raw)

    def _unname(self, pid: int) -> None:
        self.pids -= {pid}

    def _take(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if not link.raw.is_closed():
                return link
        return None

    def forget(self) -> None:
        """Close what is idle: the server has gone, and they with it, whether they know it or not."""
        for link in self._idle:
            link.raw.terminate()
        self._idle.clear()

    async def close(self, timeout_s: float) -> None:
        """Close all that is idle."""
        for link in self._idle:
            try:
                await link.raw.close(timeout=timeout_s)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                link.raw.terminate()
        self._idle.clear()
