"""Bodies that came compressed though identity was asked for: unpacked on the way to the sink, under the same bound."""

from __future__ import annotations

import zlib

from holdfast.transport.exchange import Piece, Sink
from holdfast.transport.pump import BodyTooLarge
from holdfast.transport.reply import Garbage

_STEP_BYTES = 262_144
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Inflating(Sink):
    """A sink before the sink."""

    def __init__(self, sink: Sink, coding: str, *, bytes_max: int) -> None:
        """Prepare to unpack.

        Raises:
            Garbage: A coding that nobody asked for and nobody knows.
        """
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise Garbage(f"Content-Encoding {coding[:20]!r}")
        self._sink = sink
        self._bytes_max = bytes_max
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        self.body_bytes = 0
        """As unpacked."""

    def feed(self, pieces: list[Piece]) -> bool:
        """Unpack, step by step: a bomb goes off at the bound, not in memory."""
        for piece in pieces:
            data: bytes | bytearray | memoryview = piece
            while data and not self._inflate.eof:
                try:
                    unpacked = self._inflate.decompress(data, _STEP_BYTES)
                except zlib.error as exc:
                    raise Garbage("a compressed body that does not unpack") from exc
                data = self._inflate.unconsumed_tail
                self.body_bytes += len(unpacked)
                if self.body_bytes > self._bytes_max:
                    raise BodyTooLarge
                if unpacked and self._sink.feed([unpacked]):
                    return True
        return False

    def close(self) -> None:
        """Drop what was kept."""
        self._sink.close()
