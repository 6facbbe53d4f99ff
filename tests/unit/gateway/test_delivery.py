"""Whether the last byte of an answer arrived, told by the send queue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.gateway.delivery import POLL_FIRST_S, POLL_MAX_S, finish_and_confirm, last_byte_acknowledged


def test_it_waits_until_the_queue_is_empty(a_caller: Any, in_jumped_time: Any) -> None:
    """27 MB in flight take their time; arrived is what the peer's kernel acknowledged."""
    caller = a_caller()
    caller.protocol.unacknowledged = [3_000_000, 100_000, 1, 0]

    async def main() -> tuple[bool, float]:
        began = asyncio.get_running_loop().time()
        arrived = await last_byte_acknowledged(caller.call(), within_s=120.0)
        return arrived, asyncio.get_running_loop().time() - began

    arrived, took_s = in_jumped_time(main())
    assert arrived
    assert took_s == pytest.approx(POLL_FIRST_S * (1 + 2 + 4), rel=0.01)


def test_it_asks_ever_more_rarely_and_gives_up_in_time(a_caller: Any, in_jumped_time: Any) -> None:
    """A reader that stopped must not be polled 200 times a second for two minutes."""
    caller = a_caller()
    asked_at: list[float] = []

    def never() -> int:
        asked_at.append(asyncio.get_running_loop().time())
        return 5

    caller.protocol.unacknowledged_bytes = never

    async def main() -> bool:
        return await last_byte_acknowledged(caller.call(), within_s=10.0)

    assert in_jumped_time(main()) is False
    assert len(asked_at) < 10.0 / POLL_MAX_S + 10
    assert asked_at[-1] - asked_at[0] == pytest.approx(10.0, abs=POLL_MAX_S)


def test_a_caller_that_leaves_did_not_get_it(a_caller: Any, in_jumped_time: Any) -> None:
    """Bytes that were never acknowledged are not delivered."""
    caller = a_caller()
    caller.protocol.unacknowledged = [9, 9, None]
    assert in_jumped_time(_ask(caller)) is False


@pytest.mark.parametrize(
    ("scheme", "seen", "arrived"),
    [
        ("http", [0, None], True),
        ("https", [0, None], False),
        ("https", [0, 0], True),
        ("https", [0, 7, 0, None], False),
    ],
)
def test_under_tls_an_empty_queue_must_be_seen_twice(
    a_caller: Any, in_jumped_time: Any, scheme: str, seen: list[int | None], arrived: bool
) -> None:
    """A TLS transport keeps a buffer of its own before the socket's."""
    caller = a_caller(scheme=scheme)
    caller.protocol.unacknowledged = seen
    assert in_jumped_time(_ask(caller)) is arrived


async def _ask(caller: Any) -> bool:
    return await last_byte_acknowledged(caller.call(), within_s=10.0)


async def test_the_end_is_sent_before_it_is_asked_for(a_caller: Any) -> None:
    """A kept connection stays open and as it was."""
    caller = a_caller()
    call = caller.call()
    await call.start(200, [(b"content-length", b"0")])
    assert await finish_and_confirm(call, within_s=1.0)
    assert caller.is_answered
    assert not caller.protocol.transport.is_closed
    assert caller.protocol.cycle.keep_alive is True


async def test_a_closing_connection_is_kept_until_the_last_byte_is_acknowledged(a_caller: Any) -> None:
    """uvicorn would close it inside the last send, with megabytes in flight and nobody left to ask."""
    caller = a_caller()
    call = caller.call()
    caller.protocol.cycle.keep_alive = False
    during: list[bool] = []
    caller.on_write = lambda: during.append(caller.protocol.cycle.keep_alive)
    await call.start(200, [(b"content-length", b"0")])
    assert await finish_and_confirm(call, within_s=1.0)
    assert during == [True]
    assert caller.protocol.transport.is_closed
    assert not caller.protocol.transport.has_written_eof


@pytest.mark.parametrize(("scheme", "has_eof"), [("http", True), ("https", False)])
async def test_the_end_of_a_close_delimited_body_is_said_at_once(a_caller: Any, scheme: str, has_eof: bool) -> None:
    """An HTTP/1.0 caller waits for the end of the stream; TLS has no half-close."""
    caller = a_caller(http_version="1.0", scheme=scheme)
    call = caller.call()
    caller.protocol.cycle.keep_alive = False
    await call.start(200, [])
    assert await finish_and_confirm(call, within_s=1.0)
    assert caller.protocol.is_close_delimited
    assert caller.protocol.transport.has_written_eof is has_eof
    assert caller.protocol.transport.is_closed


async def test_a_caller_that_left_is_not_closed_again(a_caller: Any) -> None:
    """Nothing is said on a connection that is gone."""
    caller = a_caller(http_version="1.0")
    call = caller.call()
    caller.protocol.cycle.keep_alive = False
    await call.start(200, [])
    caller.protocol.transport.close()
    assert await finish_and_confirm(call, within_s=1.0) is False
    assert not caller.protocol.transport.has_written_eof
