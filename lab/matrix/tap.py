"""The wire between a client and its proxy: passed on as it is, written down with times, and cut when that is meant.

What is kept is bounded: the first bytes of each direction, and the first and last of the pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
KEPT_BYTES = 1_600
"""Of each direction of a connection."""
FIRST_PIECES, LAST_PIECES = 14, 3


@dataclass(slots=True, kw_only=True)
class Piece:
    """What came in one go."""

    at_s: float
    """Since the connection was opened."""
    is_up: bool
    """From the client."""
    size_bytes: int
    kept: bytes
    """Its beginning, or nothing."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One connection, as it went."""

    pieces: list[Piece] = field(default_factory=list)
    """The first of them, then the last."""
    skipped: int = 0
    """Pieces between the two."""
    ended_s: float | None = None
    ended_by: str = ""
    """`client`, `server`, `cut`."""
    up_bytes: int = 0
    down_bytes: int = 0

    def add(self, at_s: float, data: bytes, *, is_up: bool) -> None:
        """Write a piece down."""
        before = self.up_bytes if is_up else self.down_bytes
        kept = data[: max(0, KEPT_BYTES - before)]
        if is_up:
            self.up_bytes += len(data)
        else:
            self.down_bytes += len(data)
        self.pieces.append(Piece(at_s=at_s, is_up=is_up, size_bytes=len(data), kept=kept))
        if len(self.pieces) > FIRST_PIECES + LAST_PIECES:
            del self.pieces[FIRST_PIECES]
            self.skipped += 1

    def end(self, at_s: float, by: str) -> None:
        """Write down who ended it first."""
        if self.ended_s is None:
            self.ended_s, self.ended_by = at_s, by


class Tap:
    """A port that leads to another one."""

    def __init__(self, to_port: int, *, cut_after_s: float | None = None, cut_after_bytes: int | None = None) -> None:
        """Prepare it; a cut befalls the first connection only, and counts from its opening, or the server's bytes."""
        self._to_port = to_port
        self._cut_after_s = cut_after_s
        self._cut_after_bytes = cut_after_bytes
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.records: list[Record] = []
        self.port = 0

    async def start(self) -> int:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, HOST, 0, limit=CHUNK_BYTES)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stop, and end what is open."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        record = Record()
        self.records.append(record)
        is_doomed = len(self.records) == 1
        try:
            far, far_out = await asyncio.open_connection(HOST, self._to_port, limit=CHUNK_BYTES)
        except OSError:
            near_out.close()
            return
        self._writers |= {near_out, far_out}
        line = _Line(record, cut_after_bytes=self._cut_after_bytes if is_doomed else None)
        up = asyncio.create_task(line.pump(near, far_out, is_up=True), name="up")
        down = asyncio.create_task(line.pump(far, near_out, is_up=False), name="down")
        try:
            # When the server's direction has ended nothing more can come of it, whatever the client would still say.
            done, _ = await asyncio.wait({down}, timeout=self._cut_after_s if is_doomed else None)
            if not done:
                record.end(line.now_s, "cut")
        finally:
            for pump in (up, down):
                pump.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            self._writers -= {near_out, far_out}
            near_out.close()
            far_out.close()


class _Line:
    """One connection's two directions."""

    def __init__(self, record: Record, *, cut_after_bytes: int | None) -> None:
        self._record = record
        self._opened_s = asyncio.get_running_loop().time()
        self._cut_after_bytes = cut_after_bytes

    @property
    def now_s(self) -> float:
        """Seconds since it was opened."""
        return asyncio.get_running_loop().time() - self._opened_s

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_up: bool) -> None:
        """Pass one direction on to its end, or to where it is to be cut; a reset is an end."""
        record = self._record
        with contextlib.suppress(ConnectionError):
            while data := await source.read(CHUNK_BYTES):
                record.add(self.now_s, data, is_up=is_up)
                sink.write(data)
                await sink.drain()
                if not is_up and self._cut_after_bytes is not None and record.down_bytes > self._cut_after_bytes:
                    record.end(self.now_s, "cut")
                    return
        record.end(self.now_s, "client" if is_up else "server")
        if is_up and not sink.is_closing():
            with contextlib.suppress(OSError):
                sink.write_eof()
