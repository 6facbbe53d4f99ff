"""Following a generation ends with whoever follows it: nothing stays open behind him."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import httpx2

import holdfast

EVENT = (
    b'id: 1\nevent: generation.queued\ndata: {"id":"gen_1","type":"generation.queued","status":"queued",'
    b'"sequence_number":1,"at":"2026-11-24T12:00:00.000Z"}\n\n'
)


class Endless(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """Events without an end; it notes that it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield EVENT

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield EVENT

    async def aclose(self) -> None:
        """Note it."""
        self.is_closed = True

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class Server(httpx2.AsyncBaseTransport, httpx2.BaseTransport):
    """Answers with events."""

    def __init__(self) -> None:
        self.body = Endless()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Begin them."""
        return self.handle_request(request)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Begin them."""
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=self.body)


async def test_who_leaves_closes_the_connection_asyncio() -> None:
    """By the time that he has left, and not when something is collected later."""
    server = Server()
    client = holdfast.AsyncClient("http://127.0.0.1:1/v1", "sk-x", transport=server)
    async with aclosing(client.generations.events("gen_1")) as events:
        async for event in events:
            assert event.status == "queued"
            break
    assert server.body.is_closed


def test_who_leaves_closes_the_connection() -> None:
    """The same for threads."""
    server = Server()
    client = holdfast.Client("http://127.0.0.1:1/v1", "sk-x", transport=server)
    events = client.generations.events("gen_1")
    assert next(events).status == "queued"
    events.close()
    assert server.body.is_closed
