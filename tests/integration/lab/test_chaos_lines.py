"""The lines of the lab of chaos: what is shut carries nothing that way, and what was sent meanwhile arrives later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

HOST = "127.0.0.1"
QUIET_S = 0.2


class Ends:
    """A line with a server behind it, and one connection through it."""

    def __init__(self, line: object, server: asyncio.Server, came: asyncio.Queue[object]) -> None:
        self.line = line
        self._server = server
        self._came = came
        self.near: tuple[asyncio.StreamReader, asyncio.StreamWriter]
        self.far: tuple[asyncio.StreamReader, asyncio.StreamWriter]

    async def connect(self) -> None:
        """Make the connection."""
        self.near = await asyncio.open_connection(HOST, self.line.port)  # type: ignore[attr-defined]
        self.far = await self._came.get()  # type: ignore[assignment]

    async def close(self) -> None:
        """End both, and the server."""
        self._server.close()
        for _, writer in (self.near, self.far):
            writer.close()


@pytest.fixture
async def ends(chaos_lines: ModuleType) -> AsyncIterator[Ends]:
    """Give one that is open."""
    came: asyncio.Queue[object] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.put_nowait((reader, writer))

    server = await asyncio.start_server(take, HOST, 0)
    line = chaos_lines.Line(server.sockets[0].getsockname()[1])
    await line.start()
    made = Ends(line, server, came)
    await made.connect()
    yield made
    await line.close()
    await made.close()


async def _is_silent(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), QUIET_S)
    except TimeoutError:
        return True
    return False


async def test_an_open_line_carries_both_ways(ends: Ends) -> None:
    """Bytes, and an end by itself."""
    for writer, reader in ((ends.near[1], ends.far[0]), (ends.far[1], ends.near[0])):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
    ends.near[1].write_eof()
    assert await ends.far[0].read() == b""
    ends.far[1].write(b"still there")
    assert await ends.near[0].readexactly(11) == b"still there"


@pytest.mark.parametrize("way", ["out", "in"])
async def test_what_is_shut_is_shut_in_one_direction(ends: Ends, chaos_lines: ModuleType, way: str) -> None:
    """And what was sent meanwhile arrives when it is mended."""
    shut, other = (ends.near, ends.far) if way == "out" else (ends.far, ends.near)
    ends.line.shut(chaos_lines.Way(way))  # type: ignore[attr-defined]
    shut[1].write(b"lost?")
    other[1].write(b"heard")
    assert await shut[0].readexactly(5) == b"heard"
    assert await _is_silent(other[0])
    ends.line.mend(is_violent=False)  # type: ignore[attr-defined]
    assert await other[0].readexactly(5) == b"lost?"


async def test_an_end_does_not_pass_what_is_shut(ends: Ends, chaos_lines: ModuleType) -> None:
    """Who hangs up is not missed before the line is mended."""
    ends.line.shut(chaos_lines.Way.BOTH)  # type: ignore[attr-defined]
    ends.near[1].close()
    assert await _is_silent(ends.far[0])
    ends.line.mend(is_violent=False)  # type: ignore[attr-defined]
    assert await asyncio.wait_for(ends.far[0].read(), 10.0) == b""


async def test_a_violent_end_resets_both(ends: Ends, chaos_lines: ModuleType) -> None:
    """As by a firewall that has forgotten; new connections pass."""
    ends.line.shut(chaos_lines.Way.BOTH)  # type: ignore[attr-defined]
    ends.line.mend(is_violent=True)  # type: ignore[attr-defined]
    for reader, _ in (ends.near, ends.far):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10.0)
    await ends.connect()
    ends.near[1].write(b"again")
    assert await ends.far[0].readexactly(5) == b"again"


async def test_a_line_to_nobody_refuses(chaos_lines: ModuleType, tmp_path: Path) -> None:
    """A server that is away is not there for whoever asks through a line, either."""
    line = chaos_lines.Line(tmp_path / "nobody")
    await line.start()
    try:
        reader, writer = await asyncio.open_connection(HOST, line.port)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10.0)
        writer.close()
    finally:
        await line.close()
