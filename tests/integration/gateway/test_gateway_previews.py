"""Previews on the event stream of a generation: shown to whoever follows while they come, and kept nowhere."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from holdfast.gateway.answer import FilePieces
from holdfast.gateway.waits import PREVIEWS_MAX

ASKED = {"prompt": "marker Qx7Zt", "model": "gpt-image-2", "stream": True, "partial_images": 2}


class Film:
    """An upstream that shows its pictures when it is told to."""

    def __init__(self, upstream: Any, previews: list[bytes], final: bytes) -> None:
        self.show, self.end = asyncio.Event(), asyncio.Event()
        self._previews, self._final = previews, final
        upstream.script = self._play

    async def _play(self, asked: Any, reply: Any) -> None:
        await reply.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await self.show.wait()
        await reply.write(*asked.events(partials=self._previews))
        await self.end.wait()
        await reply.write(*asked.events(self._final))


async def asking(gateway: Any, upstream: Any, **fields: Any) -> tuple[Any, str]:
    """Ask on one connection; give it, and the id."""
    wire = await gateway.dial()
    await wire.send(gateway.post({**ASKED, **fields}))
    await upstream.was_asked()
    (id_,) = gateway.read(lambda conn: [row[0] for row in conn.execute("SELECT id FROM generation")])
    return wire, str(id_)


async def following(gateway: Any, id_: str, query: str = "", key: str | None = None) -> Any:
    """Follow on another connection, up to what is known by now."""
    wire = await gateway.dial()
    head = f"GET /v1/generations/{id_}/events{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key or gateway.key}"
    await wire.send(f"{head}\r\n\r\n".encode())
    answer = await wire.head()
    assert answer.status == 200, answer
    return wire


def events_in(text: bytes) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Name, id if it has one, and data of each event; blank lines left out."""
    found = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.strip("\n").split("\n") if ": " in line)
        if "data" in fields:
            found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return found


async def read_until(wire: Any, count: int) -> bytes:
    """Read on until there are so many events."""
    text = b""
    async with asyncio.timeout(5):
        while len(events_in(text.rpartition(b"\n\n")[0] + b"\n\n")) < count:
            text += await wire.chunk()
    return text


async def test_whoever_follows_is_shown_what_comes(gateway: Any, upstream: Any, a_png: Any) -> None:
    """Between the numbered events, without a number; every byte of them, whatever they weigh."""
    previews, final = [a_png(40, 30), a_png(noise_bytes=900_000)], a_png()
    film = Film(upstream, previews, final)
    caller, id_ = await asking(gateway, upstream)
    followers = [await following(gateway, id_) for _ in range(2)]
    texts = [await read_until(each, 2) for each in followers]
    film.show.set()
    texts = [text + await read_until(each, 2) for text, each in zip(texts, followers, strict=True)]
    film.end.set()
    for text, each in zip(texts, followers, strict=True):
        told = events_in(text + await each.chunks())
        names = [name.removeprefix("generation.") for name, _, _ in told]
        assert names == ["queued", "running", "partial_image", "partial_image", "succeeded"]
        assert [number for _, number, _ in told] == ["1", "2", None, None, "3"]
        shown = [data for name, _, data in told if name == "generation.partial_image"]
        assert [base64.b64decode(data.pop("b64_json")) for data in shown] == previews
        first = shown[0]
        assert first.pop("at")[:4].isdigit()
        assert first == {
            "id": id_,
            "type": "generation.partial_image",
            "status": "running",
            "partial_image_index": 0,
            "mime": "image/png",
            "bytes": len(previews[0]),
            "width": 40,
            "height": 30,
        }
    assert (await caller.answer()).status == 200
    # None of it stays: neither in the record, nor on the disk, nor in the engine.
    assert gateway.count("blob") == 1
    resource = await gateway.resource(id_)
    assert (len(resource["images"]), resource["drafts"]) == (1, [])
    assert len(gateway.core.watchers) == len(gateway.core.followers) == 0


async def test_who_comes_later_or_again_is_not_shown_what_was(gateway: Any, upstream: Any, a_png: Any) -> None:
    """Nothing is promised that is not kept."""
    film = Film(upstream, [a_png(), a_png()], a_png())
    caller, id_ = await asking(gateway, upstream)
    first = await following(gateway, id_)
    film.show.set()
    await read_until(first, 4)
    first.leave()
    later = [await following(gateway, id_), await following(gateway, id_, "?starting_after=2")]
    await read_until(later[0], 2)
    film.end.set()
    assert [name for name, _, _ in events_in(await later[0].chunks())] == ["generation.succeeded"]
    assert [number for _, number, _ in events_in(await later[1].chunks())] == ["3"]
    assert (await caller.answer()).status == 200


async def test_previews_reach_a_follower_whose_caller_has_left(gateway: Any, upstream: Any, a_png: Any) -> None:
    """The work goes on, and so does what is shown of it."""
    film = Film(upstream, [a_png()], a_png())
    caller, id_ = await asking(gateway, upstream)
    wire = await following(gateway, id_)
    text = await read_until(wire, 2)
    caller.leave()
    film.show.set()
    text += await read_until(wire, 1)
    film.end.set()
    names = [name for name, _, _ in events_in(text + await wire.chunks())]
    assert names[-2:] == ["generation.partial_image", "generation.succeeded"]


async def test_another_key_is_shown_nothing(gateway: Any, upstream: Any, a_png: Any) -> None:
    """Its owner alone follows it."""
    film = Film(upstream, [a_png()], a_png())
    caller, id_ = await asking(gateway, upstream)
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    refused = await gateway.ask("GET", f"/v1/generations/{id_}/events", headers=stranger)
    assert refused.status == 404
    film.show.set()
    film.end.set()
    assert (await caller.answer()).status == 200


async def test_no_beat_falls_into_a_preview(
    start: Any, upstream: Any, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is read from a slow disk, beats fall due; inside the event they would end it."""
    gateway = await start(heartbeat={"first_beat_s": 20.0, "beat_s": 0.02})
    preview = a_png(noise_bytes=1_000_000)
    film = Film(upstream, [preview], a_png())
    caller, id_ = await asking(gateway, upstream, partial_images=1)
    wire = await following(gateway, id_)
    text = await read_until(wire, 2)
    read = FilePieces.read

    async def slowly(self: FilePieces, *arguments: Any) -> memoryview:
        await asyncio.sleep(0.06)
        return await read(self, *arguments)

    monkeypatch.setattr(FilePieces, "read", slowly)
    film.show.set()
    text += await read_until(wire, 1)
    async with asyncio.timeout(5):
        while b"\n\n\n" not in text:
            # The beat that was due meanwhile, behind the event.
            text += await wire.chunk()
    film.end.set()
    ((_, _, data),) = [each for each in events_in(text) if each[0] == "generation.partial_image"]
    assert base64.b64decode(data["b64_json"]) == preview
    await wire.chunks()
    caller.leave()


async def test_a_preview_that_is_gone_is_left_out(
    gateway: Any, upstream: Any, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attempt was settled before it was read: the stream goes on to the end."""
    film = Film(upstream, [a_png()], a_png())
    caller, id_ = await asking(gateway, upstream)
    wire = await following(gateway, id_)
    await read_until(wire, 2)
    begin = FilePieces.__init__

    def gone(self: FilePieces, path: Any) -> None:
        if str(path).endswith(".preview"):
            raise FileNotFoundError(path)
        begin(self, path)

    monkeypatch.setattr(FilePieces, "__init__", gone)
    film.show.set()
    film.end.set()
    assert [name for name, _, _ in events_in(await wire.chunks())] == ["generation.succeeded"]
    assert (await caller.answer()).status == 200


def test_a_reader_that_is_slow_is_shown_the_newest() -> None:
    """What waits for it is bounded."""
    assert PREVIEWS_MAX >= 3, "an upstream sends up to three of one image"
