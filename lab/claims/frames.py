"""A client of HTTP/2 that does what careful clients do: it resets a stream, keeps its window small, reads on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

HEAD_BYTES = 9
"""Of a frame: length (3), type, flags, stream (4). RFC 9113, 4.1."""
GOAWAY = 7


@dataclass(slots=True)
class Stream:
    """What came of one request."""

    status: int | None = None
    body_bytes: int = 0
    is_whole: bool = False
    reset: int | None = None
    """Error code of an RST_STREAM from the other side."""
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Client:
    """One connection by prior knowledge (h2c), which grants only as much as it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host
        self._codec = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.streams: dict[int, Stream] = {}
        self.goaway_last: int | None = None
        """Last stream that the other side says it will answer."""
        self.is_closed = False
        self.granted_at_once = True
        """Whether what was read is granted anew at once."""
        self._owed: dict[int, int] = {}

    def begin(self, window_bytes: int) -> None:
        """Greet, with so much of a window for each stream."""
        self._codec.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window_bytes}
        )
        self._codec.initiate_connection()
        self._flush()

    def get(self, path: str) -> int:
        """Ask; give the stream."""
        number: int = self._codec.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", "http"), (":authority", self._host), (":path", path)]
        self._codec.send_headers(number, head, end_stream=True)
        self.streams[number] = Stream()
        self._flush()
        return number

    def reset(self, number: int) -> None:
        """Say that an answer is wanted no more."""
        self._codec.reset_stream(number, error_code=8)
        self._flush()

    def grant_owed(self, number: int, bytes_max: int) -> None:
        """Grant some of what was read and not granted yet."""
        granted = min(bytes_max, self._owed.get(number, 0))
        if granted:
            self._owed[number] -= granted
            self._codec.acknowledge_received_data(granted, number)
            self._flush()

    async def listen(self) -> None:
        """Take in what comes until the connection ends; h2 raises if more comes than was granted."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                # h2 takes nothing any more after a GOAWAY, though calls under way are still answered: it is not told.
                head = await self._reader.readexactly(HEAD_BYTES)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == GOAWAY:
                    self.goaway_last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
                    continue
                for event in self._codec.receive_data(head + payload):
                    self._take(event)
                self._flush()
        self.is_closed = True
        for stream in self.streams.values():
            stream.done.set()

    def _take(self, event: h2.events.Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.status = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.body_bytes += len(event.data)
            number, length = event.stream_id, event.flow_controlled_length or 0
            if self.granted_at_once:
                self._codec.acknowledge_received_data(length, number)
            else:
                self._owed[number] = self._owed.get(number, 0) + length
        elif isinstance(event, h2.events.StreamEnded):
            stream.is_whole = True
            stream.done.set()
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)
            stream.done.set()

    def _flush(self) -> None:
        self._writer.write(self._codec.data_to_send())


@contextlib.asynccontextmanager
async def connected(host: str, port: int, *, window_bytes: int = 65_535) -> AsyncIterator[Client]:
    """Have a connection as long as the block runs."""
    reader, writer = await asyncio.open_connection(host, port)
    client = Client(reader, writer, f"{host}:{port}")
    client.begin(window_bytes)
    listening = asyncio.create_task(client.listen())
    try:
        yield client
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        writer.close()
