"""The body of a request on its way out: bytes and files as base64, under a deadline, with a proof of what has not left.

aiohttp keeps the head back and sends it with the first write of the body. So the first look at the connection, here,
decides: closing or gone means that nothing has left and nothing can be charged. From the first write on nobody can
know, until an answer comes. (aiohttp's own hooks and counters tell "sent" of bytes that were never written; measured.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, BinaryIO, cast

import aiohttp
import pybase64
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.payload import Payload

from holdfast.transport.sockets import narrow
from holdfast.wire.template import PIECE_BYTES, Slot, Template, length_of, slots_of


class RequestBody(Payload):
    """Writes a template and remembers how far it came."""

    def __init__(
        self, template: Template, *, inputs: Sequence[Path], size: int, write_s: float, readers: Executor
    ) -> None:
        super().__init__(None, content_type="application/json")
        self._template = template
        self._inputs = inputs
        self._size = size
        self._write_s = write_s
        self._readers = readers
        self.began_at: float | None = None
        """Loop time of the first write; None proves that not one byte has left."""
        self.ended_at: float | None = None
        """Loop time at which the last byte was handed over."""
        self.has_timed_out = False
        """The peer did not take the request within `write_s`."""
        self.local_error: OSError | None = None
        """An input file could not be read: our fault, not the upstream's."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: a body is a stream, and its text is nobody's business."""
        raise TypeError("a request body is written, never read back")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write everything (older entry point of aiohttp)."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write everything; `content_length` is our own `size` and needs no obeying."""
        stream = cast(StreamWriter, writer)
        transport = stream.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection closed before anything was written")
        narrow(transport)
        loop = asyncio.get_running_loop()
        self.began_at = loop.time()
        try:
            async with asyncio.timeout(self._write_s) as scope:
                async for piece in self._pieces():
                    await stream.write(piece)
        except TimeoutError:
            self.has_timed_out = scope.expired()
            raise
        finally:
            # Kept by aiohttp until the answer comes, minutes later: the prompt need not be.
            self._template = ()
        self.ended_at = loop.time()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for part in self._template:
            if isinstance(part, Slot):
                async for piece in self._encoded(self._inputs[part.index]):
                    yield piece
            elif part:
                yield part

    async def _encoded(self, path: Path) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        try:
            file = await loop.run_in_executor(self._readers, _open, path)
            try:
                while piece := await loop.run_in_executor(self._readers, _read_encoded, file):
                    yield piece
            finally:
                file.close()
        except OSError as error:
            # aiohttp would report it as a broken connection.
            self.local_error = error
            raise


def _open(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)


def _read_encoded(file: BinaryIO) -> bytes:
    raw = file.read(PIECE_BYTES)
    # A regular file reads short at its end only; elsewhere padding would end up amid the text.
    return pybase64.b64encode(raw) if raw else b""


def measure(template: Template, inputs: Sequence[Path]) -> int:
    """Give the Content-Length of a template; asks the file system, so in a worker thread when there are slots.

    Raises:
        OSError: An input file is missing.
    """
    return length_of(template, {index: inputs[index].stat().st_size for index in slots_of(template)})


async def request_body(template: Template, *, inputs: Sequence[Path], write_s: float, readers: Executor) -> RequestBody:
    """Prepare a body for `aiohttp.ClientSession.request(data=…)`."""
    if any(isinstance(part, Slot) for part in template):
        arguments: tuple[Any, ...] = (template, tuple(inputs))
        size = await asyncio.get_running_loop().run_in_executor(readers, measure, *arguments)
    else:
        size = measure(template, ())
    return RequestBody(template, inputs=inputs, size=size, write_s=write_s, readers=readers)
