"""A mock upstream that speaks OpenAI Images, fast enough not to be what is measured.

    python lab/bench/upstream.py --port N --pictures DIR [--send-buffer-kb K]

The prompt says what to do: `[bench id=7 picture=4k]` answers at once, `delay=0.2` later, `hold` when told to. Told by
`POST /_bench/release?due=T` (CLOCK_MONOTONIC); `GET /_bench/state` counts, `GET /_bench/arrivals` gives the moment at
which each request had arrived. One process, one loop; bodies are prepared and shared between answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import time
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httptools
import pictures
import pybase64
import uvloop

PROMPT = re.compile(rb"\[bench id=(\d+) picture=(\w+)( hold)?(?: delay=([\d.]+))?\]")
BEFORE = b'{"created":1764000000,"data":[{"b64_json":"'
AFTER = (
    b'"}],"size":"%dx%d","output_format":"png","usage":{"input_tokens":12,"output_tokens":2000,"total_tokens":2012}}'
)

UNSENT_BYTES = 16_384


class Prepared:
    """One kind of picture, ready to be written."""

    def __init__(self, folder: Path, kind: pictures.Kind) -> None:
        self._kind = kind
        self._shared = pybase64.b64encode(pictures.rest_of(folder, kind))
        self._after = AFTER % (kind.side_px, kind.side_px)
        length = len(BEFORE) + kind.encoded_bytes + len(self._after)
        self._head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % length

    def pieces(self, serial: int) -> tuple[bytes, bytes, bytes]:
        """The whole answer, head included."""
        own = pybase64.b64encode(pictures.head_of(self._kind, serial))
        return self._head + BEFORE + own, self._shared, self._after


class State:
    """What all connections share."""

    def __init__(self, folder: Path) -> None:
        self.prepared = {name: Prepared(folder, kind) for name, kind in pictures.KINDS.items()}
        self.arrivals: dict[int, float] = {}
        self.held: list[tuple[Connection, tuple[bytes, bytes, bytes]]] = []
        self.held_lost = 0
        """Connections that broke while their answer was held."""
        self.answered = 0

    def release(self) -> None:
        """Answer everything that is held."""
        due, self.held = self.held, []
        for connection, pieces in due:
            connection.answer(pieces)

    def control(self, target: bytes) -> bytes:
        """Serve the runner's own requests."""
        parts = urlsplit(target.decode())
        if parts.path == "/_bench/release":
            asyncio.get_running_loop().call_later(
                max(0.0, float(parse_qs(parts.query)["due"][0]) - time.monotonic()), self.release
            )
        if parts.path == "/_bench/arrivals":
            return json.dumps(self.arrivals).encode()
        return json.dumps({"held": len(self.held), "held_lost": self.held_lost, "answered": self.answered}).encode()


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._body = b""
        self._transport: asyncio.Transport | None = None
        self._holding = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it; an answer that is due goes nowhere."""
        self._transport = None
        if self._holding:
            self._state.held_lost += 1

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """A request begins."""
        self._target = url
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """Collect it: it is short."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer now, later, or when told to."""
        arrived_at = time.monotonic()
        found = PROMPT.search(self._body)
        if found is None:
            body = self._state.control(self._target) if self._target.startswith(b"/_bench/") else b'{"data":[]}'
            self.answer(
                (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body), body)
            )
            return
        serial = int(found[1])
        self._state.arrivals[serial] = arrived_at
        pieces = self._state.prepared[found[2].decode()].pieces(serial)
        if found[3]:
            self._holding = True
            self._state.held.append((self, pieces))
        elif found[4]:
            asyncio.get_running_loop().call_later(float(found[4]), self.answer, pieces)
        else:
            self.answer(pieces)

    def answer(self, pieces: tuple[bytes, ...]) -> None:
        """Write an answer, without copying it."""
        self._holding = False
        if self._transport is None:
            return
        for piece in pieces:
            self._transport.write(piece)
        self._state.answered += 1
        if not self._parser.should_keep_alive():
            self._transport.close()


async def serve(port: int, folder: Path, send_buffer_kb: int) -> None:
    """Listen until the process is ended."""
    state = State(folder)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if send_buffer_kb:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_kb * 1024)
        # What nobody takes stays here: in the kernel, 9,800 answers pass its memory for TCP (`tcp_mem`), segments are
        # dropped, and what is measured are retransmission timers.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    listener.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), sock=listener, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--send-buffer-kb", type=int, default=0, help="SO_SNDBUF of a connection; 0: the kernel's own")
    args = parser.parse_args()
    uvloop.run(serve(args.port, args.pictures, args.send_buffer_kb))


if __name__ == "__main__":
    main()
