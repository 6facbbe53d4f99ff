"""The path that misbehaves, between real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from holdfast.simulator.path import Fate, Harm, Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Ground:
    """A server at the far end, and paths to it."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []
        self.ends: list[str] = []
        """How connections ended for the server."""

    async def server(self, serve: Serve) -> int:
        """Start a server; return its port."""

        async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
                self.ends.append("done")
            except ConnectionResetError:
                self.ends.append("reset")
            except asyncio.IncompleteReadError:
                self.ends.append("fin")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        server = await asyncio.start_server(watched, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def path(self, to_port: int, **options: Any) -> tuple[Path, int]:
        """Start a path."""
        path = Path("127.0.0.1", to_port, **options)
        self._paths.append(path)
        return path, await path.start("127.0.0.1", 0)

    async def close(self) -> None:
        """End all."""
        for path in self._paths:
            await path.close()
        for server in self._servers:
            server.close()


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """What a test stands on."""
    made = Ground()
    yield made
    await made.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


def sending(count: int, *, then_wait: bool = False) -> Serve:
    """Send so many bytes as soon as something was asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        for at in range(0, count, 65_536):
            writer.write(bytes(min(65_536, count - at)))
            await writer.drain()
        if then_wait:
            await reader.readexactly(1)

    return serve


async def waiting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing, and see how it ends."""
    await reader.readexactly(1_000_000)


async def call(port: int, raw: bytes = b"x") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    return reader, writer


async def heard(reader: asyncio.StreamReader, *, quiet_s: float = 10.0) -> tuple[int, str]:
    """Read to the end: how many bytes, and how it ended."""
    count = 0
    try:
        while data := await asyncio.wait_for(reader.read(1 << 20), quiet_s):
            count += len(data)
    except ConnectionResetError:
        return count, "reset"
    except TimeoutError:
        return count, "open"
    return count, "fin"


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + 5.0
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come to be"
        await asyncio.sleep(0.01)


async def test_bytes_pass_unchanged_both_ways(ground: Ground) -> None:
    """Several megabytes of them."""
    path, port = await ground.path(await ground.server(echo))
    reader, writer = await call(port, b"")
    sent = bytes(range(256)) * 20_000

    async def write() -> None:
        writer.write(sent)
        await writer.drain()
        writer.write_eof()

    task = asyncio.ensure_future(write())
    assert await reader.read(-1) == sent
    await task
    writer.close()
    await until(lambda: path.open == 0)
    assert (path.accepted, path.cuts, path.resets) == (1, 0, 0)


async def test_a_half_closed_connection_still_answers(ground: Ground) -> None:
    """A caller may end its side and go on reading."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(-1)
        writer.write(asked.upper())

    _, port = await ground.path(await ground.server(serve))
    reader, writer = await call(port, b"hello")
    writer.write_eof()
    assert await reader.read(-1) == b"HELLO"
    writer.close()


async def test_what_is_said_at_once_is_not_lost(ground: Ground) -> None:
    """A caller may speak, and even end, before the far side is connected."""
    _, port = await ground.path(await ground.server(echo))
    for _ in range(20):
        reader, writer = await call(port, b"early")
        writer.write_eof()
        assert await reader.read(-1) == b"early"
        writer.close()


async def test_silence_is_cut_on_both_sides(ground: Ground) -> None:
    """After the time that was set, counted from the last byte, with FIN."""
    path, port = await ground.path(await ground.server(waiting), idle_s=0.3)
    began_s = time.monotonic()
    reader, writer = await call(port)
    assert await reader.read(-1) == b""
    assert 0.29 < time.monotonic() - began_s < 30.0
    await until(lambda: ground.ends == ["fin"])
    assert (path.cuts, path.open) == (1, 0)
    writer.close()


async def test_silence_may_be_reset(ground: Ground) -> None:
    """As some load balancers do: both sides get RST."""
    path, port = await ground.path(await ground.server(waiting), idle_s=0.2, idle_harm=Harm.RESET)
    reader, writer = await call(port)
    assert (await heard(reader))[1] == "reset"
    await until(lambda: ground.ends == ["reset"])
    assert (path.cuts, path.open) == (1, 0)
    writer.close()


async def test_silence_may_be_forgotten(ground: Ground) -> None:
    """As a NAT does: what is said afterwards goes nowhere, and nobody is told."""
    path, port = await ground.path(await ground.server(echo), idle_s=0.3, idle_harm=Harm.STALL)
    reader, writer = await call(port, b"early")
    assert await reader.readexactly(5) == b"early"
    await until(lambda: path.cuts == 1)
    writer.write(b"late")
    assert await heard(reader, quiet_s=0.5) == (0, "open")
    assert (path.cuts, path.open, ground.ends) == (1, 1, [])
    writer.close()
    await until(lambda: path.open == 0)


@pytest.mark.parametrize("speaker", ["caller", "server"])
async def test_a_byte_either_way_keeps_it_open(ground: Ground, speaker: str) -> None:
    """That is what heartbeats are for."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(6):
            await asyncio.sleep(0.2)
            if speaker == "server":
                writer.write(b" ")
        writer.write(b"answer")
        await reader.read(-1)

    path, port = await ground.path(await ground.server(serve), idle_s=0.8)
    reader, writer = await call(port)
    for _ in range(6):
        await asyncio.sleep(0.2)
        if speaker == "caller":
            writer.write(b" ")
    assert (await asyncio.wait_for(reader.readuntil(b"answer"), 10)).strip() == b"answer"
    assert path.cuts == 0
    writer.close()


async def test_one_that_never_speaks_is_cut_as_well(ground: Ground) -> None:
    """From the moment it connected."""
    path, port = await ground.path(await ground.server(waiting), idle_s=0.2)
    reader, writer = await call(port, b"")
    assert await reader.read(-1) == b""
    assert path.cuts == 1
    writer.close()


async def test_without_an_idle_timer_silence_lasts(ground: Ground) -> None:
    """Not every path cuts."""
    path, port = await ground.path(await ground.server(waiting))
    reader, writer = await call(port)
    assert await heard(reader, quiet_s=0.5) == (0, "open")
    assert path.cuts == 0
    writer.close()


async def test_options_change_while_it_runs(ground: Ground) -> None:
    """For connections that are open, too."""
    path, port = await ground.path(await ground.server(echo))
    reader, writer = await call(port, b"one")
    assert await reader.readexactly(3) == b"one"
    path.idle_s = 0.2
    writer.write(b"two")
    assert await reader.readexactly(3) == b"two"
    assert await reader.read(-1) == b""
    assert path.cuts == 1
    writer.close()
    path.idle_s = None
    path.reset_after_bytes = 2
    reader, writer = await call(port, b"three")
    assert (await heard(reader))[1] == "reset"
    writer.close()


@pytest.mark.parametrize("limit", [0, 1, 100_000, 1_000_000])
async def test_a_body_is_truncated_at_the_byte(ground: Ground, limit: int) -> None:
    """With FIN, exactly there."""
    path, port = await ground.path(await ground.server(sending(2_000_000)), truncate_after_bytes=limit)
    reader, writer = await call(port)
    assert await heard(reader) == (limit, "fin")
    assert (path.truncations, path.resets) == (1, 0)
    await until(lambda: len(ground.ends) == 1)
    writer.close()


@pytest.mark.parametrize("limit", [1, 100_000])
async def test_a_body_is_reset(ground: Ground, limit: int) -> None:
    """Both sides see a reset, and no more bytes than were let through."""
    path, port = await ground.path(await ground.server(sending(20_000_000)), reset_after_bytes=limit)
    reader, writer = await call(port)
    count, end = await heard(reader)
    assert end == "reset"
    assert count <= limit
    await until(lambda: ground.ends == ["reset"])
    assert (path.resets, path.truncations) == (1, 0)
    writer.close()


async def test_a_body_stalls_and_the_server_is_held_back(ground: Ground) -> None:
    """Nobody is told; the server's bytes pile up in front of the path, not within it."""
    path, port = await ground.path(await ground.server(sending(50_000_000)), stall_after_bytes=100_000)
    reader, writer = await call(port)
    assert await heard(reader, quiet_s=0.5) == (100_000, "open")
    assert ground.ends == []
    assert path.stalls == 1
    # The caller gives up, and only that ends it.
    writer.close()
    await until(lambda: path.open == 0)
    await until(lambda: len(ground.ends) == 1)


async def test_the_least_limit_counts(ground: Ground) -> None:
    """When several are set."""
    _, port = await ground.path(
        await ground.server(sending(2_000_000)), truncate_after_bytes=50_000, reset_after_bytes=60_000
    )
    reader, writer = await call(port)
    assert await heard(reader) == (50_000, "fin")
    writer.close()


async def test_a_limit_that_is_not_reached_does_nothing(ground: Ground) -> None:
    """Only what comes from the server counts."""
    _, port = await ground.path(await ground.server(echo), truncate_after_bytes=100)
    reader, writer = await call(port, b"x" * 99)
    assert await reader.readexactly(99) == b"x" * 99
    writer.close()


async def test_a_delay_is_added_each_way(ground: Ground) -> None:
    """In order, the end behind the bytes."""
    _, port = await ground.path(await ground.server(echo), delay_s=0.15)
    began_s = time.monotonic()
    reader, writer = await call(port, b"one")
    await asyncio.sleep(0.02)
    writer.write(b"two")
    writer.write_eof()
    assert await reader.read(-1) == b"onetwo"
    assert time.monotonic() - began_s > 0.3
    writer.close()


async def test_a_delayed_flood_is_held_back(ground: Ground) -> None:
    """Waiting bytes are bounded, and all arrive."""
    _, port = await ground.path(await ground.server(sending(3_000_000)), delay_s=0.02)
    reader, writer = await call(port)
    assert await heard(reader) == (3_000_000, "fin")
    writer.close()


async def test_a_reset_of_the_server_is_passed_on(ground: Ground) -> None:
    """As a reset, not as an end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    path, port = await ground.path(await ground.server(serve))
    reader, writer = await call(port)
    assert (await heard(reader))[1] == "reset"
    assert path.open == 0
    writer.close()


async def test_who_hangs_up_frees_the_server(ground: Ground) -> None:
    """A path holds nothing open by itself."""
    path, port = await ground.path(await ground.server(waiting))
    _, writer = await call(port)
    await until(lambda: path.open == 1)
    writer.transport.abort()
    await until(lambda: path.open == 0 and len(ground.ends) == 1)


async def test_a_server_that_is_not_there_is_a_reset(ground: Ground) -> None:
    """To the caller the path is what failed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        path, port = await ground.path(taken.getsockname()[1])
        reader, writer = await call(port)
        assert (await heard(reader))[1] == "reset"
    assert path.open == 0
    writer.close()


async def test_too_many_connections_are_reset(ground: Ground) -> None:
    """Bounded like everything else."""
    path, port = await ground.path(await ground.server(echo), connections_max=1)
    _, first = await call(port)
    await until(lambda: path.open == 1)
    reader, second = await call(port)
    assert (await heard(reader))[1] == "reset"
    assert path.open == 1
    for writer in (first, second):
        writer.close()


async def test_a_slow_reader_costs_no_memory(ground: Ground) -> None:
    """A hundred megabytes wait in the server, not in the path."""
    path, port = await ground.path(await ground.server(sending(100_000_000)))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
    writer.write(b"x")
    await asyncio.sleep(0.5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 40_000
    assert (await heard(reader))[0] == 100_000_000
    assert repr(path).startswith(f"<Path to 127.0.0.1:{path.to_port} open=")
    writer.close()


async def test_closing_drops_what_is_open(ground: Ground) -> None:
    """And can be done twice."""
    path, port = await ground.path(await ground.server(echo))
    reader, writer = await call(port)
    assert await reader.readexactly(1) == b"x"
    await path.close()
    assert await reader.read(-1) == b""
    await path.close()
    with pytest.raises(ConnectionRefusedError):
        await call(port)
    writer.close()


async def test_a_taken_port_is_an_os_error(ground: Ground) -> None:
    """As for a server."""
    _, port = await ground.path(1)
    with pytest.raises(OSError, match="in use"):
        await Path("127.0.0.1", 1).start("127.0.0.1", port)


@pytest.mark.parametrize(
    ("harm", "ending", "server_sees"),
    [(Harm.RESET, "reset", "reset"), (Harm.END, "fin", "fin"), (Harm.STALL, "open", "")],
)
async def test_the_fate_of_a_connection_comes_after_so_many_seconds(
    ground: Ground, harm: Harm, ending: str, server_sees: str
) -> None:
    """Both sides learn of it, or neither does."""
    path, port = await ground.path(await ground.server(waiting), fate_of=lambda _: Fate(harm=harm, after_s=0.1))
    began_at = time.monotonic()
    reader, writer = await call(port)
    assert (await heard(reader, quiet_s=1.0))[1] == ending
    # Timers of a loop count in milliseconds.
    assert time.monotonic() - began_at >= 0.099
    assert {Harm.RESET: path.resets, Harm.END: path.truncations, Harm.STALL: path.stalls}[harm] == 1
    writer.close()
    await until(lambda: path.open == 0 and len(ground.ends) == 1)
    assert server_sees in ground.ends[0]


@pytest.mark.parametrize("harm", list(Harm))
async def test_the_fate_of_a_connection_comes_after_so_many_bytes(ground: Ground, harm: Harm) -> None:
    """To the byte, where it ends orderly; the clock that was also set does not strike a second time."""
    fate = Fate(harm=harm, after_bytes=100_000, after_s=0.3)
    path, port = await ground.path(await ground.server(sending(500_000, then_wait=True)), fate_of=lambda _: fate)
    reader, writer = await call(port)
    count, ending = await heard(reader, quiet_s=0.5)
    assert ending == {Harm.RESET: "reset", Harm.END: "fin", Harm.STALL: "open"}[harm]
    # What had not been read when the RST came is lost with it.
    assert count <= 100_000 if harm is Harm.RESET else count == 100_000
    assert path.resets + path.truncations + path.stalls == 1
    writer.close()


async def test_each_connection_has_a_fate_of_its_own(ground: Ground) -> None:
    """They are counted from 1, and most are spared."""
    told: list[int] = []

    def fate_of(number: int) -> Fate | None:
        told.append(number)
        return Fate(harm=Harm.RESET, after_s=0.0) if number == 2 else None

    _, port = await ground.path(await ground.server(echo), fate_of=fate_of)
    spared, first = await call(port)
    assert await spared.readexactly(1) == b"x"
    hurt, second = await call(port)
    assert (await heard(hurt))[1] == "reset"
    last, third = await call(port)
    assert await last.readexactly(1) == b"x"
    first.write(b"y")
    assert await spared.readexactly(1) == b"y"
    assert told == [1, 2, 3]
    for writer in (first, second, third):
        writer.close()


async def test_a_connection_that_ends_before_its_fate_is_not_counted(ground: Ground) -> None:
    """And nothing is left behind that would strike later."""
    path, port = await ground.path(await ground.server(echo), fate_of=lambda _: Fate(harm=Harm.RESET, after_s=0.2))
    reader, writer = await call(port)
    assert await reader.readexactly(1) == b"x"
    writer.close()
    await until(lambda: path.open == 0)
    await asyncio.sleep(0.3)
    assert path.resets == 0
