"""The wire that the matrix listens on passes everything, and cuts where it is told to, once."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

LAB = Path(__file__).resolve().parents[3] / "lab"
HOST = "127.0.0.1"
BIG = b"x" * 2_000_000


@pytest.fixture(scope="session")
def tap() -> ModuleType:
    """The wire between a client and its proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LAB / "matrix")
        return importlib.import_module("tap")


@pytest.fixture
async def server() -> AsyncIterator[int]:
    """Answer `big` with two million bytes and an end, `wait` never, anything else with itself in capitals."""
    forever = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(100)
        if asked == b"wait":
            await asyncio.wait(
                {asyncio.create_task(reader.read()), asyncio.create_task(forever.wait())}, return_when="FIRST_COMPLETED"
            )
        else:
            writer.write(BIG if asked == b"big" else asked.upper())
        writer.close()

    listening = await asyncio.start_server(serve, HOST, 0)
    yield listening.sockets[0].getsockname()[1]
    forever.set()
    listening.close()


async def ask(port: int, text: bytes) -> bytes:
    """Say something, and read to the end."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(text)
    answer = await reader.read()
    writer.close()
    return answer


async def test_what_passes_is_passed_and_written_down(tap: ModuleType, server: int) -> None:
    """Both directions, to the last byte; of much only the beginning is kept."""
    wire = tap.Tap(server)
    port = await wire.start()
    assert await ask(port, b"hello") == b"HELLO"
    assert await ask(port, b"big") == BIG
    await wire.close()
    small, large = wire.records
    assert [(piece.is_up, piece.kept) for piece in small.pieces] == [(True, b"hello"), (False, b"HELLO")]
    assert (large.up_bytes, large.down_bytes) == (3, len(BIG))
    assert sum(len(piece.kept) for piece in large.pieces if not piece.is_up) == tap.KEPT_BYTES
    assert small.ended_by == "server"


async def test_a_cut_by_bytes_befalls_the_first_connection_only(tap: ModuleType, server: int) -> None:
    """The repeat is not cut."""
    wire = tap.Tap(server, cut_after_bytes=300_000)
    port = await wire.start()
    first = await ask(port, b"big")
    assert 300_000 < len(first) < len(BIG)
    assert await ask(port, b"big") == BIG
    await wire.close()
    assert [record.ended_by for record in wire.records] == ["cut", "server"]


async def test_a_cut_by_time_ends_the_silence(tap: ModuleType, server: int) -> None:
    """Nothing was said, and the connection ends."""
    wire = tap.Tap(server, cut_after_s=0.05)
    port = await wire.start()
    assert await ask(port, b"wait") == b""
    await wire.close()
    assert wire.records[0].ended_by == "cut"
    assert wire.records[0].ended_s >= 0.05 - 0.001


async def test_closing_ends_what_is_open(tap: ModuleType, server: int) -> None:
    """A client that waits is not left waiting."""
    wire = tap.Tap(server)
    port = await wire.start()
    waiting = asyncio.create_task(ask(port, b"wait"))
    while not (wire.records and wire.records[0].up_bytes):
        await asyncio.sleep(0)
    await wire.close()
    await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), 5.0)
    assert waiting.done()
