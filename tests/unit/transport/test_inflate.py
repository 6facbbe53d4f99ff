"""Bodies that come compressed unasked: unpacked whole, however they are cut, and never beyond the bound."""

from __future__ import annotations

import gzip
import zlib

import pytest

from holdfast.transport.exchange import Piece
from holdfast.transport.inflate import _STEP_BYTES, Inflating
from holdfast.transport.pump import BodyTooLarge
from holdfast.transport.reply import Garbage

TEXT = b"".join(b'{"b64_json":"%064d"},' % at for at in range(5_000))


class Kept:
    """Keeps what it is fed; has enough after so many bytes."""

    def __init__(self, complete_at: int = 1 << 40) -> None:
        self.body = b""
        self.steps: list[int] = []
        self.is_closed = False
        self._complete_at = complete_at

    def feed(self, pieces: list[Piece]) -> bool:
        """Keep."""
        assert all(pieces), "an empty piece is none"
        self.body += b"".join(pieces)
        self.steps.append(sum(map(len, pieces)))
        return len(self.body) >= self._complete_at

    def close(self) -> None:
        """Note."""
        self.is_closed = True


def bare(text: bytes) -> bytes:
    """Deflate without the zlib wrapper, as some servers understood the name."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush()


def unpacked(packed: bytes, coding: str, *, step: int = 1 << 30, bytes_max: int = 1 << 30) -> Kept:
    """Feed a body in pieces, as the buffers of the pump are."""
    sink = Kept()
    inflating = Inflating(sink, coding, bytes_max=bytes_max)
    for at in range(0, len(packed), step):
        buffer = bytearray(packed[at : at + step])
        assert not inflating.feed([memoryview(buffer)])
        buffer[:] = bytes(len(buffer))
    assert inflating.body_bytes == len(sink.body)
    return sink


@pytest.mark.parametrize("step", [1, 1000, 1 << 30])
@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare(TEXT)),
        ("deflate", gzip.compress(TEXT)),
    ],
    ids=["gzip", "x-gzip", "deflate", "bare", "misnamed"],
)
def test_each_coding_is_unpacked_however_it_is_cut(coding: str, packed: bytes, step: int) -> None:
    """Its pieces' memory is used again at once, and nothing is handed on in lumps."""
    sink = unpacked(packed, coding, step=step)
    assert sink.body == TEXT
    assert max(sink.steps) <= _STEP_BYTES


@pytest.mark.parametrize("more", range(-3, 4))
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare], ids=["gzip", "zlib", "bare"])
def test_the_last_bytes_do_not_stay_inside(pack: object, more: int) -> None:
    """A step that is exactly full may hide more of it, when all of the input has been taken already."""
    text = bytes(_STEP_BYTES + more)
    assert callable(pack)
    assert unpacked(pack(text), "gzip" if pack is gzip.compress else "deflate").body == text


def test_a_sink_that_has_enough_is_fed_nothing_more() -> None:
    """The document has closed."""
    sink = Kept(complete_at=10)
    packed = gzip.compress(bytes(3 * _STEP_BYTES))
    assert Inflating(sink, "gzip", bytes_max=1 << 30).feed([packed])
    assert len(sink.body) == _STEP_BYTES


def test_a_bomb_goes_off_at_the_bound() -> None:
    """Not in memory."""
    with pytest.raises(BodyTooLarge):
        unpacked(gzip.compress(bytes(50_000_000)), "gzip", bytes_max=1_000_000)
    assert unpacked(gzip.compress(bytes(1_000_000)), "gzip", bytes_max=1_000_000).body == bytes(1_000_000)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("packed", [b"not packed at all", gzip.compress(TEXT)[:10] + b"\x07" * 500])
def test_what_does_not_unpack_is_garbage(coding: str, packed: bytes) -> None:
    """Told as such, not as a mistake of ours."""
    with pytest.raises(Garbage, match="unpack"):
        unpacked(packed, coding)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "sk-secret" * 10])
def test_a_coding_that_nobody_knows_is_garbage(coding: str) -> None:
    """Named, as far as a name goes."""
    with pytest.raises(Garbage, match="not asked for") as told:
        Inflating(Kept(), coding, bytes_max=1)
    assert len(str(told.value)) < 80


def test_closing_closes_the_sink_below() -> None:
    """Its files are removed."""
    sink = Kept()
    Inflating(sink, "gzip", bytes_max=1).close()
    assert sink.is_closed
