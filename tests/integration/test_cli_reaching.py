"""One small question of a command, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.reaching import reach
from holdfast.providers.http import HttpRequest


def a_request(port: int) -> HttpRequest:
    """Ask for something."""
    return HttpRequest(
        method="GET", url=f"http://127.0.0.1:{port}/x", headers=(("Accept", "application/json"),), body=()
    )


@contextlib.asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[int]:
    """Answer every request with the same bytes, and hang up."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("status", [200, 404])
async def test_status_and_body_come_whole(status: int) -> None:
    """Whatever the status is: the command knows what to make of it."""
    async with serving(b"HTTP/1.1 %d Said\r\nContent-Length: 5\r\n\r\nhello" % status) as port:
        assert await reach("it", a_request(port)) == (status, b"hello")


async def test_nobody_is_told_with_what_to_do() -> None:
    """By the name that the caller knows."""
    async with serving(b"") as port:
        pass
    with pytest.raises(Stop) as caught:
        await reach("http://the-gateway", a_request(port))
    assert caught.value.code is Exit.UNREACHABLE
    assert caught.value.message.startswith("http://the-gateway cannot be reached: ")
    assert caught.value.message.endswith("Is holdfast serve running there?")
