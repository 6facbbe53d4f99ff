"""An exchange is told in few words, and without what is secret."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

REQUEST = (
    b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/7\r\nAuthorization: Bearer hf-abc-SECRET\r\n"
    b"x-goog-api-key: SECRET\r\n\r\n"
)


def a_record(tap: ModuleType, *pieces: tuple[float, str, bytes]) -> Any:
    """Give a connection that carried some pieces."""
    record = tap.Record()
    for at_s, sign, data in pieces:
        record.add(at_s, data, is_up=sign == "up")
    return record


def test_heads_are_told_with_times_and_keys_are_not(tap: ModuleType, exchanges: ModuleType) -> None:
    """What is known everywhere comes last, and is left out where there is much."""
    body = b'{"data": [{"url": "http://h/x?exp=1&sig=SECRET", "b64_json": "' + b"A" * 5_000
    record = a_record(
        tap,
        (0.0, "up", REQUEST + b'{"prompt": "x"}'),
        (0.67, "down", b"HTTP/1.1 200 OK\r\nGeneration-Id: gen_1\r\n\r\n\n"),
        (1.0, "down", b"\n"),
        (6.0, "down", body),
    )
    record.end(6.1, "server")
    text = exchanges.of_cell([record])
    assert "SECRET" not in text
    lines = text.splitlines()
    assert lines[0] == "  0.000 → POST /v1/images/generations HTTP/1.1"
    assert '15 bytes: {"prompt": "x"}' in text
    assert "  0.670 ← HTTP/1.1 200 OK" in lines
    assert "  1.000 ← ␊" in lines
    assert any(line.startswith(f"  6.000 ← {len(body)} bytes: {{") and line.endswith("…") for line in lines)
    assert lines[-1].startswith("  6.100   closed by the server; ")
    assert text.index("Host: x") < text.index("User-Agent")


@pytest.mark.parametrize(
    ("data", "shown"),
    [(b"\x17\x03\x03\x00\x05hello", "10 bytes, encrypted"), (b"\x1f\x8b\x00\xff", "4 bytes, binary")],
)
def test_what_cannot_be_read_is_told_by_its_size(
    tap: ModuleType, exchanges: ModuleType, data: bytes, shown: str
) -> None:
    """Encrypted or compressed."""
    assert shown in exchanges.of_cell([a_record(tap, (0.1, "down", data))])


def test_an_exchange_is_bounded(tap: ModuleType, exchanges: ModuleType) -> None:
    """However many pieces and connections there were."""
    pieces = [(n / 10, "down", b"\n") for n in range(1_000)]
    record = a_record(tap, (0.0, "up", REQUEST), *pieces, (200.0, "down", b"x" * 70_000))
    assert len(record.pieces) == tap.FIRST_PIECES + tap.LAST_PIECES
    assert record.skipped == 1_002 - len(record.pieces)
    assert sum(len(piece.kept) for piece in record.pieces) <= 2 * tap.KEPT_BYTES
    text = exchanges.of_cell([record])
    assert f"… {record.skipped} more pieces" in text
    assert "200.000 ← 70000 bytes" in text
    talkative = a_record(tap, *((n / 10, "down", b"{" * 90) for n in range(20)))
    many = exchanges.of_cell([talkative] * 50)
    assert len(many) <= exchanges.CELL_CHARACTERS_MAX
    assert many.startswith("connection 1 of 50")
    assert many.endswith("(cut short here)")


def test_who_ended_a_connection_first_is_kept(tap: ModuleType) -> None:
    """What follows from it is none of its doing."""
    record = tap.Record()
    record.end(1.0, "cut")
    record.end(1.1, "client")
    assert (record.ended_s, record.ended_by) == (1.0, "cut")
