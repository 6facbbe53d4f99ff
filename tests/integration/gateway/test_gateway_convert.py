"""Another file format than the upstream has, through a whole gateway: what is delivered, kept and told."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from holdfast.engine import converter
from holdfast.gateway import serve


def opened(image: bytes) -> tuple[str | None, tuple[int, int]]:
    """Format and size of a picture."""
    with Image.open(BytesIO(image)) as picture:
        picture.load()
        return picture.format, picture.size


def a_picture() -> bytes:
    """Draw one that a decoder takes, unlike those that only look like images."""
    made = BytesIO()
    Image.effect_mandelbrot((64, 48), (-2.0, -1.0, 1.0, 1.0), 20).convert("RGB").save(made, "PNG")
    return made.getvalue()


@pytest.mark.parametrize(("wanted", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_an_image_comes_as_it_was_asked_for(start: Any, upstream: Any, wanted: str, kind: str) -> None:
    """In the answer, behind its link and in a replay; the original is kept as a draft."""
    gateway, drawn = await start(), a_picture()
    upstream.gives(drawn)
    key = {"Idempotency-Key": "k"}
    answer = await gateway.images(output_format=wanted, output_compression=80, headers=key)
    assert answer.status == 200, answer
    assert opened(answer.picture()) == (kind, (64, 48))
    assert (answer.json["output_format"], answer.json["size"]) == (wanted, "64x48")
    assert "holdfast-ignored" not in answer.headers
    again = await gateway.images(output_format=wanted, output_compression=80, headers=key)
    assert again.picture() == answer.picture()
    linked = await gateway.ask("GET", answer.json["data"][0]["url"], headers={})
    assert (linked.body, linked.headers["content-type"]) == (answer.picture(), f"image/{wanted}")
    record = gateway.record(answer.generation_id)
    kinds = {blob.kind: (gateway.data / blob.store_key).read_bytes() for blob in record.blobs}
    assert kinds == {"result": answer.picture(), "draft": drawn}
    assert list((gateway.data / "spool").iterdir()) == []


async def test_what_has_the_format_or_names_none_is_untouched(
    start: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte what the upstream made, and no process is started."""

    async def never(*_: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(converter, "in_a_child", never)
    gateway, drawn = await start(), a_picture()
    upstream.gives(drawn)
    for fields in ({"output_format": "png"}, {}):
        assert (await gateway.images(**fields)).picture() == drawn
    assert (await gateway.gemini()).picture() == drawn


async def test_what_cannot_be_converted_is_delivered_as_it_came(
    start: Any, upstream: Any, a_png: Callable[..., bytes], journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid for: its true format is told, the wish is named in a header, and the log says why."""

    async def fails(*_: object) -> bool:
        return False

    monkeypatch.setattr(converter, "in_a_child", fails)
    gateway, drawn = await start(), a_png()
    upstream.gives(drawn)
    answer = await gateway.images(output_format="jpeg")
    assert (answer.status, answer.picture(), answer.json["output_format"]) == (200, drawn, "png")
    assert answer.headers["holdfast-ignored"] == "output_format"
    both = await gateway.images(output_format="webp", output_compression=80)
    assert both.headers["holdfast-ignored"] == "output_format, output_compression"
    await journal.has("image.not_converted")
    assert [blob.kind for blob in gateway.record(answer.generation_id).blobs] == ["result"]


async def test_without_pillow_the_wish_is_named(start: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before: the image as it came, and what has no effect in a header."""
    monkeypatch.setattr(serve, "is_available", lambda: False)
    gateway, drawn = await start(), a_picture()
    upstream.gives(drawn)
    answer = await gateway.images(output_format="jpeg", output_compression=80)
    assert answer.picture() == drawn
    assert answer.headers["holdfast-ignored"] == "output_format, output_compression"


async def test_a_stream_brings_what_was_made(start: Any, upstream: Any) -> None:
    """The same file, in an event."""
    gateway = await start()
    upstream.gives(a_picture())
    answer = await gateway.images(output_format="jpeg", stream=True)
    ((name, document),) = answer.events()
    assert (name, document["output_format"]) == ("image_generation.completed", "jpeg")
    assert opened(base64.b64decode(document["b64_json"]))[0] == "JPEG"
