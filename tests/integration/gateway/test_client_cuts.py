"""Whatever cuts the line, our own clients come home with the image, and it was bought once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Any

import pytest

import holdfast
from holdfast.client import defaults
from holdfast.simulator.path import Fate, Harm, Path

PROMPT = "a lighthouse in the fog, marker Qx7Zt"
NOISE_BYTES = 30_000
"""40,000 characters of base64: enough for cuts in its beginning, middle and end."""
WITHIN_S = 15.0


@pytest.fixture(autouse=True)
def _without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "RECONNECT_S_FIRST", 0.02)
    monkeypatch.setattr(defaults, "RECONNECT_S_MAX", 0.2)
    monkeypatch.setattr(defaults, "BACKOFF_S_FIRST", 0.05)


@asynccontextmanager
async def a_path(port: int, **options: Any) -> AsyncIterator[tuple[Path, str]]:
    """Put a path in front of a port; give it, and the base URL that leads through it."""
    path = Path("127.0.0.1", port, **options)
    at = await path.start("127.0.0.1", 0)
    try:
        yield path, f"http://127.0.0.1:{at}/v1"
    finally:
        await path.close()


def a_client(base_url: str, gateway: Any, **options: Any) -> holdfast.AsyncClient:
    """Make a client that goes that way."""
    return holdfast.AsyncClient(base_url, gateway.key, network="intranet", **options)


CUTS = [0, 1, 17, 150, 300, 700, 1_500, 4_000, 12_000, 25_000, 30_100, 38_000, 40_600]


@pytest.mark.parametrize("harm", [Harm.RESET, Harm.END])
@pytest.mark.parametrize("server", ["auto", "holdfast"])
async def test_a_cut_at_any_byte_costs_nothing(
    gateway: Any, upstream: Any, a_png: Callable[..., bytes], harm: Harm, server: Any
) -> None:
    """In the head, in the base64, in the file: the image arrives whole, one charge each, by whichever way."""
    # Known to be holdfast, it sends the file as it is: a quarter less.
    cuts = CUTS if server == "auto" else [cut for cut in CUTS if cut < NOISE_BYTES]
    for at, cut in enumerate(cuts):
        picture = a_png(noise_bytes=NOISE_BYTES)
        upstream.gives(picture)

        def fate_of(number: int, cut: int = cut) -> Fate | None:
            return Fate(harm=harm, after_bytes=cut) if number == 1 else None

        async with (
            a_path(gateway.port, fate_of=fate_of) as (path, base_url),
            a_client(base_url, gateway, server=server) as client,
        ):
            result = await asyncio.wait_for(client.images.generate(PROMPT), WITHIN_S)
            assert result[0].bytes == picture, cut
            assert path.accepted >= 2, cut
            assert client.server == "holdfast"
        assert len(upstream.asked) == at + 1, cut


async def test_a_file_goes_on_from_the_byte_at_which_it_broke(
    gateway: Any, upstream: Any, a_png: Callable[..., bytes], tmp_path: FilePath
) -> None:
    """A path that lets 64 KB through a connection delivers 500 KB all the same, into the file that was named."""
    picture = a_png(noise_bytes=500_000)
    upstream.gives(picture)
    cut = Fate(harm=Harm.RESET, after_bytes=65_536)
    async with (
        a_path(gateway.port, fate_of=lambda _: cut) as (path, base_url),
        a_client(base_url, gateway, server="holdfast") as client,
    ):
        result = await asyncio.wait_for(client.images.generate(PROMPT, save_to=tmp_path / "a.png"), WITHIN_S)
        assert (tmp_path / "a.png").read_bytes() == picture
        assert result[0].path == tmp_path / "a.png"
        assert 8 <= path.accepted <= 20
    assert len(upstream.asked) == 1


async def test_the_same_for_threads(gateway: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """The other shell does what the same call object says."""
    picture = a_png(noise_bytes=NOISE_BYTES)
    upstream.gives(picture)

    def work(base_url: str) -> bytes:
        with holdfast.Client(base_url, gateway.key, network="intranet") as client:
            return client.images.generate(PROMPT)[0].bytes

    fates = {1: Fate(harm=Harm.RESET, after_bytes=0), 2: Fate(harm=Harm.END, after_bytes=400)}
    async with a_path(gateway.port, fate_of=fates.get) as (_, base_url):
        assert await asyncio.to_thread(work, base_url) == picture
    assert len(upstream.asked) == 1


async def test_an_idle_timer_on_the_way_never_fires(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No silence is longer than the wait, so a hop that cuts after more than that has nothing to cut."""
    monkeypatch.setattr(defaults, "WAIT_S", 1.0)
    upstream.gate.clear()
    async with a_path(gateway.port, idle_s=2.0) as (path, base_url), a_client(base_url, gateway) as client:
        call = asyncio.create_task(client.images.generate(PROMPT))
        await upstream.was_asked()
        done, _ = await asyncio.wait([call], timeout=3.5)
        assert not done
        upstream.gate.set()
        assert (await asyncio.wait_for(call, WITHIN_S))[0].bytes == upstream.pictures[0]
        assert path.cuts == 0
    assert len(upstream.asked) == 1


async def test_a_gateway_that_restarts_in_mid_call_is_waited_for(
    start: Callable[..., Awaitable[Any]], upstream: Any, tmp_path: FilePath
) -> None:
    """The first one drains with the image stored; its successor in the same folder gives it."""
    first = await start(data=tmp_path / "kept")
    upstream.gate.clear()
    async with a_path(first.port) as (path, base_url), a_client(base_url, first) as client:
        call = asyncio.create_task(client.images.generate(PROMPT))
        await upstream.was_asked()
        stopping = asyncio.create_task(first.stop())
        await asyncio.sleep(0.1)
        upstream.gate.set()
        assert await stopping == 0
        second = await start(data=tmp_path / "kept", key=first.key)
        path.to_port = second.port
        assert (await asyncio.wait_for(call, WITHIN_S))[0].bytes == upstream.pictures[0]
    assert len(upstream.asked) == 1


async def test_a_gateway_that_is_gone_for_a_while_is_waited_for(
    start: Callable[..., Awaitable[Any]], upstream: Any, tmp_path: FilePath
) -> None:
    """Cut while it draws, then nobody listens, then the successor does: it is asked what became of the call."""
    first = await start(data=tmp_path / "kept")
    upstream.gate.clear()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with a_path(first.port) as (path, base_url), a_client(base_url, first) as client:
            call = asyncio.create_task(client.images.generate(PROMPT))
            await upstream.was_asked()
            path.to_port = nobody.getsockname()[1]
            for pair in tuple(path._pairs):
                pair.near.transport.abort()
            await asyncio.sleep(0.5)
            assert not call.done()
            upstream.gate.set()
            assert await first.stop() == 0
            second = await start(data=tmp_path / "kept", key=first.key)
            path.to_port = second.port
            assert (await asyncio.wait_for(call, WITHIN_S))[0].bytes == upstream.pictures[0]
    assert len(upstream.asked) == 1


class Proxy:
    """A proxy that loses patience: the first calls get a page of its own, although they went through."""

    def __init__(self, port: int, *, status: int, times: int) -> None:
        self._port = port
        self._status = status
        self._left = times
        self._server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> str:
        """Listen; give the base URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def close(self) -> None:
        """Hang up."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        onward = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ),
                0,
            )
            body = await reader.readexactly(length)
            behind, onward = await asyncio.open_connection("127.0.0.1", self._port)
            onward.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
            answer = await behind.read(-1)
            if self._left > 0:
                self._left -= 1
                page = b"<html><h1>Bad Gateway</h1></html>"
                answer = (
                    f"HTTP/1.1 {self._status} Bad Gateway\r\nContent-Type: text/html\r\nConnection: close\r\n"
                    f"Content-Length: {len(page)}\r\n\r\n"
                ).encode() + page
            writer.write(answer)
            await writer.drain()
        finally:
            self.tasks.discard(task)
            for each in (writer, onward):
                if each is not None:
                    each.close()


@pytest.mark.parametrize("status", [502, 504, 520])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_proxy_that_answers_itself_is_asked_again_behind(
    gateway: Any, upstream: Any, status: int, times: int
) -> None:
    """A page of nginx's or Cloudflare's says nothing of the image: it is found by its key, and not bought again."""
    proxy = Proxy(gateway.port, status=status, times=times)
    base_url = await proxy.start()
    try:
        async with a_client(base_url, gateway) as client:
            result = await asyncio.wait_for(client.images.generate(PROMPT), WITHIN_S)
            assert result[0].bytes == upstream.pictures[0]
    finally:
        await proxy.close()
    assert len(upstream.asked) == 1


async def test_events_go_on_behind_the_last_that_was_seen(gateway: Any, upstream: Any) -> None:
    """A stream of events that is cut is taken up again, and nothing is told twice."""
    upstream.gate.clear()
    fates = {2: Fate(harm=Harm.RESET, after_bytes=700), 3: Fate(harm=Harm.END, after_bytes=200)}
    async with a_path(gateway.port, fate_of=fates.get) as (_, base_url), a_client(base_url, gateway) as client:
        made = await client.generations.create(PROMPT)
        await client.aclose()
    async with (
        a_path(gateway.port, fate_of=lambda n: fates.get(n + 1)) as (path, base_url),
        a_client(base_url, gateway) as client,
    ):
        seen: list[int] = []
        async for event in client.generations.events(made.id):
            seen.append(event.sequence_number)
            upstream.gate.set()
        assert seen == sorted(set(seen))
        assert path.accepted >= 2
    assert event.status == "succeeded"
