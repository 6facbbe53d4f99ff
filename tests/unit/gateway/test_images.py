"""Opening image bytes for a caller: what is here at once, what is not is brought, and what cannot be is told truly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.gateway import images as module
from holdfast.gateway.images import Images


class Far:
    """A place that brings what it has, and fails as it is told."""

    puts_together = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: list[OSError] = []
        self.brought: list[str] = []
        self.lost: list[str] = []
        """Named as here, and gone when they are opened."""

    def here(self, key: str) -> str | None:
        if key in self.lost:
            self.lost.remove(key)
            return str(self.folder / "moved")
        path = self.folder / key
        return str(path) if path.exists() else None

    def bring(self, key: str, sha256: str) -> str:
        self.brought.append(key)
        if self.failures:
            raise self.failures.pop(0)
        path = self.folder / key
        path.write_bytes(sha256.encode())
        return str(path)

    def signed_url(self, key: str, valid_s: float) -> str:
        return f"https://bucket/{key}?for={valid_s:g}"


@pytest.fixture
def far(tmp_path: Path) -> Far:
    """An empty one."""
    return Far(tmp_path)


@pytest.fixture
def images(far: Far) -> Images:
    """Those of an engine that has it."""

    async def with_blobs(function: Callable[..., Any], *args: object) -> Any:
        return function(*args)

    core: Any = SimpleNamespace(blobs=far, with_blobs=with_blobs, dispatcher=SimpleNamespace(is_shared=False))
    return Images(core)


async def read(images: Images, blob: Any) -> bytes:
    """All of it."""
    with await images.open(blob) as pieces:
        return bytes(await pieces.read(1000))


async def test_what_is_here_is_not_brought(images: Images, far: Far, a_blob: Callable[..., Any]) -> None:
    """And what is not is, once."""
    blob = a_blob(store_key="one.png", sha256="bytes")
    assert await read(images, blob) == b"bytes"
    assert await read(images, blob) == b"bytes"
    assert far.brought == ["one.png"]


async def test_what_is_moved_in_this_moment_is_brought(images: Images, far: Far, a_blob: Callable[..., Any]) -> None:
    """Between the look and the opening."""
    far.lost = ["one.png"]
    assert await read(images, a_blob(store_key="one.png", sha256="bytes")) == b"bytes"


async def test_what_is_gone_is_told_as_gone(images: Images, far: Far, a_blob: Callable[..., Any]) -> None:
    """By whoever asked for it, in his own words."""
    far.failures = [FileNotFoundError(2, "none")]
    with pytest.raises(FileNotFoundError):
        await images.open(a_blob(store_key="one.png"))


async def test_what_cannot_be_brought_is_told_as_kept(images: Images, far: Far, a_blob: Callable[..., Any]) -> None:
    """503, and when to come back; never as deleted, and not as unpaid: it names the generation."""
    far.failures = [TimedOut()]
    with pytest.raises(RequestError) as caught:
        await images.open(a_blob(store_key="one.png"))
    assert (caught.value.status, caught.value.code) == (503, "storage_low")
    assert caught.value.retry_after_s
    assert caught.value.generation_id


async def test_where_others_keep_images_too_none_on_record_is_told_as_gone(
    images: Images, far: Far, a_blob: Callable[..., Any], a_record: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie on the disk of whoever could put it nowhere else; who is held waits for it."""
    monkeypatch.setattr(module, "BRING_PAUSE_S", 0.001)
    images._core.dispatcher.is_shared = True  # type: ignore[misc]
    far.failures = [FileNotFoundError(2, "none")]
    with pytest.raises(RequestError) as caught:
        await images.open(a_blob(store_key="one.png"))
    assert (caught.value.status, caught.value.code) == (503, "storage_low")
    far.failures = [FileNotFoundError(2, "none"), FileNotFoundError(2, "none")]
    await images.bring(a_record(blobs=[a_blob(store_key="two.png", sha256="bytes")]))
    assert far.brought == ["one.png", *["two.png"] * 3]


async def test_several_are_opened_before_a_byte_is_said(images: Images, far: Far, a_blob: Callable[..., Any]) -> None:
    """Those that were opened are closed when one is not to be had."""
    blobs = [(at, a_blob(store_key=f"{at}.png", sha256=str(at))) for at in range(3)]
    with ExitStack() as stack:
        opened = await images.open_all(stack, blobs)
        assert [bytes(await opened[at].read(9)) for at in range(3)] == [b"0", b"1", b"2"]
    far.failures = [TimedOut()]
    before = module.FilePieces.open_files
    with pytest.raises(RequestError), ExitStack() as stack:
        await images.open_all(stack, [*blobs, (3, a_blob(store_key="3.png"))])
    assert module.FilePieces.open_files == before


async def test_while_a_caller_is_held_it_is_tried_again(
    images: Images, far: Far, a_blob: Callable[..., Any], a_record: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is there, or too much time has gone; one that is gone is not waited for."""
    monkeypatch.setattr(module, "BRING_PAUSE_S", 0.001)
    far.failures = [TimedOut(), TimedOut()]
    record = a_record(blobs=[a_blob(store_key="one.png", sha256="bytes")])
    await images.bring(record)
    assert far.brought == ["one.png"] * 3
    await images.bring(record)
    assert len(far.brought) == 3

    far.failures = [FileNotFoundError(2, "none")]
    await images.bring(a_record(blobs=[a_blob(store_key="two.png")]))
    assert far.brought[3:] == ["two.png"]
    monkeypatch.setattr(module, "BRING_S", 0.0)
    far.failures = [TimedOut()]
    async with asyncio.timeout(5):
        await images.bring(a_record(blobs=[a_blob(store_key="three.png")]))
    assert far.brought[4:] == ["three.png"]


async def test_an_address_elsewhere_is_the_buckets(images: Images, a_blob: Callable[..., Any]) -> None:
    """Where there is one."""
    assert await images.address_of(a_blob(store_key="one.png"), 60) == "https://bucket/one.png?for=60"
    images.is_local = True
    assert await images.address_of(a_blob(store_key="one.png"), 60) is None


class TimedOut(OSError):
    """What a store that is away makes of a request."""

    def __init__(self) -> None:
        super().__init__(110, "away")
