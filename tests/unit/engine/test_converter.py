"""Another file format, one child at a time: what becomes of the file, of the original, and of what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holdfast.engine import converter as subject
from holdfast.engine.convert_child import convert
from holdfast.engine.converter import FIRST_INDEX, Converter, FileFormat, in_a_child, is_available
from holdfast.store.spool import SpooledImage
from holdfast.threads import Threads
from holdfast.types import Geometry, ImageInfo, Request, Surface, Tier
from holdfast.wire.answers import Role

JPEG = FileFormat(name="jpeg")


@pytest.fixture
def threads() -> Iterator[Threads]:
    """For files."""
    made = Threads(1, "file")
    yield made
    made.close(wait=True)


def a_picture(path: Path, mode: str = "RGB", kind: str = "PNG") -> SpooledImage:
    """Draw a picture in the spool."""
    Image.effect_mandelbrot((48, 32), (-2.0, -1.0, 1.0, 1.0), 20).convert(mode).save(path, kind)
    data = path.read_bytes()
    info = ImageInfo(
        mime=f"image/{kind.lower()}",
        width_px=48,
        height_px=32,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return SpooledImage(index=2, role=Role.RESULT, path=path, info=info, complete=True)


def names(folder: Path) -> list[str]:
    """What lies in the spool."""
    return [path.name for path in folder.iterdir()]


def leave(what: Any, source: Path, target: Path) -> None:
    """Leave what a child may have left."""
    if what == "half":
        convert(source, target, "jpeg", 90)
        target.write_bytes(target.read_bytes()[:-30])
    elif what == "png":
        target.write_bytes(source.read_bytes())
    elif what is not None:
        target.write_bytes(what)


def lives(pid: str) -> bool:
    """Whether a process is there."""
    return bool(pid) and Path("/proc", pid).exists()


def a_request(**fields: Any) -> Request:
    """A request of the OpenAI surface."""
    geometry = Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024)
    return Request(surface=Surface.OPENAI, model="m", prompt="p", geometry=geometry, **fields)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"output_format": "jpeg"}, FileFormat(name="jpeg", quality=90)),
        ({"output_format": "webp", "output_compression": 40}, FileFormat(name="webp", quality=40)),
        ({"output_format": "jpeg", "output_compression": 0}, FileFormat(name="jpeg", quality=1)),
        ({"output_format": "gif"}, None),
    ],
)
def test_only_a_format_that_was_named_is_wanted(fields: dict[str, Any], wanted: FileFormat | None) -> None:
    """Nobody's image is touched otherwise."""
    assert FileFormat.of(a_request(**fields)) == wanted


async def test_what_has_another_format_is_converted(tmp_path: Path, threads: Threads) -> None:
    """By a real child; the original stays, what was made goes once it has its place."""
    assert is_available()
    image = a_picture(tmp_path / "att_1-2.done")
    async with Converter(tmp_path, threads).converted((image,), JPEG, "att_1") as (made,):
        assert made.info is not None
        assert (made.index, made.info.mime, made.is_whole) == (FIRST_INDEX + 2, "image/jpeg", True)
        assert (made.info.width_px, made.info.height_px) == (48, 32)
        assert hashlib.sha256(made.path.read_bytes()).hexdigest() == made.info.sha256
        assert made.path.match("input-*.part")
    assert names(tmp_path) == ["att_1-2.done"]


async def test_what_has_the_format_already_is_left_alone(tmp_path: Path, threads: Threads) -> None:
    """No child is asked."""

    async def never(source: Path, target: Path, wanted: FileFormat) -> bool:
        raise AssertionError

    image = a_picture(tmp_path / "x.done", kind="JPEG")
    async with Converter(tmp_path, threads, convert=never).converted((image,), JPEG, "att_1") as made:
        assert made == (image,)


@pytest.mark.parametrize("leaves", [None, b"", b"no image", "png", "half"])
@pytest.mark.parametrize("says", [True, False])
async def test_what_cannot_be_converted_stays_what_it_is(
    tmp_path: Path, threads: Threads, leaves: Any, says: bool
) -> None:
    """A child that says no, that lies, that leaves half a file or another format: the original is delivered."""
    image = a_picture(tmp_path / "att_1-2.done")

    async def bad(source: Path, target: Path, wanted: FileFormat) -> bool:
        leave(leaves, source, target)
        return says

    async with Converter(tmp_path, threads, convert=bad).converted((image,), JPEG, "att_1") as made:
        assert made == (image,)
    assert names(tmp_path) == ["att_1-2.done"]


@pytest.mark.parametrize("error", [BlockingIOError(11, "Resource temporarily unavailable"), OSError(12, "no memory")])
async def test_a_child_that_cannot_be_made_leaves_the_image_as_it_is(
    tmp_path: Path, threads: Threads, error: OSError
) -> None:
    """No process to be had is no reason to lose what was paid for."""
    image = a_picture(tmp_path / "att_1-2.done")

    async def cannot(source: Path, target: Path, wanted: FileFormat) -> bool:
        raise error

    async with Converter(tmp_path, threads, convert=cannot).converted((image,), JPEG, "att_1") as made:
        assert made == (image,)


async def test_what_cannot_be_removed_is_left_to_the_next_start(
    tmp_path: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image has its place by then: its generation ends as it should."""

    def cannot(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(subject, "_remove", cannot)
    image = a_picture(tmp_path / "att_1-2.done")
    async with Converter(tmp_path, threads).converted((image,), JPEG, "att_1") as (made,):
        assert made.index == FIRST_INDEX + 2


async def test_one_is_converted_at_a_time(tmp_path: Path, threads: Threads) -> None:
    """Twenty that fall due together do not decode 1.3 GB at once."""
    at_once = most = 0

    async def slow(source: Path, target: Path, wanted: FileFormat) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return False

    made = Converter(tmp_path, threads, convert=slow)
    image = a_picture(tmp_path / "x.done")

    async def one(number: int) -> None:
        async with made.converted((image,), JPEG, f"att_{number}"):
            pass

    await asyncio.gather(*(one(number) for number in range(5)))
    assert most == 1


async def test_who_has_no_time_to_wait_for_his_turn_gets_the_image_as_it_is(tmp_path: Path, threads: Threads) -> None:
    """The image is here; another one at work, or a time that is over, does not keep it."""
    gate, begun = asyncio.Event(), 0

    async def slow(source: Path, target: Path, wanted: FileFormat) -> bool:
        nonlocal begun
        begun += 1
        await gate.wait()
        return False

    made, image = Converter(tmp_path, threads, convert=slow), a_picture(tmp_path / "x.done")

    async def one(within_s: float) -> None:
        async with made.converted((image,), JPEG, "att_1", within_s=within_s) as given:
            assert given == (image,)

    first = asyncio.create_task(one(subject.WAIT_S))
    while not begun:
        await asyncio.sleep(0)
    for within_s in (0.05, 0.0, -1.0):
        await one(within_s)
    assert begun == 1
    gate.set()
    await first


async def test_a_child_that_takes_too_long_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one whose caller gives up; neither goes on behind our back."""
    script = tmp_path / "child.py"
    script.write_text("import os, sys, time\nopen(sys.argv[2], 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
    monkeypatch.setattr(subject.convert_child, "__file__", str(script))
    told = tmp_path / "pid"
    task = asyncio.create_task(in_a_child(tmp_path / "s", told, JPEG))
    async with asyncio.timeout(10):
        while not told.exists() or not told.read_text():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lives(told.read_text())
    monkeypatch.setattr(subject, "TIMEOUT_S", 0.05)
    assert not await in_a_child(tmp_path / "s", told, JPEG)
    assert not lives(told.read_text())


@pytest.mark.parametrize("what", ["missing", "no image", "bomb"])
async def test_a_child_that_fails_says_so(tmp_path: Path, what: str) -> None:
    """No file, no picture, or one that unpacks to more than anybody asks for."""
    source = tmp_path / "s.png"
    if what == "no image":
        source.write_bytes(b"x" * 100)
    elif what == "bomb":
        Image.new("1", (20_000, 20_000)).save(source)
    assert not await in_a_child(source, tmp_path / "t", JPEG)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize(("kind", "mime"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_every_kind_of_picture_is_written(tmp_path: Path, mode: str, kind: str, mime: str) -> None:
    """Gray, indexed, transparent: the same size in another format."""
    source, target = tmp_path / "s", tmp_path / "t"
    base = Image.effect_mandelbrot((48, 32), (-2.0, -1.0, 1.0, 1.0), 20)
    picture = base.convert({"LA": "RGBA", "I;16": "I"}.get(mode, mode)).convert(mode)
    picture.save(source, "TIFF" if mode == "CMYK" else "PNG")
    convert(source, target, kind, 80)
    with Image.open(target) as opened:
        assert (opened.format, opened.size) == (mime, (48, 32))


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    """Where the format has no transparency; black would be the colour of nothing."""
    source, target = tmp_path / "s", tmp_path / "t"
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(source, "PNG")
    convert(source, target, "jpeg", 90)
    with Image.open(target) as opened:
        pixel = opened.getpixel((8, 8))
    assert isinstance(pixel, tuple)
    assert min(pixel) > 250
