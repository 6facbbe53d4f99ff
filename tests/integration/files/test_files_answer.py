"""Writing an answer from real files: exactly the base64 of their bytes, in pieces, whatever their size."""

from __future__ import annotations

import asyncio
import base64
import os
import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway import answer
from holdfast.gateway.answer import CROWD, FilePieces, write_parts
from holdfast.wire.template import PIECE_BYTES, Slot, length_of

SIZES = [0, 1, 2, 3, 1000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 17]


def a_file(folder: Path, size: int) -> tuple[Path, bytes]:
    """Write a file of random bytes."""
    data = random.Random(size).randbytes(size)
    path = folder / f"{size}.png"
    path.write_bytes(data)
    return path, data


async def all_of(pieces: FilePieces, size: int) -> bytes:
    """Read to the end."""
    read = b""
    while piece := await pieces.read(size):
        assert len(piece) <= size
        read += piece
    return read


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    """Byte for byte, and once more from any place."""
    path, data = a_file(tmp_path, size)
    with FilePieces(path) as pieces:
        assert await all_of(pieces, PIECE_BYTES) == data
        assert len(await pieces.read()) == 0
        pieces.seek(size // 2)
        assert await all_of(pieces, 1000) == data[size // 2 :]
        pieces.seek(size + 5)
        assert len(await pieces.read()) == 0


async def test_what_the_page_cache_lacks_is_read_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether nothing is cached, or half of a piece, or the kernel has no such question: the bytes are the same."""
    path, data = a_file(tmp_path, 2 * PIECE_BYTES + 100)
    real = FilePieces._read_cached
    for cached in (lambda self, wanted: 0, lambda self, wanted: real(self, wanted // 2)):
        monkeypatch.setattr(FilePieces, "_read_cached", cached)
        with FilePieces(path) as pieces:
            assert await all_of(pieces, PIECE_BYTES) == data
    monkeypatch.setattr(FilePieces, "_read_cached", real)
    monkeypatch.setattr(answer, "_NOWAIT", 0)
    with FilePieces(path) as pieces:
        assert await all_of(pieces, PIECE_BYTES) == data


async def test_a_file_that_shrank_ends_instead_of_waiting(tmp_path: Path) -> None:
    """Somebody deleted bytes under us: the read is short, and does not spin."""
    path, data = a_file(tmp_path, 1000)
    with FilePieces(path) as pieces:
        path.write_bytes(data[:300])
        assert bytes(await asyncio.wait_for(pieces.read(), 5)) == data[:300]


async def test_a_descriptor_is_closed_however_the_reading_ends(tmp_path: Path) -> None:
    """Thousands of answers must not leak one each."""
    path, _ = a_file(tmp_path, 10)
    with pytest.raises(RuntimeError), FilePieces(path) as pieces:
        raise RuntimeError
    with pytest.raises(OSError, match="Bad file descriptor"):
        await pieces.read()


@pytest.mark.parametrize(
    ("template", "writes"),
    [
        ((b"a", b"b", Slot(0), b"c"), [b"ab", b"TE1H", b"c"]),
        ((Slot(0),), [b"TE1H"]),
        ((Slot(0), Slot(0), b"c", b"", b"d"), [b"TE1H", b"TE1H", b"cd"]),
        ((b"only", b" text"), [b"only text"]),
        ((b"",), []),
        ((), []),
    ],
)
async def test_text_between_images_is_one_piece(
    tmp_path: Path, a_caller: Any, template: Any, writes: list[bytes]
) -> None:
    """What stands before the first image travels with the head, in one segment; of nothing there is no piece."""
    path = tmp_path / "LMG.png"
    path.write_bytes(b"LMG")
    caller = a_caller()
    await write_parts(caller.call(), template, {0: path})
    assert caller.writes == writes


@pytest.mark.parametrize("size", SIZES)
async def test_an_answer_is_its_template_with_the_images_encoded(tmp_path: Path, a_caller: Any, size: int) -> None:
    """Pieces join without padding inside, and the length that was announced is the length that comes."""
    path, data = a_file(tmp_path, size)
    caller = a_caller()
    template = (b'{"data":[{"b64_json":"', Slot(0), b'"},{"b64_json":"', Slot(7), b'"}]}')
    await write_parts(caller.call(), template, {0: path, 7: path})
    encoded = base64.b64encode(data)
    assert caller.body == b'{"data":[{"b64_json":"' + encoded + b'"},{"b64_json":"' + encoded + b'"}]}'
    assert len(caller.body) == length_of(template, {0: size, 7: size})
    assert not caller.is_answered


async def test_memory_is_one_piece_whatever_the_image_weighs(tmp_path: Path, a_caller: Any) -> None:
    """No write is larger than a piece's base64."""
    path, _ = a_file(tmp_path, 10 * PIECE_BYTES)
    caller = a_caller()
    await write_parts(caller.call(), (b"x", Slot(0)), {0: path})
    assert len(caller.writes) == 11
    assert max(map(len, caller.writes)) == PIECE_BYTES // 3 * 4


async def test_a_caller_that_leaves_is_written_to_no_more(tmp_path: Path, a_caller: Any) -> None:
    """The rest of 27 MB is neither read nor encoded for nobody."""
    path, _ = a_file(tmp_path, 20 * PIECE_BYTES)
    caller = a_caller()

    def leave_at_the_third() -> None:
        if len(caller.writes) == 3:
            caller.protocol.transport.close()

    caller.on_write = leave_at_the_third
    await write_parts(caller.call(), (b"x", Slot(0), b"y", Slot(0)), {0: path})
    assert len(caller.writes) == 3


async def test_the_pages_of_an_image_that_was_sent_are_given_back(
    tmp_path: Path, a_caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page cache that grows by 20 MB an image is memory too; one whose caller left is wanted again soon."""
    path, data = a_file(tmp_path, 3 * PIECE_BYTES)
    given_back: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: given_back.append(arguments[-1]))
    await write_parts(a_caller().call(), (b"x", Slot(0)), {0: path})
    assert given_back == [os.POSIX_FADV_DONTNEED]
    leaver = a_caller()
    leaver.on_write = leaver.protocol.transport.close
    await write_parts(leaver.call(), (Slot(0),), {0: path})
    assert len(given_back) == 1
    monkeypatch.delattr(os, "posix_fadvise")
    elsewhere = a_caller()
    await write_parts(elsewhere.call(), (Slot(0),), {0: path})
    assert elsewhere.body == base64.b64encode(data)


async def test_a_crowd_of_readers_gets_smaller_pieces(tmp_path: Path) -> None:
    """Thousands that stall together must not hold a quarter of a megabyte each; one alone gets long pieces."""
    file = tmp_path / "image.png"
    file.write_bytes(b"x" * (2 * PIECE_BYTES))

    async def first_piece() -> int:
        with FilePieces(file) as pieces:
            return len(await pieces.read())

    assert await first_piece() == PIECE_BYTES
    with ExitStack() as stack:
        for _ in range(CROWD):
            stack.enter_context(FilePieces(file))
        small = await first_piece()
        assert small < PIECE_BYTES
        assert small % 3 == 0, "pieces of base64 join without padding"
    assert await first_piece() == PIECE_BYTES
