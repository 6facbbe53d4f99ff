"""Bodies that came compressed though identity was asked for: unpacked on the way to the sink, under the same bound."""

from __future__ import annotations

import zlib

from holdfast.transport.exchange import Piece, Sink
from holdfast.transport.pump import BodyTooLarge
from holdfast.transport.reply import Garbage

_STEP_BYTES = 262_144
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_GZIP_BEGINS = 0x1F


class Inflating(Sink):
    """A sink before the sink."""

    def __init__(self, sink: Sink, coding: str, *, bytes_max: int) -> None:
        """Prepare to unpack.

        Raises:
            Garbage: A coding that nobody asked for and nobody knows.
        """
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise Garbage(f"Content-Encoding {coding[:20]!r} was not asked for")
        self._sink = sink
        self._bytes_max = bytes_max
        self._is_deflate = coding == "deflate"
        self._inflate: zlib._Decompress | None = None
        self.body_bytes = 0
        """As unpacked."""

    def feed(self, pieces: list[Piece]) -> bool:
        """Unpack, step by step: a bomb goes off at the bound, not in memory."""
        for piece in pieces:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(self._wbits(piece))
            data: bytes | bytearray | memoryview = piece
            is_more = True
            while is_more and not self._inflate.eof:
                try:
                    unpacked = self._inflate.decompress(data, _STEP_BYTES)
                except zlib.error as exc:
                    raise Garbage("a compressed body that does not unpack") from exc
                data = self._inflate.unconsumed_tail
                # A full step may have left more inside, even when all of the input is taken.
                is_more = bool(data) or len(unpacked) == _STEP_BYTES
                self.body_bytes += len(unpacked)
                if self.body_bytes > self._bytes_max:
                    raise BodyTooLarge
                if unpacked and self._sink.feed([unpacked]):
                    return True
        return False

    def _wbits(self, first: Piece) -> int:
        # RFC 9110 §8.4.1.2: some send `deflate` without the wrapper, whose first byte would name the method, 8. That
        # of gzip is none with which bare text can begin.
        is_bare = self._is_deflate and first[0] & 0x0F != 8 and first[0] != _GZIP_BEGINS
        return -zlib.MAX_WBITS if is_bare else _GZIP_OR_ZLIB

    def rest(self) -> None:
        """Let the sink rest."""
        self._sink.rest()

    def close(self) -> None:
        """Drop what was kept."""
        self._sink.close()
