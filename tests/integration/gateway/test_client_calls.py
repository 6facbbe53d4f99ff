"""Both clients against the real gateway: the calls a user makes, over real sockets."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast

PROMPT = "a lighthouse in the fog, marker Qx7Zt"


def a_client(gateway: Any, **options: Any) -> holdfast.Client:
    """Make a client of a gateway."""
    return holdfast.Client(gateway.running.base_url, gateway.key, network="intranet", **options)


def an_async_client(gateway: Any, **options: Any) -> holdfast.AsyncClient:
    """The same, for asyncio."""
    return holdfast.AsyncClient(gateway.running.base_url, gateway.key, network="intranet", **options)


def parts_in(folder: Path) -> list[Path]:
    """List what was begun and not ended."""
    return list(folder.glob(".holdfast*"))


async def test_the_first_call_brings_the_image_and_learns_what_answers(gateway: Any, upstream: Any) -> None:
    """Nothing but the call itself is sent, and from then on the server is known to be holdfast."""

    def work() -> None:
        with a_client(gateway) as client:
            assert client.server is None
            result = client.images.generate(PROMPT, size="1K")
            assert client.server == "holdfast"
            assert result[0].bytes == upstream.pictures[0]
            assert result.generation_id is not None
            assert (result.paid, result.sends) == ("yes", 1)
            assert result[0].mime_type == "image/png"
            assert result[0].width_px > 0

    await asyncio.to_thread(work)
    assert len(upstream.asked) == 1


async def test_the_second_call_fetches_the_image_as_a_file(gateway: Any, upstream: Any, tmp_path: Path) -> None:
    """Once holdfast is known, it answers at once, and the file is streamed to its place."""
    async with an_async_client(gateway) as client:
        await client.images.generate(PROMPT)
        result = await client.images.generate(PROMPT, save_to=tmp_path / "here.png")
        assert (tmp_path / "here.png").read_bytes() == upstream.pictures[1]
        assert result[0].path == tmp_path / "here.png"
    assert parts_in(tmp_path) == []
    assert len(upstream.asked) == 2


async def test_a_slow_image_is_waited_for_by_its_status(gateway: Any, upstream: Any) -> None:
    """After the wait the server tells where it stands; progress is told; then the image is fetched."""
    upstream.gate.clear()
    told: list[holdfast.Standing] = []

    def note(standing: holdfast.Standing) -> None:
        told.append(standing)
        if standing.status == "running":
            upstream.gate.set()

    async with an_async_client(gateway) as client:
        result = await client.images.generate(PROMPT, on_progress=note)
        assert result[0].bytes == upstream.pictures[0]
        assert result.generation is not None
        assert next(standing.status for standing in told) == "sent"
        assert {"running", "fetching"} <= {standing.status for standing in told}
        running = next(standing for standing in told if standing.status == "running")
        assert running.expected_s is not None
        assert running.generation_id == result.generation_id


async def test_generations_are_created_followed_waited_for_and_listed(gateway: Any, upstream: Any) -> None:
    """The native calls, from creation to the file."""
    async with an_async_client(gateway) as client:
        made = await client.generations.create(PROMPT, size="1K", metadata={"order": "7"})
        events = [event async for event in client.generations.events(made.id)]
        assert events[-1].status == "succeeded"
        images = await client.generations.wait(made.id)
        assert images[0].bytes == upstream.pictures[0]
        got = await client.generations.get(made.id)
        assert (got.status, got.metadata) == ("succeeded", {"order": "7"})
        page = await client.generations.list(limit=5)
        assert [each.id for each in page.data] == [made.id]


async def test_the_same_calls_for_threads(gateway: Any, upstream: Any, tmp_path: Path) -> None:
    """The other shell does the same."""

    def work() -> None:
        with a_client(gateway) as client:
            made = client.generations.create(PROMPT)
            assert [event.status for event in client.generations.events(made.id)][-1] == "succeeded"
            assert client.generations.get(made.id).status == "succeeded"
            saved = client.files.save(made.id, tmp_path)
            assert saved[0].path == tmp_path / f"{made.id}.png"
            assert saved[0].path.read_bytes() == upstream.pictures[0]
            assert client.generations.list(status="succeeded").data[0].id == made.id
            assert client.generations.cancel(made.id).status == "succeeded"

    await asyncio.to_thread(work)


async def test_images_start_from_others(gateway: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """An edit goes as a form, with the picture in it."""
    picture = a_png()
    async with an_async_client(gateway) as client:
        result = await client.images.edit(picture, PROMPT)
        assert result[0].bytes == upstream.pictures[0]
    assert len(upstream.asked) == 1


async def test_holdfast_is_known_by_its_gemini_surface_too(gateway: Any, upstream: Any) -> None:
    """A base URL that ends in /v1beta is spoken to as Gemini; what was cut is collected all the same."""
    url = f"http://127.0.0.1:{gateway.port}/v1beta"
    async with holdfast.AsyncClient(url, gateway.key, network="intranet") as client:
        for at in range(2):
            result = await client.images.generate(PROMPT, model="gemini-3-pro-image", size="1K")
            assert result[0].bytes == upstream.pictures[at]
            assert (client.server, result.server) == ("holdfast", "holdfast")
        upstream.gate.clear()
        call = asyncio.create_task(client.images.generate(PROMPT, on_progress=lambda _: upstream.gate.set()))
        assert (await call).generation_id is not None
        page = await client.generations.list()
        assert len(page.data) == 3


async def test_what_the_gateway_refuses_is_raised_with_its_code(gateway: Any, upstream: Any) -> None:
    """A size, a field, a model: nothing is bought, and the argument is named."""
    async with an_async_client(gateway) as client:
        with pytest.raises(holdfast.RequestError) as caught:
            await client.images.generate(PROMPT, size="5000x5000")
        assert (caught.value.code, caught.value.param, caught.value.paid) == ("unsupported_size", "size", "no")
        with pytest.raises(holdfast.RequestError) as caught:
            await client.images.generate(PROMPT, model="no-such-model")
        assert caught.value.code == "model_not_found"
        with pytest.raises(holdfast.RequestError):
            await client.generations.get("gen_01M8FTS7P7ZVV52S83NYT9VDNZ")
    assert upstream.asked == []


async def test_a_refusal_of_the_upstream_is_raised_as_one(gateway: Any, upstream: Any) -> None:
    """With the generation, whose record tells the rest."""
    upstream.answers({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}})
    async with an_async_client(gateway) as client:
        with pytest.raises(holdfast.Refused) as caught:
            await client.images.generate(PROMPT)
        assert caught.value.generation_id is not None
        record = await client.generations.get(caught.value.generation_id)
        assert (record.status, record.error.code) == ("failed", "content_refused") if record.error else False


async def test_the_same_call_with_its_key_gets_the_same_images(gateway: Any, upstream: Any) -> None:
    """In flight it joins, finished it is replayed; from another client as well."""
    upstream.gate.clear()
    async with an_async_client(gateway) as one, an_async_client(gateway) as two:
        calls = [
            asyncio.create_task(each.images.generate(PROMPT, idempotency_key="order-7")) for each in (one, two, one)
        ]
        await upstream.was_asked()
        upstream.gate.set()
        results = [*await asyncio.gather(*calls), await two.images.generate(PROMPT, idempotency_key="order-7")]
    assert {result[0].sha256 for result in results} == {results[0][0].sha256}
    assert len({result.generation_id for result in results}) == 1
    assert len(upstream.asked) == 1


async def test_a_disk_that_fills_loses_nothing(
    gateway: Any, upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how to collect, nothing half is left, and the image is there for the next try."""
    from holdfast.client.spool import Spool

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with an_async_client(gateway) as client:
        with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left") as caught:
            patched.setattr(Spool, "write", full)
            await client.images.generate(PROMPT, save_to=tmp_path / "a.png", idempotency_key="order-7")
        assert "order-7" in caught.value.__notes__[0]
        assert parts_in(tmp_path) == []
        result = await client.images.generate(PROMPT, save_to=tmp_path / "a.png", idempotency_key="order-7")
        assert result[0].path == tmp_path / "a.png"
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
async def test_a_disk_that_breaks_is_told_as_one(
    gateway: Any, upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nothing is asked for again meanwhile: a second try would break as the first did, and could be a purchase."""
    from holdfast.client.spool import DiskError, Spool

    real = Spool.__init__

    class Broken:
        """A file that takes nothing."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, _: bytes) -> int:
            raise OSError(number, "the disk")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    def breaking(self: Any, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)
        self._file = Broken(self._file)

    async with an_async_client(gateway) as client:
        with monkeypatch.context() as patched, pytest.raises(DiskError, match="the disk") as caught:
            patched.setattr(Spool, "__init__", breaking)
            await client.images.generate(PROMPT, save_to=tmp_path / "a.png", idempotency_key="order-8")
        assert caught.value.errno == number
        assert "order-8" in caught.value.__notes__[0]
        result = await client.images.generate(PROMPT, save_to=tmp_path / "a.png", idempotency_key="order-8")
        assert result[0].path == tmp_path / "a.png"
    assert len(upstream.asked) == 1
