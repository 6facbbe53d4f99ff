"""A caller that says anything, and sees every byte of what comes back and how the connection ended."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

QUIET_S = 0.06
"""Behind a whole answer on a connection that stays open: a second answer would have come by then."""
WITHIN_S = 8.0
"""Whatever is sent, it is over by then."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer."""

    status: int
    head: bytes
    body: bytes


@dataclass(slots=True)
class Seen:
    """What came back."""

    raw: bytes = b""
    is_closed: bool = False
    """The other side ended the connection, in whatever way."""
    is_over: bool = True
    """It did, or it fell silent behind a whole answer."""
    took_s: float = 0.0
    answers: list[Heard] = field(default_factory=list)
    informed: list[int] = field(default_factory=list)
    """1xx."""
    rest: bytes = b""
    """What is no answer."""


def answers_of(raw: bytes, *, is_closed: bool) -> tuple[list[Heard], bytes]:
    """Split what came into answers, and what is none of them, or not yet."""
    found: list[Heard] = []
    at = 0
    while True:
        end = raw.find(b"\r\n\r\n", at)
        if end < 0 or not raw.startswith(b"HTTP/1.", at):
            return found, raw[at:]
        head, start = raw[at:end], end + 4
        status = int(head[9:12])
        if (length := _LENGTH.search(head)) is not None:
            stop = start + int(length[1])
        elif status < 200 or status in (204, 304):
            stop = start
        elif _CHUNKED.search(head) is not None:
            last = raw.find(b"0\r\n\r\n", start)
            stop = last + 5 if last >= 0 else len(raw) + 1
        else:
            stop = len(raw) if is_closed else len(raw) + 1
        if stop > len(raw):
            return found, raw[at:]
        found.append(Heard(status, head, raw[start:stop]))
        at = stop


async def play(port: int, pieces: Sequence[bytes | float], *, half_closes: bool = False) -> Seen:
    """Send pieces over a connection of their own, and listen until it is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    sending = asyncio.create_task(_send(writer, pieces, half_closes))
    seen = Seen()
    try:
        async with asyncio.timeout(WITHIN_S):
            await _listen(reader, sending, seen)
    except TimeoutError:
        seen.is_over = False
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        writer.transport.abort()
    seen.took_s = time.monotonic() - began
    heard, seen.rest = answers_of(seen.raw, is_closed=seen.is_closed)
    seen.answers = [each for each in heard if each.status >= 200]
    seen.informed = [each.status for each in heard if each.status < 200]
    return seen


async def _listen(reader: asyncio.StreamReader, sending: asyncio.Task[None], seen: Seen) -> None:
    while True:
        heard, rest = answers_of(seen.raw, is_closed=False)
        is_answered = any(each.status >= 200 for each in heard) and not rest and sending.done()
        try:
            async with asyncio.timeout(QUIET_S if is_answered else 0.05 if not sending.done() else None):
                piece = await reader.read(65536)
        except TimeoutError:
            if is_answered:
                return
            continue
        except ConnectionError:
            piece = b""
        if not piece:
            seen.is_closed = True
            return
        seen.raw += piece


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[bytes | float], half_closes: bool) -> None:
    # Whoever has refused what came first has closed; what it said is still to be read.
    with contextlib.suppress(ConnectionError, RuntimeError):
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)
        if half_closes:
            writer.write_eof()
