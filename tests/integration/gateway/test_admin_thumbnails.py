"""Thumbnails of a running gateway: what admins are shown, how it is kept, and that it goes with its image."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holdfast.clock import SystemClock
from holdfast.engine import thumbnails as engine
from holdfast.gateway import serve as composition

KEPT = "private, immutable, max-age=86400"


def a_picture(pixels: int = 700) -> bytes:
    """Draw one that a decoder takes."""
    made = BytesIO()
    Image.effect_mandelbrot((pixels, pixels), (-2.0, -1.0, 1.0, 1.0), 8).convert("RGB").save(made, "PNG")
    return made.getvalue()


async def make(gateway: Any, upstream: Any, picture: bytes | None = None) -> str:
    """Make an image; the path of its thumbnail."""
    upstream.gives(picture or a_picture())
    answer = await gateway.images(response_format="url")
    assert answer.status == 200, answer
    await gateway.idle()
    return f"/admin/v1/generations/{answer.json['generation_id']}/images/0/thumbnail"


def files(gateway: Any) -> list[Path]:
    """Thumbnails on disk."""
    return sorted((gateway.data / "thumbnails").glob("*"))


async def test_an_image_is_shown_small_and_kept(gateway: Any, upstream: Any) -> None:
    """As WebP, in two widths, with a tag; looking collects nothing."""
    path = await make(gateway, upstream)
    answer = await gateway.ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.headers["cache-control"] == KEPT
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    with Image.open(BytesIO(answer.body)) as small:
        assert small.size == (320, 320)
    assert len(answer.body) < 20_000
    wide = await gateway.ask("GET", f"{path}?width=640")
    with Image.open(BytesIO(wide.body)) as small:
        assert small.size == (640, 640)
    assert wide.headers["etag"] != answer.headers["etag"]
    again = await gateway.ask(
        "GET", path, headers={"Authorization": f"Bearer {gateway.key}", "If-None-Match": answer.headers["etag"]}
    )
    assert (again.status, again.body, again.headers["cache-control"]) == (304, b"", KEPT)
    head = await gateway.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert len(files(gateway)) == 2
    story = await gateway.ask("GET", path.partition("/images")[0])
    assert story.json["generation"]["collected_at"] is None
    (file,) = story.json["generation"]["files"]
    assert file == {"index": 0, "mime": "image/png", "bytes": len(a_picture()), "width": 700, "height": 700}


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        (lambda path: f"{path}?width=321", 400, "invalid_request", "width"),
        (lambda path: f"{path}?width=-1", 400, "invalid_request", "width"),
        (lambda path: f"{path}?size=320", 400, "invalid_request", "size"),
        (lambda path: path.replace("images/0", "images/1"), 404, "generation_not_found", None),
        (lambda path: path.replace("images/0", "images/x"), 404, "generation_not_found", None),
        (lambda path: path.replace("images/0", "images/0000"), 404, "generation_not_found", None),
        (lambda _: "/admin/v1/generations/gen_none/images/0/thumbnail", 404, "generation_not_found", None),
    ],
    ids=["width", "minus", "name", "index", "word", "long", "id"],
)
async def test_what_cannot_be_asked_for(
    gateway: Any, upstream: Any, change: Callable[[str], str], status: int, code: str, param: str | None
) -> None:
    """Said as every admin endpoint says it."""
    answer = await gateway.ask("GET", change(await make(gateway, upstream)))
    assert (answer.status, answer.json["code"], answer.json["param"]) == (status, code, param)
    assert files(gateway) == []


async def test_only_admins_look(gateway: Any, upstream: Any) -> None:
    """Neither its own key nor nobody."""
    path = await make(gateway, upstream)
    other = {"Authorization": f"Bearer {await gateway.another_key()}"}
    assert (await gateway.ask("GET", path, headers=other)).json["code"] == "admin_required"
    assert (await gateway.ask("GET", path, headers={})).status == 401
    assert files(gateway) == []


async def test_an_image_that_no_decoder_takes_is_told(gateway: Any, upstream: Any, a_png: Any) -> None:
    """It is a PNG by its head and its end, which is what was paid for."""
    torn = bytearray(a_png(64, 64))
    torn[-30:-20] = b"\xff" * 10
    answer = await gateway.ask("GET", await make(gateway, upstream, bytes(torn)))
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "ask for it whole" in answer.json["detail"]


async def test_without_pillow_it_is_said(start: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the page knows it before it asks."""
    monkeypatch.setattr(engine, "is_available", lambda: False)
    gateway = await start()
    answer = await gateway.ask("GET", await make(gateway, upstream))
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "holdfast[convert]" in answer.json["detail"]
    page = await gateway.ask("GET", "/console", headers={})
    assert b'name="holdfast-offers" content=""' in page.body


async def test_the_page_knows_that_there_are_some(gateway: Any) -> None:
    """In the same place."""
    page = await gateway.ask("GET", "/console", headers={})
    assert b'name="holdfast-offers" content="thumbnails"' in page.body


async def test_a_crowd_is_told_to_come_again(gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With when."""
    path = await make(gateway, upstream)
    monkeypatch.setattr(engine, "CROWD_MAX", 0)
    answer = await gateway.ask("GET", path)
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "5")


async def test_it_is_deleted_with_its_image(start: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same run of the sweeper; asked for afterwards, it is as the image is: expired."""

    class Ahead(SystemClock):
        ahead_s = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.ahead_s

        def now(self) -> Any:
            return super().now() + timedelta(seconds=self.ahead_s)

    monkeypatch.setattr(composition, "SystemClock", Ahead)
    gateway = await start(store={"retention_s_max": 1200, "keep_after_finish_s": 120, "keep_after_collect_s": 60})
    path = await make(gateway, upstream)
    for width in engine.WIDTHS:
        assert (await gateway.ask("GET", f"{path}?width={width}")).status == 200
    assert len(files(gateway)) == 2
    monkeypatch.setattr(Ahead, "ahead_s", 1300.0)
    await gateway.made.sweeper.sweep()
    assert files(gateway) == []
    gone = await gateway.ask("GET", path)
    assert (gone.status, gone.json["code"]) == (410, "image_expired")
