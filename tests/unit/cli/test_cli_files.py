"""Images on their way into files."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import zlib
from pathlib import Path

import pytest

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import Destination, ErrorText, ImageFiles, Received, misnamed, read_input
from holdfast.types import ImageInfo
from holdfast.wire.openai import ImagesReader


def a_png(width_px: int = 4, height_px: int = 3) -> bytes:
    """Draw a small grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x7f" * width_px) * height_px
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def a_body(*images: bytes) -> bytes:
    """Write an answer that holds images."""
    return json.dumps(
        {"created": 1, "data": [{"b64_json": base64.b64encode(each).decode()} for each in images]}
    ).encode()


def a_received(folder: Path, data: bytes = b"data", mime: str | None = "image/png") -> Received:
    """Lay an image down as the sink does."""
    path = folder / ".holdfast-x.part"
    path.write_bytes(data)
    path.chmod(0o600)
    info = None
    if mime is not None:
        info = ImageInfo(mime=mime, width_px=4, height_px=3, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return Received(index=0, path=path, info=info, is_complete=True)


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_images_arrive_whole_whatever_the_pieces(tmp_path: Path, step: int) -> None:
    """Bytes, size, type and digest are those that were sent."""
    png = a_png()
    body = a_body(png, a_png(8, 8))
    sink = ImageFiles(tmp_path, ImagesReader())
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    assert [sink.feed([piece]) for piece in pieces][-1] is True
    sink.finish()
    first, second = sink.received
    assert first.path.read_bytes() == png
    assert first.info == ImageInfo(
        mime="image/png", width_px=4, height_px=3, bytes=len(png), sha256=hashlib.sha256(png).hexdigest()
    )
    assert first.is_complete
    assert second.info is not None
    assert second.info.size == "8x8"
    assert sink.received_bytes == len(png) + len(a_png(8, 8))
    sink.close()


def test_heartbeats_before_the_answer_are_nothing(tmp_path: Path) -> None:
    """White space holds the path, and is no part of the answer."""
    sink = ImageFiles(tmp_path, ImagesReader())
    assert sink.feed([b"\n", b"\n\n"]) is False
    assert sink.feed([a_body(a_png())]) is True
    sink.close()


def test_closing_leaves_no_trace(tmp_path: Path) -> None:
    """A call that broke leaves no half of a picture, finished ones included."""
    sink = ImageFiles(tmp_path, ImagesReader())
    body = a_body(a_png(), a_png())
    sink.feed([body[: len(body) - 30]])
    assert len(list(tmp_path.iterdir())) == 2
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """The transport closes what broke, and so does the command."""
    sink = ImageFiles(tmp_path, ImagesReader())
    sink.feed([a_body(a_png())])
    sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_torn_image_is_told(tmp_path: Path) -> None:
    """Bytes without the end mark are kept and said to be torn."""
    sink = ImageFiles(tmp_path, ImagesReader())
    sink.feed([a_body(a_png()[:-12])])
    assert sink.received[0].is_complete is False
    sink.close()


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    """Unknown bytes have no size and no type."""
    sink = ImageFiles(tmp_path, ImagesReader())
    sink.feed([a_body(b"hello, this is no picture at all")])
    assert sink.received[0].info is None
    sink.close()


def test_an_error_body_is_kept() -> None:
    """Half of it, too."""
    text = ErrorText()
    assert text.feed([b'{"err', b'or":']) is False
    text.close()
    assert text.body == b'{"error":'


def test_a_named_file_gets_that_name(tmp_path: Path) -> None:
    """What was there is replaced: it was named."""
    target = tmp_path / "cat.png"
    target.write_bytes(b"old")
    destination = Destination(str(target))
    assert destination.folder == tmp_path
    assert destination.keep(a_received(tmp_path, b"new"), name="gen_1", index=0, count=1) == target
    assert target.read_bytes() == b"new"


def test_a_name_without_suffix_gets_the_true_one(tmp_path: Path) -> None:
    """The suffix tells the bytes' own type."""
    kept = Destination(tmp_path / "cat").keep(a_received(tmp_path, mime="image/jpeg"), name="g", index=0, count=1)
    assert kept == tmp_path / "cat.jpg"


def test_several_images_are_numbered(tmp_path: Path) -> None:
    """One name stands for a row of files."""
    destination = Destination(tmp_path / "cat.png")
    kept = [destination.keep(a_received(tmp_path), name="g", index=index, count=2) for index in (0, 1)]
    assert [path.name for path in kept] == ["cat-0.png", "cat-1.png"]


@pytest.mark.parametrize(("mime", "suffix"), [("image/webp", ".webp"), ("image/gif", ".gif"), (None, ".bin")])
def test_a_folder_gets_names_of_ours(tmp_path: Path, mime: str | None, suffix: str) -> None:
    """The generation's id says where it came from."""
    kept = Destination(tmp_path).keep(a_received(tmp_path, mime=mime), name="gen_1", index=0, count=1)
    assert kept == tmp_path / f"gen_1{suffix}"


def test_a_name_of_ours_replaces_nothing(tmp_path: Path) -> None:
    """Only a name that a person wrote may overwrite."""
    destination = Destination(tmp_path)
    kept = [destination.keep(a_received(tmp_path), name="image", index=0, count=1).name for _ in range(3)]
    assert kept == ["image.png", "image-2.png", "image-3.png"]


def test_a_trailing_slash_means_a_folder(tmp_path: Path) -> None:
    """It is made when it is missing."""
    destination = Destination(f"{tmp_path}/new/")
    destination.prepare()
    assert (tmp_path / "new").is_dir()
    assert list((tmp_path / "new").iterdir()) == []
    assert destination.folder == tmp_path / "new"


def test_no_destination_is_this_folder() -> None:
    """As every program has it."""
    assert Destination(None).folder == Path()


def test_a_folder_that_cannot_be_is_found_out_before_paying(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(OSError, match=r"."):
        Destination(tmp_path / "file" / "cat.png").prepare()


@pytest.mark.parametrize("path", ["/proc/cat.png", "/proc/"])
def test_a_folder_that_takes_no_files_is_named(path: str) -> None:
    """And not the temporary file with which it was tried."""
    with pytest.raises(OSError, match=r"'/proc'$"):
        Destination(path).prepare()


def test_a_device_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    """`-o /dev/null` makes no file beside it; a pipe's reader gets the bytes."""
    null = Destination("/dev/null")
    null.prepare()
    assert null.folder != Path("/dev")
    assert null.keep(a_received(tmp_path), name="g", index=0, count=1) == Path("/dev/null")
    assert not Path("/dev/null").is_file()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        Destination(pipe).keep(a_received(tmp_path, b"picture"), name="g", index=0, count=1)
        assert os.read(reading, 100) == b"picture"
    finally:
        os.close(reading)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize(
    ("name", "mime", "expected"),
    [
        ("cat.jpg", "image/png", True),
        ("cat.PNG", "image/jpeg", True),
        ("cat.jpg", "image/jpeg", False),
        ("cat.JPEG", "image/jpeg", False),
        ("cat.png", "image/png", False),
        ("cat", "image/png", False),
        ("cat.v2", "image/png", False),
        ("cat.png", None, False),
    ],
)
def test_a_name_that_promises_another_format_is_found(
    tmp_path: Path, name: str, mime: str | None, expected: bool
) -> None:
    """It stays as it was typed, and the person is told."""
    assert misnamed(Path(name), a_received(tmp_path, mime=mime)) is expected


def test_kept_files_have_an_ordinary_mode(tmp_path: Path) -> None:
    """Others may read a picture, as far as the umask says."""
    before = os.umask(0o022)
    try:
        kept = Destination(tmp_path).keep(a_received(tmp_path), name="g", index=0, count=1)
    finally:
        os.umask(before)
    assert kept.stat().st_mode & 0o777 == 0o644


def test_a_reference_image_is_measured(tmp_path: Path) -> None:
    """What the request says of it comes from its bytes."""
    path = tmp_path / "cat.dat"
    path.write_bytes(a_png(16, 9))
    image = read_input(path)
    assert (image.mime, image.width_px, image.height_px, image.bytes) == ("image/png", 16, 9, len(a_png(16, 9)))
    assert image.sha256 == hashlib.sha256(a_png(16, 9)).hexdigest()


def test_a_reference_that_is_no_image_is_refused(tmp_path: Path) -> None:
    """Before it is sent."""
    path = tmp_path / "cat.txt"
    path.write_text("a cat", "utf-8")
    with pytest.raises(Stop) as stopped:
        read_input(path)
    assert stopped.value.code is Exit.USAGE
    assert "cat.txt" in stopped.value.message
