"""Small pictures: made once, kept in bounds, gone with their image; and the child that makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holdfast.engine import convert_child, converter
from holdfast.engine import thumbnails as subject
from holdfast.engine.convert_child import shrink
from holdfast.engine.thumbnails import BLOCK_BYTES, WIDTHS, NoThumbnail, Thumbnails, make_small
from holdfast.threads import Threads

KEYS = [f"blobs/2026/11/28/att_{number}-0.png" for number in range(6)]
WIDTH = WIDTHS[0]


def webp(size: int = 100) -> bytes:
    """What counts as a whole picture: its head says how long it is."""
    return b"RIFF" + (size - 8).to_bytes(4, "little") + b"x" * (size - 8)


def write(path: Path, data: bytes) -> None:
    """Leave a file."""
    path.write_bytes(data)


class Maker:
    """Makes pictures at once, and counts."""

    def __init__(self, picture: bytes | None = None) -> None:
        self.picture = webp() if picture is None else picture
        self.made: list[str] = []
        self.at_once = self.most_at_once = 0
        self.gate: asyncio.Event | None = None
        self.problem: Exception | None = None
        self.on_made: Callable[[], Any] = lambda: None

    async def __call__(self, source: Path, target: Path, width: int) -> bool:
        """Make one."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.gate is not None:
            await self.gate.wait()
        self.at_once -= 1
        self.made.append(f"{source.name} {width}")
        if self.problem is not None:
            raise self.problem
        write(target, self.picture)
        self.on_made()
        return bool(self.picture)


def within(root: Path) -> Callable[[str, str], Awaitable[Path]]:
    """Find images in a folder."""

    async def find(key: str, _: str) -> Path:
        return root / key

    return find


@pytest.fixture
def threads() -> Iterator[Threads]:
    """For files."""
    made = Threads(1, "file")
    yield made
    made.close(wait=True)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Where images lie."""
    for key in KEYS:
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
    return tmp_path


def make_thumbnails(root: Path, threads: Threads, maker: Maker, **options: Any) -> Thumbnails:
    """Keep them beside the images."""
    return Thumbnails(root / "thumbnails", threads, within(root), make=maker, **options)


async def one(thumbnails: Thumbnails, key: str = KEYS[0], width: int = WIDTH) -> bytes:
    """Ask for one, and wait for it."""
    return await thumbnails.of(key, width, sha256="", is_wanted=lambda: True)


async def refusal(thumbnails: Thumbnails, key: str = KEYS[0], *, is_wanted: bool = True) -> str:
    """Why there is none."""
    with pytest.raises(NoThumbnail) as told:
        await thumbnails.of(key, WIDTH, sha256="", is_wanted=lambda: is_wanted)
    return told.value.why


def files(root: Path) -> list[str]:
    """What lies in the folder."""
    return sorted(path.name for path in (root / "thumbnails").iterdir())


async def test_one_is_made_once_and_outlives_the_process(images: Path, threads: Threads) -> None:
    """The second time, and after a start, its file is read; each width is one of its own."""
    maker = Maker()
    first = make_thumbnails(images, threads, maker)
    assert await one(first) == await one(first) == webp()
    assert await one(make_thumbnails(images, threads, maker)) == webp()
    assert maker.made == ["att_0-0.png 320"]
    await one(first, width=WIDTHS[1])
    assert maker.made[1:] == ["att_0-0.png 640"]
    assert files(images) == ["att_0-0.png.320.webp", "att_0-0.png.640.webp"]
    assert repr(first) == "<Thumbnails 2 of 0.0 MB, 0 wanted>"


async def test_whoever_asks_at_once_gets_what_is_made_once(images: Path, threads: Threads) -> None:
    """A page that is opened twice costs one child an image, and never more than a few at once."""
    maker = Maker()
    thumbnails = make_thumbnails(images, threads, maker)
    asked = [one(thumbnails, key) for key in KEYS for _ in range(3)]
    assert set(await asyncio.gather(*asked)) == {webp()}
    assert sorted(maker.made) == [f"att_{number}-0.png 320" for number in range(6)]
    assert maker.most_at_once <= subject.AT_ONCE


async def test_those_nobody_looked_at_for_longest_go_first(images: Path, threads: Threads) -> None:
    """The folder stays within its bound; a file takes a block at least."""
    maker = Maker()
    thumbnails = make_thumbnails(images, threads, maker, bytes_max=3 * BLOCK_BYTES)
    for key in KEYS[:3]:
        await one(thumbnails, key)
    await one(thumbnails, KEYS[0])
    await one(thumbnails, KEYS[3])
    assert files(images) == [f"att_{number}-0.png.320.webp" for number in (0, 2, 3)]
    smaller = make_thumbnails(images, threads, maker, bytes_max=BLOCK_BYTES)
    await one(smaller, KEYS[3])
    assert len(files(images)) == 1


async def test_it_goes_with_its_image(images: Path, threads: Threads) -> None:
    """In every width, also what an earlier process made and this one has never read."""
    maker = Maker()
    for width in WIDTHS:
        await one(make_thumbnails(images, threads, maker), width=width)
    await one(make_thumbnails(images, threads, maker), KEYS[1])
    await make_thumbnails(images, threads, maker).forget(KEYS[:1])
    assert files(images) == ["att_1-0.png.320.webp"]
    await make_thumbnails(images / "elsewhere", threads, maker).forget(KEYS)


async def test_an_image_that_is_deleted_meanwhile_leaves_none(images: Path, threads: Threads) -> None:
    """The sweeper came by between the reading and the writing: it found nothing to remove."""
    maker = Maker()
    maker.on_made = (images / KEYS[0]).unlink
    assert await one(make_thumbnails(images, threads, maker)) == webp()
    assert files(images) == []


@pytest.mark.parametrize("left", [b"", b"x", webp()[:-1], webp() + b"more"], ids=["empty", "short", "torn", "long"])
async def test_a_torn_file_is_made_anew(images: Path, threads: Threads, left: bytes) -> None:
    """As a loss of power leaves them: they are never synced."""
    maker = Maker()
    await one(make_thumbnails(images, threads, maker))
    (images / "thumbnails" / "att_0-0.png.320.webp").write_bytes(left)
    (images / "thumbnails" / "7.part").write_bytes(b"half")
    assert await one(make_thumbnails(images, threads, maker)) == webp()
    assert len(maker.made) == 2
    assert files(images) == ["att_0-0.png.320.webp"]


async def test_one_that_is_gone_is_made_anew(images: Path, threads: Threads) -> None:
    """Somebody emptied the folder by hand."""
    maker = Maker()
    thumbnails = make_thumbnails(images, threads, maker)
    await one(thumbnails)
    (images / "thumbnails" / "att_0-0.png.320.webp").unlink()
    assert await one(thumbnails) == webp()
    assert len(maker.made) == 2


@pytest.mark.parametrize("picture", [b"", b"GIF89a", webp(subject.FILE_BYTES_MAX + 1)], ids=["none", "other", "huge"])
async def test_what_gives_none_is_not_tried_again(images: Path, threads: Threads, picture: bytes) -> None:
    """Each look at the page would start a child for nothing; other images are none the worse."""
    maker = Maker(picture)
    thumbnails = make_thumbnails(images, threads, maker)
    assert [await refusal(thumbnails), await refusal(thumbnails)] == ["impossible", "impossible"]
    assert len(maker.made) == 1
    assert files(images) == []
    maker.picture = webp()
    assert await one(thumbnails, KEYS[1]) == webp()
    await thumbnails.forget(KEYS[:1])
    assert await one(thumbnails) == webp()


async def test_no_more_is_remembered_of_those_than_a_number(
    images: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is tried again once many others have failed."""
    monkeypatch.setattr(subject, "HOPELESS_MAX", 2)
    maker = Maker(b"")
    thumbnails = make_thumbnails(images, threads, maker)
    for key in [*KEYS[:3], KEYS[0], KEYS[0]]:
        await refusal(thumbnails, key)
    assert [name[4] for name in maker.made] == ["0", "1", "2", "0"]


@pytest.mark.parametrize(("problem", "why"), [(TimeoutError(), "crowded"), (OSError(28, "full"), "impossible")])
async def test_a_machine_without_time_or_room_says_nothing_of_the_image(
    images: Path, threads: Threads, problem: Exception, why: str
) -> None:
    """It is tried again."""
    maker = Maker()
    maker.problem = problem
    thumbnails = make_thumbnails(images, threads, maker)
    assert await refusal(thumbnails) == why
    maker.problem = None
    assert await one(thumbnails) == webp()


async def test_a_crowd_is_bounded(images: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes then is told so at once, and whoever waits too long; those who left cost no child."""
    monkeypatch.setattr(subject, "CROWD_MAX", 3)
    maker = Maker()
    maker.gate = asyncio.Event()
    thumbnails = make_thumbnails(images, threads, maker)
    working = [asyncio.create_task(one(thumbnails, key)) for key in KEYS[: subject.AT_ONCE]]
    gone = asyncio.create_task(refusal(thumbnails, KEYS[4], is_wanted=False))
    async with asyncio.timeout(5):
        while maker.at_once < subject.AT_ONCE:
            await asyncio.sleep(0)
    assert await refusal(thumbnails, KEYS[5]) == "crowded"
    maker.gate.set()
    await asyncio.gather(*working)
    assert await gone == "crowded"
    assert len(maker.made) == subject.AT_ONCE
    maker.gate.clear()
    monkeypatch.setattr(subject, "WITHIN_S", 0.01)
    assert await refusal(thumbnails, KEYS[5]) == "crowded"
    assert files(images) == [f"att_{number}-0.png.320.webp" for number in range(subject.AT_ONCE)]


async def test_without_pillow_only_what_was_made_before_is_shown(
    images: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra may be taken away from an installation that had it."""
    await one(make_thumbnails(images, threads, Maker()))
    monkeypatch.setattr(subject, "is_available", lambda: False)
    without = Thumbnails(images / "thumbnails", threads, within(images))
    assert not without.is_available
    assert await one(without) == webp()
    assert await refusal(without, KEYS[1]) == "unavailable"


# The child


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_picture_is_made_small(tmp_path: Path, mode: str) -> None:
    """Gray, indexed, transparent: as wide as wanted, and what has holes keeps them."""
    source, target = tmp_path / "s", tmp_path / "t"
    Image.new("RGB", (900, 600), "teal").convert(mode if mode != "I;16" else "I").convert(mode).save(
        source, "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    )
    shrink(source, target, "webp", 78, 320)
    with Image.open(target) as made:
        assert (made.format, made.size) == ("WEBP", (320, 213))
        assert ("A" in made.getbands()) <= (mode in ("RGBA", "LA"))


@pytest.mark.parametrize(
    ("size", "made_size"), [((3000, 300), (320, 32)), ((300, 3000), (64, 640)), ((48, 32), (48, 32))]
)
def test_shapes_keep_their_shape(tmp_path: Path, size: tuple[int, int], made_size: tuple[int, int]) -> None:
    """Wide ones, tall ones, and small ones, which are not made larger."""
    Image.new("RGB", size, "teal").save(tmp_path / "s", "JPEG")
    shrink(tmp_path / "s", tmp_path / "t", "webp", 78, 320)
    with Image.open(tmp_path / "t") as made:
        assert made.size == made_size


def test_a_picture_that_lies_on_its_side_is_put_upright(tmp_path: Path) -> None:
    """As viewers show it; upstreams pass photographs through."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 32), "teal").save(tmp_path / "s", "JPEG", exif=exif)
    shrink(tmp_path / "s", tmp_path / "t", "webp", 78, 320)
    with Image.open(tmp_path / "t") as made:
        assert made.size == (32, 64)


@pytest.mark.parametrize("what", ["picture", "no image", "bomb"])
async def test_a_child_makes_it_or_says_no(tmp_path: Path, what: str) -> None:
    """Through the process: arguments, limits, exit code."""
    source, target = tmp_path / "s", tmp_path / "t"
    if what == "no image":
        source.write_bytes(b"x" * 100)
    else:
        side = 20_000 if what == "bomb" else 700
        Image.new("1", (side, side)).save(source, "PNG")
    assert await make_small(source, target, 320) is (what == "picture")


async def test_a_child_that_takes_too_long_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed, and the image may be sound."""
    script = tmp_path / "child.py"
    script.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(converter.convert_child, "__file__", str(script))
    monkeypatch.setattr(subject, "TIMEOUT_S", 0.05)
    with pytest.raises(TimeoutError):
        await make_small(tmp_path / "s", tmp_path / "t", 320)


def test_a_thumbnail_has_less_than_a_conversion() -> None:
    """Less memory, less time: nobody waits for it."""
    assert convert_child.SMALL_MEMORY_BYTES < convert_child.MEMORY_BYTES
    assert convert_child.SMALL_CPU_S < convert_child.CPU_S
