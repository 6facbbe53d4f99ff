"""Whom a batch takes for a holdfast: only of one it may ask again for what may have been paid."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.cli.api_key import ApiKey
from holdfast.cli.batch_asking import ClientAsker

EMPTY = b'{"object":"list","data":[],"has_more":false,"first_id":null,"last_id":null}'
MARK = b"x-request-id: req_01KB000000000000000000000Z\r\n"


@pytest.mark.parametrize(
    ("more", "document", "remembers"),
    [(MARK, EMPTY, True), (b"", EMPTY, False), (b"", b'{"object":"list","data":[]}', False), (b"", b"{}", False)],
    ids=["holdfast", "empty_list", "another_list", "another_document"],
)
async def test_a_relay_that_answers_every_path_is_no_holdfast(more: bytes, document: bytes, remembers: bool) -> None:
    """Some answer 200 to whatever is asked; that keeps no batch from them, and is no leave to buy again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n" + more
            writer.write(head + b"content-length: %d\r\n\r\n" % len(document) + document)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            # It was asked whether it listens, and nothing else.
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        key = ApiKey(value="")
        async with ClientAsker(base_url=f"http://127.0.0.1:{port}/v1", key=key, network="intranet", inputs=()) as asker:
            assert await asker.remembers() is remembers
