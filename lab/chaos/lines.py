"""The line between one replica and one of those that it talks to: a TCP proxy that can stop carrying, in one direction
or in both.

What is sent while a direction is shut waits, as packets that are sent again until they arrive; so do ends and resets. A
cut that ends violently resets what was open: a firewall that has forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

from weather import Way

HOST = "127.0.0.1"
PIECE_BYTES = 262_144
_RST = struct.pack("ii", 1, 0)


class Line:
    """Made shut for nobody; listens once it is started."""

    def __init__(self, to: int | Path) -> None:
        """Prepare one.

        Args:
            to: A port on loopback, or the path of a socket.
        """
        self._to = to
        self._server: asyncio.Server | None = None
        self._open = {Way.OUT: asyncio.Event(), Way.IN: asyncio.Event()}
        for each in self._open.values():
            each.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self.port = 0

    def __repr__(self) -> str:
        shut = [way.value for way, event in self._open.items() if not event.is_set()]
        return f"<Line to {self._to}: {len(self._pairs)} open, shut {shut}>"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._began, HOST, 0, limit=PIECE_BYTES, backlog=512)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def shut(self, way: Way) -> None:
        """Carry nothing any more that way."""
        for each in (Way.OUT, Way.IN) if way is Way.BOTH else (way,):
            self._open[each].clear()

    def mend(self, *, is_violent: bool) -> None:
        """Carry everything again."""
        if is_violent:
            for pair in tuple(self._pairs):
                for writer in pair:
                    _reset(writer)
        for each in self._open.values():
            each.set()

    async def close(self) -> None:
        """Stop, and drop what is open."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _began(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            # Only `close` cancels it, which waits for its end.
            _reset(writer)
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open[Way.OUT].wait()
        try:
            if isinstance(self._to, Path):
                far = await asyncio.open_unix_connection(str(self._to), limit=PIECE_BYTES)
            else:
                far = await asyncio.open_connection(HOST, self._to, limit=PIECE_BYTES)
        except OSError:
            await self._open[Way.IN].wait()
            _reset(writer)
            return
        pair = (writer, far[1])
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump(reader, far[1], self._open[Way.OUT]), self._pump(far[0], writer, self._open[Way.IN])
            )
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_open: asyncio.Event) -> None:
        try:
            while piece := await reader.read(PIECE_BYTES):
                await is_open.wait()
                writer.write(piece)
                await writer.drain()
            await is_open.wait()
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
        except (OSError, RuntimeError):
            # uvloop says the latter of a connection that has ended meanwhile.
            await is_open.wait()
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST; one that has ended already is none of our business."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing() and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    writer.transport.abort()
