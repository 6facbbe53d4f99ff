"""Request bodies with real files: images are cut out and kept by their digest, small and large, whole or not at all."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.gateway.bodies import INLINE_BYTES_MAX, BodyReader, JsonBody
from holdfast.gateway.call import CallerLeft
from holdfast.store.blobs import LocalBlobs
from holdfast.threads import Threads
from holdfast.wire.gemini import GEMINI_REQUEST_IMAGE

JSON = {"content-type": "application/json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder."""
    (tmp_path / "spool").mkdir()
    return tmp_path


@pytest.fixture
def threads() -> Iterator[Threads]:
    """Where files are written."""
    made = Threads(2, "file")
    yield made
    made.close(wait=True)


@pytest.fixture
def reader(folder: Path, threads: Threads) -> BodyReader:
    """A reader that takes images up to 8 MB."""
    return BodyReader(blobs=LocalBlobs(folder), spool=folder / "spool", threads=threads, image_bytes_max=8 << 20)


async def read(reader: BodyReader, caller: Any, *, body_bytes_max: int = 1 << 30) -> JsonBody:
    """Read a body of the Gemini surface."""
    return await reader.read_json(caller.call(body_bytes_max=body_bytes_max), GEMINI_REQUEST_IMAGE)


def body_with(*images: bytes, prompt: str = "a lighthouse") -> bytes:
    """A request of Google's SDK."""
    parts: list[dict[str, Any]] = [{"text": prompt}]
    parts += [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(image).decode()}} for image in images]
    return json.dumps({"contents": [{"role": "user", "parts": parts}]}).encode()


def cut(body: bytes, piece_bytes: int) -> list[bytes]:
    """Cut a body as the network does."""
    return [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]


def left_in(folder: Path) -> list[str]:
    """What was left behind in the spool."""
    return sorted(path.name for path in (folder / "spool").iterdir())


@pytest.mark.parametrize("padding_bytes", [0, 40_000, 300_000, 3_000_000])
@pytest.mark.parametrize("piece_bytes", [1 << 14, 1 << 18])
async def test_an_image_is_cut_out_and_kept_by_its_digest(
    reader: BodyReader, folder: Path, a_caller: Any, a_png: Any, padding_bytes: int, piece_bytes: int
) -> None:
    """Byte for byte, with what its header says; the skeleton holds its number."""
    image = a_png(width_px=640, height_px=480, padding_bytes=padding_bytes)
    caller = a_caller("POST", headers=JSON, pieces=cut(body_with(image), piece_bytes))
    body = await read(reader, caller)
    (kept,) = body.inputs
    assert (folder / kept.store_key).read_bytes() == image
    assert kept.sha256 == hashlib.sha256(image).hexdigest()
    assert (kept.mime, kept.bytes, kept.width_px, kept.height_px) == ("image/png", len(image), 640, 480)
    assert json.loads(body.skeleton)["contents"][0]["parts"][1]["inlineData"]["data"] == "0"
    assert left_in(folder) == []


async def test_several_images_keep_their_order(reader: BodyReader, folder: Path, a_caller: Any, a_png: Any) -> None:
    """Whether they end in one piece of the body or in many."""
    images = [a_png(width_px=8 * number, padding_bytes=1000 * number) for number in range(1, 8)]
    body = body_with(*images)
    for piece_bytes in (len(body), 3000, 1 << 20):
        read_body = await read(reader, a_caller("POST", headers=JSON, pieces=cut(body, piece_bytes)))
        assert [(folder / each.store_key).read_bytes() for each in read_body.inputs] == images
        assert [each.width_px for each in read_body.inputs] == [8 * number for number in range(1, 8)]
    assert left_in(folder) == []


async def test_the_same_image_is_kept_once(reader: BodyReader, folder: Path, a_caller: Any, a_png: Any) -> None:
    """A reference image that comes with every request costs its bytes once."""
    image = a_png(padding_bytes=5000)
    for _ in range(2):
        body = await read(reader, a_caller("POST", headers=JSON, pieces=[body_with(image, image)]))
        assert len({each.store_key for each in body.inputs}) == 1
        assert len(body.inputs) == 2
    assert len(list((folder / "inputs").iterdir())) == 1


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", "text/json"])
async def test_a_body_without_images_is_given_as_it_came(
    reader: BodyReader, folder: Path, a_caller: Any, content_type: str
) -> None:
    """Nothing is decoded twice, nothing is written."""
    body = body_with(prompt="a lighthouse \u2600 \\ud83d")
    given = await read(reader, a_caller("POST", headers={"content-type": content_type}, pieces=cut(body, 7)))
    assert (given.skeleton, given.inputs) == (body, ())
    assert not (folder / "inputs").exists()


@pytest.mark.parametrize(
    ("body", "is_on_the_loop"), [(b'{"a":"%s"}' % (b"x" * 1000), True), (b'{"a":"%s"}' % (b"x" * 200_000), False)]
)
async def test_a_small_body_costs_no_hop_to_a_thread(
    reader: BodyReader, a_caller: Any, monkeypatch: pytest.MonkeyPatch, body: bytes, is_on_the_loop: bool
) -> None:
    """Above a bound the parsing must not hold up thousands of held callers."""
    submitted: list[Any] = []

    class Watched(Threads):
        def submit(self, work: Any, done: Any) -> None:
            submitted.append(work)
            super().submit(work, done)

    threads = Watched(1, "file")
    monkeypatch.setattr(reader, "_threads", threads)
    await read(reader, a_caller("POST", headers=JSON, pieces=cut(body, INLINE_BYTES_MAX)))
    threads.close(wait=True)
    assert (submitted == []) is is_on_the_loop


async def test_nothing_waits_for_the_disk_on_the_loop(
    reader: BodyReader, a_caller: Any, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fsync of 20 ms there would delay the beats of everybody."""
    synced_in: list[int] = []
    real = os.fsync

    def noting(fd: int) -> None:
        synced_in.append(threading.get_ident())
        real(fd)

    monkeypatch.setattr(os, "fsync", noting)
    await read(reader, a_caller("POST", headers=JSON, pieces=[body_with(a_png())]))
    assert synced_in
    assert threading.get_ident() not in synced_in


@pytest.mark.parametrize("content_type", [None, "text/plain", "multipart/form-data; boundary=x", "application/jsonp"])
async def test_another_media_type_is_refused_unread(
    reader: BodyReader, a_caller: Any, content_type: str | None
) -> None:
    """415, and what to send instead."""
    headers = {} if content_type is None else {"content-type": content_type}
    caller = a_caller("POST", headers=headers, pieces=[b"{}"])
    with pytest.raises(RequestError, match="application/json") as refused:
        await read(reader, caller)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_media_type")
    assert caller.pieces == [b"{}"]


@pytest.mark.parametrize("body", [b"", b"   ", b"hello", b'{"contents":', b'{"a":1}{"b":2}', b'{"a":tru}', b"\xff{}"])
async def test_a_body_that_is_no_json_is_refused_without_quoting_it(
    reader: BodyReader, a_caller: Any, body: bytes
) -> None:
    """It may be a prompt."""
    with pytest.raises(RequestError, match=r"cannot be read|not complete") as refused:
        await read(reader, a_caller("POST", headers=JSON, pieces=[body or b""]))
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")
    assert "hello" not in refused.value.message


@pytest.mark.parametrize(
    "image", [b"not an image at all, though long enough", b"\x89PNG\r\n\x1a\n", b""], ids=["text", "header", "nothing"]
)
@pytest.mark.parametrize("prompt", ["short", "x" * 100_000])
async def test_what_is_no_whole_image_is_refused_and_not_kept(
    reader: BodyReader, folder: Path, a_caller: Any, a_png: Any, image: bytes, prompt: str
) -> None:
    """An upstream would refuse it after minutes, and perhaps bill it; whole ones before it stay, they are shared."""
    body = body_with(a_png(), image, prompt=prompt)
    caller = a_caller("POST", headers=JSON, pieces=cut(body, 1 << 15))
    if not image:
        # Empty base64 is no image and no fault of this layer: the typed definition of the dialect refuses it.
        assert len((await read(reader, caller)).inputs) == 1
        return
    with pytest.raises(RequestError, match="Input image 1 is not a whole") as refused:
        await read(reader, caller)
    assert (refused.value.status, refused.value.param) == (400, "image")
    assert left_in(folder) == []
    assert len(list((folder / "inputs").iterdir())) == 1


async def test_an_image_that_lacks_its_end_is_refused(
    reader: BodyReader, folder: Path, a_caller: Any, a_png: Any
) -> None:
    """Its caller's upload was cut before it came to us."""
    body = body_with(a_png(padding_bytes=20_000)[:-12])
    with pytest.raises(RequestError, match="not a whole"):
        await read(reader, a_caller("POST", headers=JSON, pieces=cut(body, 1000)))
    assert left_in(folder) == []


async def test_base64_that_is_none_is_refused(reader: BodyReader, folder: Path, a_caller: Any) -> None:
    """And its half-written file is removed."""
    body = body_with(b"x" * 3000).replace(b"eHh4eHh4", b"eH!!eHh4", 1)
    with pytest.raises(RequestError, match="cannot be read") as refused:
        await read(reader, a_caller("POST", headers=JSON, pieces=[body]))
    assert refused.value.status == 400
    assert left_in(folder) == []


async def test_an_image_beyond_the_bound_is_413(reader: BodyReader, folder: Path, a_caller: Any, a_png: Any) -> None:
    """Told as too large, not as broken."""
    body = body_with(a_png(padding_bytes=9 << 20))
    with pytest.raises(RequestError) as refused:
        await read(reader, a_caller("POST", headers=JSON, pieces=cut(body, 1 << 18)))
    assert (refused.value.status, refused.value.code) == (413, "input_too_large")
    assert left_in(folder) == []


async def test_a_body_beyond_the_bound_is_413_announced_or_not(reader: BodyReader, a_caller: Any) -> None:
    """Before its first byte where Content-Length tells, else where it passes the bound."""
    body = body_with(prompt="x" * 5000)
    announced = a_caller("POST", headers={**JSON, "content-length": str(len(body))}, pieces=[body])
    chunked = a_caller("POST", headers=JSON, pieces=cut(body, 1000))
    for caller in (announced, chunked):
        with pytest.raises(RequestError) as refused:
            await read(reader, caller, body_bytes_max=4000)
        assert (refused.value.status, refused.value.code) == (413, "input_too_large")
    assert announced.pieces == [body]
    assert chunked.pieces


async def test_a_prompt_of_forty_megabytes_is_refused_in_bounded_memory(reader: BodyReader, a_caller: Any) -> None:
    """Images aside, a request is small; what is not is 413 long before its end."""
    pieces = [b'{"contents":[{"parts":[{"text":"', *[b"x" * 262_144] * 160, b'"}]}]}']
    caller = a_caller("POST", headers=JSON, pieces=pieces)
    with pytest.raises(RequestError) as refused:
        await read(reader, caller)
    assert refused.value.status == 413
    assert len(caller.pieces) > 100


@pytest.mark.parametrize("piece_bytes", [5000, 100_000])
async def test_a_caller_that_leaves_in_mid_upload_leaves_nothing_behind(
    reader: BodyReader, folder: Path, a_caller: Any, a_png: Any, piece_bytes: int
) -> None:
    """Half an image is of no use to anybody."""
    pieces = cut(body_with(a_png(padding_bytes=400_000)), piece_bytes)[:3]
    with pytest.raises(CallerLeft):
        await read(reader, a_caller("POST", headers=JSON, pieces=pieces, leaves=True))
    assert left_in(folder) == []


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 503), (errno.EDQUOT, 503), (errno.EIO, None)])
async def test_a_full_disk_is_told_as_such_and_costs_nothing(
    reader: BodyReader,
    folder: Path,
    a_caller: Any,
    a_png: Any,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int | None,
) -> None:
    """Nothing was bought, and another try later may be taken; any other disk error is a fault of ours."""

    def full(*_: Any) -> Path:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(LocalBlobs, "put_shared", full)
    caller = a_caller("POST", headers=JSON, pieces=[body_with(a_png())])
    wanted: type[Exception] = RequestError if status else OSError
    with pytest.raises(wanted) as raised:
        await read(reader, caller)
    if isinstance(raised.value, RequestError):
        assert (raised.value.status, raised.value.code) == (status, "storage_low")
        assert raised.value.retry_after_s
    assert left_in(folder) == []


@pytest.mark.parametrize("index", [0, 1])
async def test_a_disk_that_fills_up_under_an_image_is_told_as_such(
    reader: BodyReader, folder: Path, a_caller: Any, a_png: Any, index: int
) -> None:
    """The kernel's own ENOSPC, at whichever image: 503, and none of the files stays."""
    (folder / "spool" / f"input-req_1-{index}.part").symlink_to("/dev/full")
    caller = a_caller("POST", headers=JSON, pieces=[body_with(a_png(), a_png(fill=b"\x01"), a_png(fill=b"\x02"))])
    with pytest.raises(RequestError) as refused:
        await read(reader, caller)
    assert (refused.value.status, refused.value.code) == (503, "storage_low")
    assert left_in(folder) == []


async def test_a_file_that_fails_to_close_takes_no_other_with_it(
    reader: BodyReader, folder: Path, a_caller: Any, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a request leaves behind is removed to the last file, and the first error is the one that surfaces."""
    to_fail = [1, 2]

    class Failing(io.FileIO):
        def close(self) -> None:
            super().close()
            if to_fail:
                raise OSError(errno.EIO, f"close {to_fail.pop(0)}")

    monkeypatch.setattr(Path, "open", lambda path, mode, **_: Failing(path, mode))
    caller = a_caller("POST", headers=JSON, pieces=[body_with(a_png(), a_png(fill=b"\x01"))])
    with pytest.raises(OSError, match="close 1"):
        await read(reader, caller)
    assert to_fail == []
    assert left_in(folder) == []


async def test_many_uploads_at_once_do_not_mix(
    reader: BodyReader, folder: Path, a_caller: Any, a_png: Callable[..., bytes]
) -> None:
    """Each request has files of its own, by its id."""
    images = [a_png(padding_bytes=200_000, fill=bytes([number])) for number in range(6)]

    async def one(number: int) -> bytes:
        caller = a_caller("POST", headers=JSON, pieces=cut(body_with(images[number]), 30_000))
        call = caller.call()
        call.request_id = f"req_{number}"
        body = await reader.read_json(call, GEMINI_REQUEST_IMAGE)
        return (folder / body.inputs[0].store_key).read_bytes()

    assert await asyncio.gather(*map(one, range(6))) == images
    assert left_in(folder) == []


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "gzip, identity"])
async def test_a_compressed_body_is_refused_unread(reader: BodyReader, a_caller: Any, coding: str) -> None:
    """415 that names the coding, rather than "not valid JSON"."""
    headers = {"content-type": "application/json", "content-encoding": coding}
    caller = a_caller("POST", headers=headers, pieces=[b"\x1f\x8b"])
    with pytest.raises(RequestError, match="Content-Encoding") as refused:
        await read(reader, caller)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_media_type")
    assert caller.pieces == [b"\x1f\x8b"]
