"""A request on its way out: head, bytes and files (as they are or as base64), and a proof of what has not left.

The first look at the connection decides: closing or gone means that nothing has left and nothing can be charged. From
the first write on nobody can know, until an answer comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pybase64

from holdfast import __version__
from holdfast.providers.http import HttpRequest
from holdfast.transport.connection import Connection
from holdfast.wire.template import PIECE_BYTES, Slot, Template, length_of, slots_of

_UNFIT = ("\r", "\n", "\0")
_IN_PATH = "%/:@!$&'()*+,;=~-._"


class RequestBody:
    """Writes a request and remembers how far it came."""

    __slots__ = ("_inputs", "_readers", "_template", "began_at", "ended_at", "size")

    def __init__(self, template: Template, *, inputs: Sequence[Path], size: int, readers: Executor) -> None:
        self._template = template
        self._inputs = inputs
        self._readers = readers
        self.size = size
        """Bytes on the wire: the Content-Length."""
        self.began_at: float | None = None
        """Loop time of the first write; None proves that not one byte has left."""
        self.ended_at: float | None = None
        """Loop time at which the last byte was handed over."""

    async def write(self, connection: Connection, head: bytes) -> None:
        """Write everything, as fast as the peer takes it; stop when it answers or is gone.

        Raises:
            OSError: An input file cannot be read: our fault, not the upstream's.
        """
        loop = asyncio.get_running_loop()
        template, inputs = self._template, self._inputs
        # The answer comes minutes later: the prompt need not wait for it.
        self._template = self._inputs = ()
        waiting = head
        for part in template:
            at = 0
            while piece := await self._piece(part, inputs, at):
                if waiting:
                    self.began_at = loop.time()
                    piece, waiting = waiting + piece, b""
                connection.write(piece)
                at += PIECE_BYTES
                await connection.drain()
                if connection.has_answered:
                    return
        if waiting:
            self.began_at = loop.time()
            connection.write(waiting)
        self.ended_at = loop.time()

    async def _piece(self, part: bytes | Slot, inputs: Sequence[Path], at: int) -> bytes:
        """Give what comes next of a part; nothing at its end."""
        if isinstance(part, bytes):
            return b"" if at else part
        loop = asyncio.get_running_loop()
        read = _read if part.is_raw else _read_encoded
        return await loop.run_in_executor(self._readers, read, inputs[part.index], at)


def _read(path: Path, at: int) -> bytes:
    """Read the next piece. Opened anew for each: a file kept open would be closed under a reader when it is given up.

    A regular file reads short at its end only; elsewhere padding would end up amid the text of `_read_encoded`.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        return file.read(PIECE_BYTES)


def _read_encoded(path: Path, at: int) -> bytes:
    return pybase64.b64encode(_read(path, at))


def measure(template: Template, inputs: Sequence[Path]) -> int:
    """Give the Content-Length of a template; asks the file system, so in a worker thread when there are slots.

    Raises:
        OSError: An input file is missing.
    """
    return length_of(template, {index: inputs[index].stat().st_size for index in slots_of(template)})


async def request_body(template: Template, *, inputs: Sequence[Path], readers: Executor) -> RequestBody:
    """Prepare a body: its length is known before anybody is asked to take it."""
    if any(isinstance(part, Slot) for part in template):
        size = await asyncio.get_running_loop().run_in_executor(readers, measure, template, tuple(inputs))
    else:
        size = measure(template, ())
    return RequestBody(template, inputs=inputs, size=size, readers=readers)


def request_head(request: HttpRequest, *, body: RequestBody | None) -> bytes:
    """Write the request line and the headers: HTTP/1.1, one exchange a connection.

    Raises:
        ValueError: A header holds a line break, which would begin another header, or what no header can hold.
    """
    parts = urlsplit(request.url)
    target = quote(parts.path or "/", safe=_IN_PATH)
    if parts.query:
        target += "?" + quote(parts.query, safe=_IN_PATH + "?")
    headers = [("Host", parts.netloc.rpartition("@")[2]), *request.headers]
    given = {name.lower() for name, _ in request.headers}
    usual = [
        ("User-Agent", f"holdfast/{__version__}"),
        ("Accept", "*/*"),
        # Images do not shrink; what comes compressed unasked is decoded all the same.
        ("Accept-Encoding", "identity"),
    ]
    if body is not None:
        usual += [("Content-Type", "application/json"), ("Content-Length", str(body.size))]
    headers += [(name, value) for name, value in usual if name.lower() not in given]
    headers.append(("Connection", "close"))
    for name, value in headers:
        if any(unfit in name or unfit in value for unfit in _UNFIT):
            raise ValueError(f"the header {name!r} holds a line break")
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")
