"""The unit tests' callers and rows, for what needs real files; and pictures small enough to write down."""

from __future__ import annotations

import importlib.util
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

# Tests are no package, so that nothing imports them by accident; fixtures are shared by loading their file.
_SHARED = Path(__file__).parents[2] / "unit" / "gateway" / "conftest.py"
_spec = importlib.util.spec_from_file_location("gateway_builders", _SHARED)
assert _spec is not None
assert _spec.loader is not None
_builders = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _builders
_spec.loader.exec_module(_builders)

a_blob = _builders.a_blob
a_caller = _builders.a_caller
a_clock = _builders.a_clock
a_generation = _builders.a_generation
a_record = _builders.a_record
an_attempt = _builders.an_attempt
settings_of = _builders.settings_of
some_links = _builders.some_links


@pytest.fixture
def a_png() -> Callable[..., bytes]:
    """Build whole PNG files of any pixel size and nearly any number of bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def build(*, width_px: int = 64, height_px: int = 32, padding_bytes: int = 0, fill: bytes = b"\x5a") -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0))
        padding = chunk(b"teXt", fill * padding_bytes) if padding_bytes else b""
        pixels = chunk(b"IDAT", zlib.compress(b"\0" * (width_px + 1) * height_px))
        return b"\x89PNG\r\n\x1a\n" + header + padding + pixels + chunk(b"IEND", b"")

    return build
