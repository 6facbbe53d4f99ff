"""Where bytes go, and what is said of a place before anything is paid."""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest

from holdfast.client.reading import Catch
from holdfast.client.results import Image
from holdfast.client.setup import picture_of
from holdfast.client.spool import Spool, Target
from holdfast.client.steps import Form, Reading
from holdfast.errors import RequestError


def a_png(noise_bytes: int = 0) -> bytes:
    """Draw one, as heavy as wanted."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + os.urandom(3) * 8) * 8)
    noise = chunk(b"tEXt", b"noise\0" + os.urandom(noise_bytes)) if noise_bytes else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + noise + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("memory_bytes_max", [4, 1000])
def test_bytes_come_back_from_memory_and_from_a_file(memory_bytes_max: int) -> None:
    """Where they are makes no difference."""
    spool = Spool(memory_bytes_max=memory_bytes_max)
    for piece in (b"ab", b"cd", b"ef"):
        spool.write(piece)
    assert (spool.read(), spool.read(), spool.bytes) == (b"abcdef", b"abcdef", 6)
    spool.restart()
    spool.write(b"x")
    assert (spool.read(), spool.bytes) == (b"x", 1)
    assert ("memory" in repr(spool)) is (memory_bytes_max == 1000)
    spool.close()


def test_a_copy_is_whole_or_not_there(tmp_path: Path) -> None:
    """Written beside its place and moved there; what was there before is replaced."""
    place = tmp_path / "a.png"
    place.write_bytes(b"old")
    spool = Spool()
    spool.write(b"new")
    spool.save(place)
    assert place.read_bytes() == b"new"
    with pytest.raises(OSError, match=r"no"):
        spool.save(tmp_path / "no" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_was_written_into_its_place_is_read_and_copied_from_there(tmp_path: Path) -> None:
    """The file under its name is the image."""
    spool = Spool(tmp_path / "part")
    spool.write(b"abc")
    spool.keep(tmp_path / "a.png")
    spool.save(tmp_path / "b.png")
    assert (spool.read(), spool.path) == (b"abc", tmp_path / "a.png")
    spool.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_what_was_not_kept_leaves_nothing(tmp_path: Path) -> None:
    """Closed, or forgotten."""
    spool = Spool(tmp_path / "part")
    spool.write(b"abc")
    spool.close()
    forgotten = Spool(tmp_path / "other")
    del forgotten
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["no/such/a.png", "file/a.png"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path, where: str) -> None:
    """A folder that is not there, a file where a folder should be."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RequestError, match="Nothing was sent") as caught:
        Target(tmp_path / where, tag="t")
    assert caught.value.param == "save_to"


def test_a_folder_without_room_is_told(tmp_path: Path) -> None:
    """A device that takes nothing."""
    with pytest.raises(RequestError, match="cannot be written"):
        Target(Path("/proc/a.png"), tag="t")


def test_names_of_several_images(tmp_path: Path) -> None:
    """A file's name is numbered from the second on; a folder's are the generation's with the true ending."""
    target = Target(tmp_path / "a.png", tag="t")
    assert [target.place(rank, "image/jpeg", name="g").name for rank in (0, 1, 2)] == ["a.png", "a-2.png", "a-3.png"]
    folder = Target(tmp_path, tag="t")
    assert [folder.place(rank, "image/jpeg", name="g").name for rank in (0, 1)] == ["g.jpg", "g-1.jpg"]
    assert list(tmp_path.iterdir()) == []


def openai_answer(*pictures: bytes) -> bytes:
    """Write an answer."""
    return json.dumps({"data": [{"b64_json": base64.b64encode(each).decode()} for each in pictures]}).encode()


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
def test_an_answer_is_decoded_as_it_comes(step: int) -> None:
    """In whatever pieces; the images are in hand and the document is small."""
    pictures = (a_png(), a_png(300))
    catch = Catch()
    catch.begin(Reading(form=Form.OPENAI))
    body = openai_answer(*pictures)
    for at in range(0, len(body), step):
        catch.feed(body[at : at + step])
    received = catch.finish()
    assert received.mishap is None
    assert [taken.is_whole for _, taken in received.taken] == [True, True]
    assert [catch.image(index)[0].read() for index in (0, 1)] == list(pictures)
    assert b"iVBOR" not in received.document


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_an_answer_that_ends_early_is_a_mishap(cut: int) -> None:
    """Not an exception: what follows is decided elsewhere."""
    catch = Catch()
    catch.begin(Reading(form=Form.OPENAI))
    catch.feed(openai_answer(a_png(300))[:-cut])
    received = catch.finish()
    assert received.answer is None
    assert received.mishap
    catch.close()


def test_garbage_is_passed_over_to_its_end() -> None:
    """Its first error is told, the rest is not read."""
    catch = Catch()
    catch.begin(Reading(form=Form.OPENAI))
    catch.feed(b'{"data":[{"b64_json":"????"}]}')
    catch.feed(b"more")
    assert "base64" in str(catch.finish().mishap)


def test_a_file_goes_on_where_it_broke_or_begins_anew() -> None:
    """By what the head said."""
    picture = a_png(500)
    catch = Catch()
    catch.begin(Reading(form=Form.FILE))
    catch.feed(picture[:100])
    assert catch.received_bytes == 100
    catch.begin(Reading(form=Form.FILE, at=100))
    catch.feed(picture[100:])
    ((_, taken),) = catch.finish().taken
    assert taken.is_whole
    catch.begin(Reading(form=Form.FILE, at=0))
    assert catch.received_bytes == 0
    catch.feed(picture)
    spool, info = catch.image(0)
    assert (spool.read(), info.bytes) == (picture, len(picture))


def test_files_are_kept_beside_each_other_and_answers_drop_what_was_before() -> None:
    """The second file does not touch the first; a new answer to the POST does."""
    catch = Catch()
    for index in (0, 1):
        catch.begin(Reading(form=Form.FILE, index=index))
        catch.feed(a_png())
    catch.begin(Reading(form=Form.DOCUMENT))
    catch.feed(b"{}")
    assert catch.finish().document == b"{}"
    assert catch.image(0)[1].mime == "image/png"
    catch.begin(Reading(form=Form.OPENAI))
    catch.feed(openai_answer(a_png()))
    assert [index for index, _ in catch.finish().taken] == [0]
    catch.close()


def test_a_document_is_kept_up_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without an end fills no memory."""
    from holdfast.client import reading

    monkeypatch.setattr(reading, "ANSWER_BYTES_MAX", 10)
    catch = Catch()
    catch.begin(Reading(form=Form.DOCUMENT))
    for _ in range(100):
        catch.feed(b"abcdefg")
    assert len(catch.finish().document) == 10


def test_an_image_beyond_the_bound_is_a_mishap(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not written on."""
    from holdfast.client import reading

    monkeypatch.setattr(reading, "IMAGE_BYTES_MAX", 100)
    catch = Catch()
    catch.begin(Reading(form=Form.FILE))
    for _ in range(10):
        catch.feed(b"x" * 40)
    assert "larger than 100" in str(catch.finish().mishap)
    assert catch.received_bytes == 80
    catch.close()


def an_image(data: bytes) -> Image:
    """Make a result."""
    catch = Catch()
    catch.begin(Reading(form=Form.FILE))
    catch.feed(data)
    spool, info = catch.image(0)
    return Image(spool, info, name="gen_1")


def test_an_image_knows_itself_and_saves_itself(tmp_path: Path) -> None:
    """Type and size from its own bytes; in a folder it has the generation's name."""
    data = a_png()
    image = an_image(data)
    assert (image.mime_type, image.width_px, image.height_px, image.size_bytes) == ("image/png", 8, 8, len(data))
    assert image.save(tmp_path) == tmp_path / "gen_1.png"
    assert image.save(str(tmp_path / "x.bin")).read_bytes() == image.bytes == data
    assert "8x8 image/png" in repr(image)
    assert len(image.sha256) == 64


def test_pictures_are_taken_in_whichever_way_they_come(tmp_path: Path) -> None:
    """Bytes, a path, an open file, a result of before."""
    data = a_png()
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png", str(tmp_path / "a.png"), BytesIO(data), an_image(data)):
        picture = picture_of(source, "image[0]")
        assert (picture.data, picture.mime, picture.width_px) == (data, "image/png", 8)


def test_what_is_no_picture_is_refused_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not there, no image, cut, too large."""
    from holdfast.client import setup

    for source in (tmp_path / "no.png", b"words", a_png()[:-4]):
        with pytest.raises(RequestError, match=r"image\[3\]"):
            picture_of(source, "image[3]")
    monkeypatch.setattr(setup, "INPUT_BYTES_MAX", 20)
    with pytest.raises(RequestError, match="larger"):
        picture_of(a_png(), "image[0]")


def test_a_full_disk_is_told_once_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in the file's buffer cannot be written at its end either: it is dropped, and its file with it."""
    part = tmp_path / "part"
    part.write_bytes(b"what was written before")
    # A write that is refused stays in the buffer: closing tries it again.
    monkeypatch.setattr(Path, "open", lambda _path, mode: open("/dev/full", mode))  # noqa: PTH123, SIM115
    spool = Spool(part)
    spool.write(b"x" * 10)
    spool.close()
    spool.close()
    assert not part.exists()
