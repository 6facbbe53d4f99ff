"""Sending a reply, whole or with a fault, in pieces that are never copied: memory is a few of them, whatever the body.

The strategy: a reply is a head and parts that are due at shares of the wait. Faults of the text change the pieces of a
picture (`_spoilt`); faults of the way change what is done with the pieces (`Sender`).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from itertools import chain
from math import inf

import pybase64

from holdfast.simulator.connection import Connection
from holdfast.simulator.faults import Fault
from holdfast.simulator.pictures import Encoded
from holdfast.simulator.plan import Plan
from holdfast.simulator.replies import Reply, Timed
from holdfast.wire.template import Slot

PIECE_BYTES = 262_144
DRIP_EVERY_S = 1.0
DRIP_PIECES = 20
DRIP_PAUSE_S = 0.25
RESET_AFTER_S = 0.05
"""RST overtakes what the receiver has not read: it is given a moment to arrive."""
NOT_AN_IMAGE = b"This is not an image, whatever the label says.\n" * 20

_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_HALVED = frozenset({Fault.STALL_BODY, Fault.RESET_BODY, Fault.TRUNCATE})
_NO_LENGTH = frozenset({Fault.DRIP, Fault.GZIP, Fault.UNTERMINATED})

Pieces = Iterator[bytes | memoryview]


def _spoilt(fault: Fault | None, picture: Encoded) -> tuple[int, Callable[[], Pieces]]:
    """Give the length of a picture's text, and its pieces, as a fault wants them."""
    match fault:
        case Fault.BAD_BASE64:
            # Of the same length: what is wrong is found only by decoding.
            return picture.text_bytes, lambda: chain([b"*#*#"], picture.pieces(4))
        case Fault.URL_SAFE:
            return picture.text_bytes, lambda: _url_safe(picture)
        case Fault.NOT_IMAGE:
            text = pybase64.b64encode(NOT_AN_IMAGE)
            return len(text), lambda: iter([text])
        case Fault.CUT_IMAGE:
            half = picture.text_bytes // 8 * 4
            return half, lambda: clipped(picture.pieces(0), half)
        case _:
            return picture.text_bytes, lambda: picture.pieces(0)


def clipped(pieces: Pieces, bytes_max: int) -> Pieces:
    """Give pieces up to a number of bytes."""
    for piece in pieces:
        if bytes_max <= 0:
            return
        yield piece if len(piece) <= bytes_max else memoryview(piece)[:bytes_max]
        bytes_max -= len(piece)


def cut_up(pieces: Pieces, piece_bytes: int) -> Pieces:
    """Give the same bytes in pieces of at most so many, without copying them."""
    for piece in pieces:
        if len(piece) <= piece_bytes:
            yield piece
            continue
        view = memoryview(piece)
        for at in range(0, len(view), piece_bytes):
            yield view[at : at + piece_bytes]


def _url_safe(picture: Encoded) -> Pieces:
    for piece in cut_up(picture.pieces(0), PIECE_BYTES):
        yield bytes(piece).translate(_TO_URL_SAFE)


class Body:
    """The bytes of a reply, as its fault wants them, one part after the other."""

    def __init__(self, pictures: Mapping[int, Encoded], fault: Fault | None) -> None:
        texts = {slot: _spoilt(fault, picture) for slot, picture in pictures.items()}
        self._pieces = {slot: pieces for slot, (_, pieces) in texts.items()}
        self._lengths = {slot: length for slot, (length, _) in texts.items()}

    def length(self, parts: Iterable[Timed]) -> int:
        """Count the bytes of some parts."""
        return sum(
            self._lengths[piece.index] if isinstance(piece, Slot) else len(piece)
            for part in parts
            for piece in part.template
        )

    def pieces(self, parts: Iterable[Timed]) -> Pieces:
        """Give the bytes of some parts."""
        for part in parts:
            for piece in part.template:
                if isinstance(piece, Slot):
                    yield from self._pieces[piece.index]()
                else:
                    yield piece


class Sender:
    """Sends one reply on one connection."""

    def __init__(self, connection: Connection, *, speed: float, fault: Fault | None) -> None:
        self._connection = connection
        self._speed = speed
        self._fault = fault
        self._is_stream = False

    def __repr__(self) -> str:
        return f"<Sender {self._fault} on {self._connection!r}>"

    async def send(
        self, plan: Plan, *, ended: asyncio.Future[None], pictures: asyncio.Future[Mapping[int, Encoded]]
    ) -> None:
        """Send an answer from its head to its end, each part when it is due.

        Args:
            plan: What was decided.
            ended: Done when the generation has ended and was charged.
            pictures: The reply's, once they are ready.

        Raises:
            CallerGone: There is nobody left.
        """
        reply, loop = plan.reply, asyncio.get_running_loop()
        began_at_s = loop.time()
        deadline_s = plan.deadline_s if plan.deadline_s is not None else inf
        has_head = reply.is_stream or self._fault is Fault.DRIP
        if has_head:
            self._begin(reply, None)
        # What is compressed is compressed as a whole.
        early = [part for part in reply.parts if part.share < 1.0 and self._fault is not Fault.GZIP]
        for part in early:
            due_s = part.share * plan.wait_s
            await self._pause(began_at_s + min(due_s, deadline_s))
            if due_s > deadline_s:
                break
            await self._write(Body(await pictures, None).pieces([part]))
        if deadline_s < plan.wait_s:
            await self._pause(began_at_s + deadline_s)
            await self._give_up(plan, has_head=has_head)
            return
        await self._pause(began_at_s + plan.wait_s)
        await ended
        body = Body(await pictures, self._fault)
        due = reply.parts[len(early) :]
        length = body.length(due)
        if not has_head:
            self._begin(reply, length)
        await self._finish(body.pieces(due), length)

    async def _pause(self, until_s: float) -> None:
        """Wait for a time of the loop's clock, in white space where the fault wants it."""
        loop = asyncio.get_running_loop()
        while (left_s := until_s - loop.time()) > 0.0:
            if self._fault is not Fault.DRIP:
                await asyncio.sleep(left_s)
                return
            await self._connection.write(b"\r\n" if self._is_stream else b" ")
            await asyncio.sleep(min(left_s, DRIP_EVERY_S / self._speed))

    async def _give_up(self, plan: Plan, *, has_head: bool) -> None:
        """Say that it took too long."""
        assert plan.too_late is not None
        assert plan.too_late_event is not None
        if has_head:
            await self._write(Body({}, None).pieces([Timed(share=1.0, template=plan.too_late_event)]))
        else:
            body = Body({}, None)
            self._begin(plan.too_late, body.length(plan.too_late.parts))
            await self._write(body.pieces(plan.too_late.parts))
        self._connection.end()
        self._connection.answered()

    def _begin(self, reply: Reply, length: int | None) -> None:
        headers = reply.headers
        if self._fault is Fault.GZIP:
            headers = (*headers, ("content-encoding", "gzip"))
        self._is_stream = reply.is_stream
        self._connection.begin(
            reply.status,
            reply.content_type,
            headers=headers,
            length=None if self._fault in _NO_LENGTH else length,
            is_chunked=reply.is_chunked,
        )

    async def _write(self, pieces: Pieces) -> None:
        for piece in cut_up(pieces, PIECE_BYTES):
            await self._connection.write(piece)

    async def _finish(self, pieces: Pieces, bytes_left: int) -> None:
        """Write the rest of the body, and end it, as the fault wants."""
        connection = self._connection
        if self._fault in _HALVED:
            pieces = clipped(pieces, bytes_left // 2)
        if self._fault is Fault.GZIP:
            async for packed in _gzipped(pieces):
                await connection.write(packed)
        else:
            pause_s = DRIP_PAUSE_S / self._speed if self._fault is Fault.DRIP else 0.0
            piece_bytes = max(1, bytes_left // DRIP_PIECES) if pause_s else PIECE_BYTES
            for piece in cut_up(pieces, piece_bytes):
                await connection.write(piece)
                if pause_s:
                    await asyncio.sleep(pause_s)
        await self._end()

    async def _end(self) -> None:
        connection = self._connection
        match self._fault:
            case Fault.STALL_BODY | Fault.UNTERMINATED:
                await connection.wait_gone()
            case Fault.RESET_BODY:
                await connection.flushed()
                await asyncio.sleep(RESET_AFTER_S)
                connection.reset()
            case Fault.TRUNCATE:
                connection.close()
            case _:
                connection.end()
                connection.answered()


async def _gzipped(pieces: Pieces) -> AsyncIterator[bytes]:
    """Compress in a thread: 27 MB take most of a second."""
    loop = asyncio.get_running_loop()
    packer = zlib.compressobj(1, wbits=31)
    for piece in cut_up(pieces, PIECE_BYTES):
        packed = await loop.run_in_executor(None, packer.compress, piece)
        if packed:
            yield packed
    yield packer.flush()
