"""The pictures that the mock upstream answers with: real PNG files of an exact weight, one serial number apart.

A picture is made once and kept as a file, so that the upstream (which sends it) and the caller (which checks a sample)
mean the same bytes. The serial stands in a text chunk right behind the header, and the bytes up to there are a multiple
of three: the base64 of one answer is a short piece of its own and a long piece that all answers share.
"""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sort of picture."""

    name: str
    side_px: int
    image_bytes: int

    @property
    def encoded_bytes(self) -> int:
        """Its length as base64."""
        return -(-self.image_bytes // 3) * 4


# 20.25 MB are 27,000,000 characters of base64; 1.125 MB are 1,500,000; 7,500 bytes are 10,000.
KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="4k", side_px=4096, image_bytes=20_250_000),
        Kind(name="1k", side_px=1024, image_bytes=1_125_000),
        Kind(name="tiny", side_px=1024, image_bytes=7_500),
    )
}


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def head_of(kind: Kind, serial: int) -> bytes:
    """Everything up to and including the serial: 63 bytes."""
    header = struct.pack(">IIBBBBB", kind.side_px, kind.side_px, 8, 2, 0, 0, 0)
    head = SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"tEXt", b"serial\0%011d" % serial)
    assert len(head) % 3 == 0
    return head


def _rest(kind: Kind, seed: int) -> bytes:
    """Everything behind the serial: noise on top, black below, and a private chunk that makes the weight exact."""
    row_bytes = 1 + 3 * kind.side_px
    total = row_bytes * kind.side_px
    # Black rows deflate to about a thousandth; the noise takes what remains of the weight.
    noisy_rows = max(0, kind.image_bytes - total // 500 - 512) // (row_bytes + row_bytes // 500)
    noise = random.Random(seed)
    deflate = zlib.compressobj(6)
    data = b"".join(deflate.compress(b"\0" + noise.randbytes(row_bytes - 1)) for _ in range(noisy_rows))
    data += deflate.compress(bytes(row_bytes * (kind.side_px - noisy_rows))) + deflate.flush()
    body, end = _chunk(b"IDAT", data), _chunk(b"IEND", b"")
    padding = kind.image_bytes - len(head_of(kind, 0)) - len(body) - len(end) - 12
    assert padding >= 0, f"{kind.name}: {-padding} bytes too heavy"
    return body + _chunk(b"beNc", bytes(padding)) + end


def make(folder: Path, seed: int) -> None:
    """Write every kind's shared part to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS.values():
        rest = _rest(kind, seed)
        assert len(rest) + len(head_of(kind, 0)) == kind.image_bytes
        (folder / f"{kind.name}.rest").write_bytes(rest)


def rest_of(folder: Path, kind: Kind) -> bytes:
    """Read back the shared part of a kind."""
    return (folder / f"{kind.name}.rest").read_bytes()


def sha256_of(folder: Path, kind: Kind, serial: int) -> str:
    """The digest of the picture with this serial."""
    return hashlib.sha256(head_of(kind, serial) + rest_of(folder, kind)).hexdigest()
