"""Images that come as files of their own, one exchange each: into the spool, and out of it after a crash."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import pytest

from holdfast.store.spool import SpoolWriter, clear, recover
from holdfast.types import ImageInfo
from holdfast.wire.answers import Answer, AnswerImage, Role
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.scan import WireError

ATTEMPT = "att_01ARZ3NDEKTSV4RRFFQ69G5FAV"
NAMED = Answer(
    images=(AnswerImage(index=0, role=Role.RESULT), AnswerImage(index=1, role=Role.RESULT)), document=b'{"images":[]}'
)
"""What named them: two results."""


def png(width: int) -> bytes:
    """A PNG as far as anybody here looks at one: header, some data, end mark."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"pixels") + chunk(b"IEND", b"")


def a_writer(folder: Path, index: int) -> SpoolWriter:
    """Takes one file in."""
    return SpoolWriter(folder, ATTEMPT, ImageFileReader(index=index, answer=NAMED))


@pytest.mark.parametrize("rests", [False, True])
def test_a_file_ends_with_its_transfer(tmp_path: Path, rests: bool) -> None:
    """Nothing in it says that it is over: the end of the body does, and what named it is kept beside it."""
    picture = png(9)
    writer = a_writer(tmp_path, 1)
    writer.feed([picture[:20]])
    if rests:
        writer.rest()
    writer.feed([picture[20:]])
    if rests:
        writer.rest()
    assert [path.name for path in tmp_path.iterdir()] == [f"{ATTEMPT}-1.part"]
    spooled = writer.finish()
    assert spooled.answer is NAMED
    (image,) = spooled.images
    digest = hashlib.sha256(picture).hexdigest()
    assert image.info == ImageInfo(mime="image/png", width_px=9, height_px=8, bytes=len(picture), sha256=digest)
    assert (image.index, image.role, image.is_whole) == (1, Role.RESULT, True)
    assert image.path.name == f"{ATTEMPT}-1.done"
    assert image.path.read_bytes() == picture
    assert recover(tmp_path, ATTEMPT) == spooled
    clear(spooled)
    assert list(tmp_path.iterdir()) == []


def test_each_file_tells_of_all_of_its_answer(tmp_path: Path) -> None:
    """One of two is here: whoever finds it knows that another was named, and that both are results."""
    writer = a_writer(tmp_path, 1)
    writer.feed([png(9)])
    writer.finish()
    spooled = recover(tmp_path, ATTEMPT)
    assert spooled is not None
    assert spooled.answer == NAMED
    assert [(image.index, image.role) for image in spooled.images] == [(1, Role.RESULT)]


def test_a_file_that_is_fetched_again_takes_its_own_place(tmp_path: Path) -> None:
    """An earlier process had fetched it too: there is one of it."""
    for _ in range(2):
        writer = a_writer(tmp_path, 0)
        writer.feed([png(9)])
        writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == [f"{ATTEMPT}-0.done"]


@pytest.mark.parametrize("body", [png(9)[:-3], b"<html>gone</html>"])
def test_a_file_that_is_no_whole_image_is_discarded(tmp_path: Path, body: bytes) -> None:
    """It is fetched again, under the same name."""
    writer = a_writer(tmp_path, 0)
    writer.feed([body])
    with pytest.raises(WireError):
        writer.finish()
    writer.discard()
    assert list(tmp_path.iterdir()) == []
