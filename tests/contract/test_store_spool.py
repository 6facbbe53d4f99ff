"""From an upstream's body to durable files: what is whole is kept, whatever state a crash leaves the spool in."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import faults
from holdfast.faults import InjectedFault
from holdfast.store import spool
from holdfast.store.spool import (
    ANSWER_ATTRIBUTE,
    SpooledImage,
    SpoolWriter,
    attempts_in,
    clear,
    clear_all,
    recover,
    remove,
    remove_inputs,
)
from holdfast.types import ImageInfo, Usage
from holdfast.wire.answers import Reader, Role
from holdfast.wire.gemini import GenerateReader
from holdfast.wire.openai import ImagesReader, ImagesStreamReader
from holdfast.wire.scan import WireError

ATTEMPT = "att_01ARZ3NDEKTSV4RRFFQ69G5FAV"
NEIGHBOUR = "att_01ARZ3NDEKTSV4RRFFQ69G5FAW"


def png(width: int, height: int = 8, payload: bytes = b"pixels") -> bytes:
    """A PNG as far as anybody here looks at one: header, some data, end mark."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", payload) + chunk(b"IEND", b"")


def avif(payload: bytes = b"x" * 40) -> bytes:
    """An image of a kind that shows no end."""
    return struct.pack(">I", 24) + b"ftypavif\x00\x00\x00\x00avifmif1" + payload


def info_of(data: bytes, width: int, height: int = 8) -> ImageInfo:
    """What is to be known of a PNG."""
    digest = hashlib.sha256(data).hexdigest()
    return ImageInfo(mime="image/png", width_px=width, height_px=height, bytes=len(data), sha256=digest)


def b64(data: bytes) -> str:
    """As wires have it."""
    return base64.b64encode(data).decode()


def openai(*images: bytes, **more: Any) -> bytes:
    """An answer of an images endpoint."""
    document = {"created": 1, "data": [{"b64_json": b64(image)} for image in images], **more}
    return json.dumps(document).encode()


def gemini(*images: bytes, text: str = "", finish: str = "STOP") -> bytes:
    """An answer of `generateContent`; of several images the last one is meant."""
    parts: list[dict[str, Any]] = [{"inlineData": {"mimeType": "image/png", "data": b64(image)}} for image in images]
    if text:
        parts.insert(0, {"text": text})
    return json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": finish}]}).encode()


def writer_of(folder: Path, reader: Reader | None = None, attempt_id: str = ATTEMPT) -> SpoolWriter:
    """A writer over a real reader."""
    return SpoolWriter(folder, attempt_id, reader or ImagesReader())


def spooled(folder: Path, body: bytes, reader: Reader | None = None, *, step: int = 1 << 20) -> spool.Spooled:
    """Take a whole answer in, in pieces of `step` bytes."""
    writer = writer_of(folder, reader)
    for at in range(0, len(body), step):
        writer.feed([body[at : at + step]])
    return writer.finish()


def names(folder: Path) -> list[str]:
    """What is in the spool, without the attempt's id."""
    return sorted(path.name.removeprefix(ATTEMPT) for path in folder.iterdir())


def contents(images: tuple[SpooledImage, ...]) -> list[bytes]:
    """The bytes of spooled images."""
    return [image.path.read_bytes() for image in images]


def breaking(monkeypatch: pytest.MonkeyPatch, point: str, nth: int = 1) -> None:
    """Let a fault point fail at its nth pass: what is on the disk then is what a kill would leave."""
    monkeypatch.setattr(faults, "_armed", {point: faults._Armed("error", nth)})


# Taking an answer in


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_an_image_is_written_hashed_and_measured_as_it_comes(tmp_path: Path, step: int) -> None:
    """However its body is cut: the file is the image, byte for byte, and what is known of it is true."""
    image = png(640, payload=bytes(range(256)) * 4)
    body = openai(image, usage={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
    got = spooled(tmp_path, body, step=step)
    (only,) = got.images
    assert (only.index, only.role, only.info, only.complete) == (0, Role.RESULT, info_of(image, 640), True)
    assert only.is_whole
    assert contents(got.images) == [image]
    assert got.answer.usage == Usage(input_tokens=3, output_tokens=4, output_image_tokens=4)
    assert b64(image).encode() not in got.answer.document
    assert names(tmp_path) == ["-0.done"]


@pytest.mark.parametrize("at", [1, 40, 0.5, -1])
def test_an_image_that_makes_a_pause_keeps_no_file_open(tmp_path: Path, at: float) -> None:
    """Thousands may pause at once; each goes on where it was, whether or not its file had been begun."""
    body, image = openai(png(64, payload=b"p" * 5000)), png(64, payload=b"p" * 5000)
    cut = at if isinstance(at, int) else int(len(body) * at)
    writer = writer_of(tmp_path)
    writer.feed([body[:cut]])
    for _ in range(2):
        writer.rest()
        assert open_in(tmp_path) == []
    writer.feed([body[cut:]])
    kept = writer.finish()
    assert contents(kept.images) == [image]
    assert kept.images[0].info == info_of(image, 64)


def open_in(folder: Path) -> list[str]:
    """The files of a folder that this process has open."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(str(folder))]


def test_a_writer_knows_that_the_document_has_closed(tmp_path: Path) -> None:
    """Even if the transfer's own end never comes: a connection that dies after it has lost nothing."""
    body = openai(png(1))
    writer = writer_of(tmp_path)
    writer.feed([body[:-1]])
    assert not writer.complete
    writer.feed([body[-1:]])
    assert writer.complete
    assert len(writer.finish().images) == 1


def test_several_images_are_all_results_at_openais(tmp_path: Path) -> None:
    """In their order, each with its own file."""
    images = [png(width) for width in (10, 20, 30)]
    got = spooled(tmp_path, openai(*images))
    assert [image.role for image in got.images] == [Role.RESULT] * 3
    assert contents(got.images) == images
    assert names(tmp_path) == ["-0.done", "-1.done", "-2.done"]


def test_of_several_images_the_last_is_meant_at_geminis(tmp_path: Path) -> None:
    """The others are drafts: kept, since they are paid for."""
    images = [png(width) for width in (10, 20, 30)]
    got = spooled(tmp_path, gemini(*images, text="here it is"), GenerateReader())
    assert [image.role for image in got.images] == [Role.DRAFT, Role.DRAFT, Role.RESULT]
    assert contents(got.images) == images


@pytest.mark.parametrize(
    ("image", "is_known"),
    [(png(10)[:-6], True), (b"<html>no image</html>", False), (b"\x89PNG\r\n\x1a\n", False), (b"GIF89a", False)],
)
def test_what_is_no_whole_image_is_kept_and_never_whole(tmp_path: Path, image: bytes, is_known: bool) -> None:
    """A cut image, or none: an operator can look at it, but it is not to be delivered."""
    (only,) = spooled(tmp_path, openai(image)).images
    assert not only.is_whole
    assert not only.complete
    assert (only.info is not None) == is_known
    assert contents((only,)) == [image]
    assert recover(tmp_path, ATTEMPT) is None


@pytest.mark.parametrize("body", [openai(), gemini(text="I cannot draw that"), gemini(finish="NO_IMAGE")])
def test_an_answer_without_an_image_leaves_no_file(tmp_path: Path, body: bytes) -> None:
    """There is nothing to recover; the conversation reads the answer from memory."""
    got = spooled(tmp_path, body, GenerateReader() if b"candidates" in body else None)
    assert got.images == ()
    assert got.answer.document
    assert names(tmp_path) == []


def event(kind: str, image: bytes, *, named: bool = True) -> bytes:
    """One event of an image stream."""
    kind = f"image_generation.{kind}"
    head = f"event: {kind}\n" if named else ""
    return f"{head}data: {json.dumps({'b64_json': b64(image), 'type': kind})}\n\n".encode()


def test_previews_are_told_as_they_become_whole(tmp_path: Path) -> None:
    """Each once, with its file to read from; they are no part of what is kept."""
    writer = writer_of(tmp_path, ImagesStreamReader())
    first, cut, final = png(10), png(20)[:-4], png(30)
    assert writer.feed([event("partial_image", first)[:40]]) == []
    (ready,) = writer.feed([event("partial_image", first)[40:]])
    assert (ready.index, ready.info, ready.path.read_bytes()) == (0, info_of(first, 10), first)
    assert writer.feed([event("partial_image", cut)]) == []
    assert writer.feed([event("completed", final)]) == []
    got = writer.finish()
    assert [(image.index, image.role) for image in got.images] == [(2, Role.RESULT)]
    assert contents(got.images) == [final]
    assert ready.path.exists()
    remove(tmp_path, ATTEMPT)
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", [1, 50, 1 << 20])
def test_a_preview_that_is_known_only_afterwards_is_not_kept(tmp_path: Path, step: int) -> None:
    """A relay that does not name its events tells the kind behind the image; after a crash it is not delivered."""
    body = event("partial_image", png(10), named=False) + event("completed", png(30), named=False)
    got = spooled(tmp_path, body, ImagesStreamReader(), step=step)
    assert [(image.index, image.role) for image in got.images] == [(1, Role.RESULT)]
    assert recover(tmp_path, ATTEMPT) == got
    os.truncate(got.images[0].path, 20)
    assert recover(tmp_path, ATTEMPT) is None


def test_the_bytes_of_an_image_are_durable_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and nothing else is: its name becomes durable in the blob store; previews need not survive."""
    seen: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        seen.append("folder" if path == tmp_path else path.name.removeprefix(ATTEMPT))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    spooled(tmp_path, event("partial_image", png(1)) + event("completed", png(2)), ImagesStreamReader())
    assert seen == ["-1.part"]


def test_a_document_too_large_to_keep_leaves_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has room for 4 MB of text; the images are paid for, and durable, whatever stands beside them."""
    monkeypatch.setattr(spool, "ANSWER_BYTES_MAX", 100)
    got = spooled(tmp_path, gemini(png(10), text="x" * 200), GenerateReader())
    assert [image.role for image in got.images] == [Role.RESULT]
    assert names(tmp_path) == ["-0.done"]
    assert ANSWER_ATTRIBUTE not in os.listxattr(got.images[0].path)


# What breaks off


def test_a_disk_that_turned_read_only_hides_nothing_that_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be removed stays for the sweeper; whoever discards goes on to tell what happened."""

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    writer = writer_of(tmp_path)
    writer.feed([openai(png(5))[:60]])
    monkeypatch.setattr(Path, "unlink", refuse)
    assert writer.discard() is None
    assert names(tmp_path) == ["-0.part"]


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_body_that_breaks_off_raises_and_can_be_discarded(tmp_path: Path, cut: float) -> None:
    """In the middle of an image or after it: its file is closed and removed, a neighbour's stays."""
    spooled_neighbour = writer_of(tmp_path, attempt_id=NEIGHBOUR)
    spooled_neighbour.feed([openai(png(5))])
    body = openai(png(10, payload=b"p" * 1000), usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})
    writer = writer_of(tmp_path)
    writer.feed([body[: int(len(body) * cut)]])
    assert any(name.startswith("-0") for name in names(tmp_path))
    with pytest.raises(WireError):
        writer.finish()
    writer.discard()
    writer.discard()
    assert names(tmp_path) == [f"{NEIGHBOUR}-0.done"]
    assert len(spooled_neighbour.finish().images) == 1


@pytest.mark.parametrize("body", [b"<html>", b'{"data":[{"b64_json":"!!!!"}]}', openai(png(1)) + b"{}"])
def test_a_malformed_body_raises_and_leaves_nothing(tmp_path: Path, body: bytes) -> None:
    """Whenever it shows."""
    writer = writer_of(tmp_path)
    with pytest.raises(WireError):
        writer.feed([body])
        writer.finish()
    writer.discard()
    assert names(tmp_path) == []


def test_a_full_disk_surfaces_as_itself(tmp_path: Path) -> None:
    """The kernel's own ENOSPC, in the middle of an image: whoever settles is told, and what was written is removed."""
    (tmp_path / f"{ATTEMPT}-0.part").symlink_to("/dev/full")
    writer = writer_of(tmp_path)
    with pytest.raises(OSError, match="No space left") as told:
        writer.feed([openai(png(10))])
    assert told.value.errno == errno.ENOSPC
    writer.discard()
    assert names(tmp_path) == []


@pytest.mark.parametrize("nth", [1, 2])
def test_a_sync_that_fails_is_never_taken_for_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Whichever image's: an error, not a spooled answer; it is not tried again."""
    calls: list[int] = []

    def fsync(_: int) -> None:
        calls.append(1)
        if len(calls) == nth:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        spooled(tmp_path, openai(png(10), png(20)))
    assert len(calls) == nth
    assert names(tmp_path)[-1] == f"-{nth - 1}.part"


def test_a_folder_that_is_gone_surfaces(tmp_path: Path) -> None:
    """As an error of the disk at the first image, not later."""
    with pytest.raises(FileNotFoundError):
        writer_of(tmp_path / "none").feed([openai(png(1))])


# After a crash


def results(folder: Path) -> dict[int, Role] | None:
    """What recovery finds: index and role of each whole image."""
    found = recover(folder, ATTEMPT)
    return None if found is None else {image.index: image.role for image in found.images}


def test_a_spooled_answer_is_recovered_as_it_was(tmp_path: Path) -> None:
    """Same images, same roles, same document, same usage: the settlement is the one that the crash prevented."""
    body = gemini(png(10), png(20), text="here")
    before = spooled(tmp_path, body, GenerateReader())
    assert recover(tmp_path, ATTEMPT) == before


def test_recovering_twice_finds_the_same(tmp_path: Path) -> None:
    """A recovery that is killed begins again; it changes nothing in the spool."""
    spooled(tmp_path, openai(png(10), png(20)))
    listed = names(tmp_path)
    assert recover(tmp_path, ATTEMPT) == recover(tmp_path, ATTEMPT)
    assert names(tmp_path) == listed


@pytest.mark.parametrize(
    ("point", "nth", "found"),
    [
        ("spool.image_began", 1, None),
        ("spool.image_synced", 1, {0: Role.DRAFT}),
        ("spool.renamed", 1, {0: Role.DRAFT}),
        ("spool.image_began", 2, {0: Role.DRAFT}),
        ("spool.image_synced", 2, {0: Role.DRAFT, 1: Role.DRAFT}),
        ("spool.renamed", 2, {0: Role.DRAFT, 1: Role.DRAFT}),
        ("spool.before_answer", 1, {0: Role.DRAFT, 1: Role.DRAFT}),
        ("spool.finished", 1, {0: Role.RESULT, 1: Role.RESULT}),
    ],
)
def test_what_was_whole_when_the_process_died_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, nth: int, found: dict[int, Role] | None
) -> None:
    """At each step: every image that had come to its end, under either of its names, and none that had not.

    Until the answer is there nobody knows the roles; the recovery judges by the images' order then.
    """
    breaking(monkeypatch, point, nth)
    writer = writer_of(tmp_path)
    with pytest.raises(InjectedFault):
        writer.feed([openai(png(10), png(20))])
        writer.finish()
    if writer._open is not None:
        # A process that dies closes its files, too.
        writer._open.file.close()
    assert results(tmp_path) == found
    recovered = recover(tmp_path, ATTEMPT)
    if recovered is not None:
        for image, width in zip(recovered.images, (10, 20), strict=False):
            assert image.info == info_of(png(width), width)


def no_attributes(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Let the file system refuse attributes."""

    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "setxattr", refuse)


@pytest.mark.parametrize("error", [errno.ENOTSUP, errno.E2BIG, errno.ENOSPC])
def test_where_attributes_do_not_fit_the_answer_lies_beside_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Not there, too long for it, no block left: the answer is found again all the same, and cleared with the rest."""
    no_attributes(monkeypatch, error)
    got = spooled(tmp_path, gemini(png(10), png(20)), GenerateReader())
    assert names(tmp_path) == ["-0.done", "-1.done", ".answer"]
    assert recover(tmp_path, ATTEMPT) == got
    clear(got)
    assert names(tmp_path) == []


def test_a_long_answer_is_kept_whole(tmp_path: Path) -> None:
    """Thought signatures are a megabyte: more than any file system keeps as an attribute."""
    got = spooled(tmp_path, gemini(png(10), text="x" * 100_000), GenerateReader())
    assert names(tmp_path) == ["-0.done", ".answer"]
    assert recover(tmp_path, ATTEMPT) == got


def test_a_disk_too_full_for_the_answer_keeps_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are durable and paid for, and the answer goes on in memory: only a crash would miss it."""
    no_attributes(monkeypatch, errno.ENOSPC)
    (tmp_path / f"{ATTEMPT}.answer").symlink_to("/dev/full")
    got = spooled(tmp_path, gemini(png(10), png(20), text="here"), GenerateReader())
    assert [image.role for image in got.images] == [Role.DRAFT, Role.RESULT]
    assert b"here" in got.answer.document
    assert names(tmp_path) == ["-0.done", "-1.done"], "half an answer is not left behind"
    clear(got)
    assert names(tmp_path) == []


@pytest.mark.parametrize("answer", [None, b"", b'{"images":[{"in', b"[]", b'{"images":5}'])
@pytest.mark.parametrize("place", ["attribute", "file"])
def test_a_missing_or_torn_answer_leaves_the_images(tmp_path: Path, answer: bytes | None, place: str) -> None:
    """They speak for themselves; only the document is lost."""
    got = spooled(tmp_path, gemini(png(10), png(20)), GenerateReader())
    os.removexattr(got.images[-1].path, ANSWER_ATTRIBUTE)
    if answer is not None and place == "file":
        (tmp_path / f"{ATTEMPT}.answer").write_bytes(answer)
    elif answer is not None:
        os.setxattr(got.images[-1].path, ANSWER_ATTRIBUTE, answer)
    found = recover(tmp_path, ATTEMPT)
    assert found is not None
    assert results(tmp_path) == {0: Role.DRAFT, 1: Role.DRAFT}
    assert found.answer.images == ()
    assert found.answer.document == b"{}"
    assert found.answer.usage is None


def test_clearing_takes_just_what_an_answer_left(tmp_path: Path) -> None:
    """Images and previews of this attempt, by name; a neighbour's stay, and clearing twice is clearing once."""
    neighbour = writer_of(tmp_path, attempt_id=NEIGHBOUR)
    neighbour.feed([openai(png(5))])
    neighbour.finish()
    got = spooled(tmp_path, event("partial_image", png(1)) + event("completed", png(2)), ImagesStreamReader())
    assert names(tmp_path)[:2] == ["-0.preview", "-1.done"]
    clear(got)
    clear(got)
    assert names(tmp_path) == [f"{NEIGHBOUR}-0.done"]


def test_of_several_that_are_cleared_one_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk does not let go of is told of its own answer; the others are gone."""
    first = spooled(tmp_path, openai(png(1)))
    writer = writer_of(tmp_path, attempt_id=NEIGHBOUR)
    writer.feed([openai(png(2))])
    second = writer.finish()
    unlink = Path.unlink

    def stubborn(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith(ATTEMPT):
            raise OSError(errno.EIO, "Input/output error")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", stubborn)
    told = clear_all([first, second])
    assert [type(each) for each in told] == [OSError, type(None)]
    assert names(tmp_path) == ["-0.done"]


@pytest.mark.parametrize("release", [lambda got, folder: clear(got), lambda got, folder: remove(folder, ATTEMPT)])
def test_an_image_that_lives_on_carries_no_answer(tmp_path: Path, release: Callable[[Any, Path], None]) -> None:
    """A blob is the same file under another name; a revised prompt would be copied along with it."""
    got = spooled(tmp_path, openai(png(64), revised_prompt="a secret wish"))
    blob = tmp_path / "blob.png"
    os.link(got.images[-1].path, blob)
    assert ANSWER_ATTRIBUTE in os.listxattr(blob)
    release(got, tmp_path)
    assert os.listxattr(blob) == []
    assert blob.read_bytes() == png(64)


def test_an_answer_without_its_images_is_nothing(tmp_path: Path) -> None:
    """The document alone delivers nothing."""
    spooled(tmp_path, openai(png(10)))
    (tmp_path / f"{ATTEMPT}-0.done").unlink()
    assert recover(tmp_path, ATTEMPT) is None


def test_a_torn_image_is_not_delivered_beside_a_whole_one(tmp_path: Path) -> None:
    """A disk that lost the tail of one of two files: the other is delivered, in the role that it had."""
    spooled(tmp_path, openai(png(10), png(20)))
    path = tmp_path / f"{ATTEMPT}-1.done"
    os.truncate(path, 40)
    assert results(tmp_path) == {0: Role.RESULT}


@pytest.mark.parametrize("place", ["attribute", "file"])
def test_a_torn_result_does_not_make_a_result_of_its_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The answer is read off whichever image holds it: the customer would be charged for a sketch."""
    if place == "file":
        no_attributes(monkeypatch, errno.ENOTSUP)
    got = spooled(tmp_path, gemini(png(10), png(20)), GenerateReader())
    os.truncate(got.images[-1].path, 40)
    assert results(tmp_path) == {0: Role.DRAFT}


def test_images_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Ten comes after nine, whatever the file system lists first, and whichever name each has."""
    for index in range(12):
        name = f"{ATTEMPT}-{index}.{'part' if index % 3 == 0 else 'done'}"
        (tmp_path / name).write_bytes(png(index + 1))
    found = recover(tmp_path, ATTEMPT)
    assert found is not None
    assert [image.index for image in found.images] == list(range(12))


def test_an_image_that_shows_no_end_is_believed_only_under_its_final_name(tmp_path: Path) -> None:
    """Of a kind without an end mark a piece looks like the whole; the rename says that it came to its end."""
    (tmp_path / f"{ATTEMPT}-0.part").write_bytes(avif()[:50])
    assert recover(tmp_path, ATTEMPT) is None
    (tmp_path / f"{ATTEMPT}-1.done").write_bytes(avif())
    assert results(tmp_path) == {1: Role.DRAFT}


def test_previews_are_never_recovered(tmp_path: Path) -> None:
    """A preview is whole and is not what was paid for."""
    writer = writer_of(tmp_path, ImagesStreamReader())
    writer.feed([event("partial_image", png(10))])
    assert recover(tmp_path, ATTEMPT) is None
    assert attempts_in(tmp_path) == {ATTEMPT}


def test_a_large_image_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest and the end are of the whole file, whatever its size is to the buffer's."""
    monkeypatch.setattr(spool, "READ_BYTES", 64)
    image = png(10, payload=bytes(1000))
    for size in (len(image) - 1, len(image), 64):
        (tmp_path / f"{ATTEMPT}-0.done").write_bytes(image[:size])
        found = recover(tmp_path, ATTEMPT)
        assert (found is not None) == (size == len(image))
        if found is not None:
            assert found.images[0].info == info_of(image, 10)


# The folder


def test_the_attempts_of_a_spool_are_listed_once_each(tmp_path: Path) -> None:
    """By any file they left; inputs of requests and strangers' files are none."""
    left = [f"{ATTEMPT}-0.part", f"{ATTEMPT}-0.done", f"{ATTEMPT}.answer", f"{NEIGHBOUR}.new", f"{NEIGHBOUR}-0.preview"]
    for name in (*left, "input-req_1-0.part", "README", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    assert attempts_in(tmp_path) == {ATTEMPT, NEIGHBOUR}


def test_removing_takes_all_of_one_attempt_and_nothing_else(tmp_path: Path) -> None:
    """Also one whose id begins alike; removing twice is removing once."""
    longer = f"{ATTEMPT}X"
    for name in (f"{ATTEMPT}-0.part", f"{ATTEMPT}-10.done", f"{ATTEMPT}.answer", f"{ATTEMPT}.new", f"{longer}-0.done"):
        (tmp_path / name).write_bytes(b"")
    remove(tmp_path, ATTEMPT)
    remove(tmp_path, ATTEMPT)
    assert [path.name for path in tmp_path.iterdir()] == [f"{longer}-0.done"]


def test_left_over_inputs_of_requests_are_removed(tmp_path: Path) -> None:
    """What a dead process was reading belongs to no generation; answers stay."""
    for name in ("input-req_1-0.part", "input-req_1-12.part", f"{ATTEMPT}-0.part", f"{ATTEMPT}-0.done"):
        (tmp_path / name).write_bytes(b"")
    assert remove_inputs(tmp_path) == 2
    assert remove_inputs(tmp_path) == 0
    assert names(tmp_path) == ["-0.done", "-0.part"]


@pytest.mark.parametrize("reading", [attempts_in, remove_inputs, lambda folder: recover(folder, ATTEMPT)])
def test_an_empty_spool_holds_nothing(tmp_path: Path, reading: Callable[[Path], Any]) -> None:
    """The usual start."""
    assert not reading(tmp_path)
