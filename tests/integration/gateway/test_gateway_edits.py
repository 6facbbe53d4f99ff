"""Edits over real sockets: forms and JSON, files into the blob store as they come, and everything a generation has."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

PROMPT = "a lighthouse in the fog, marker Qx7Zt"
PATH = "/v1/images/edits"
FORM = "multipart/form-data; boundary=b0"
FAST = {"first_beat_s": 0.1, "beat_s": 0.1}
Parts = list[tuple[str, bytes]]


def a_form(parts: Parts, boundary: str = "b0", *, end: bool = True) -> bytes:
    """Write a form; whatever begins like an image is a file."""
    made = b""
    for name, body in parts:
        is_file = body[:1] in (b"\x89", b"\xff")
        more = b'; filename="x.bin"\r\nContent-Type: application/octet-stream' if is_file else b""
        made += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode() + more
        made += b"\r\n\r\n" + body + b"\r\n"
    return made + (f"--{boundary}--\r\n".encode() if end else b"")


async def edit(gateway: Any, parts: Parts | bytes, *, content_type: str = FORM, **headers: str) -> Any:
    """Send a form."""
    body = parts if isinstance(parts, bytes) else a_form(parts)
    sent = {"Authorization": f"Bearer {gateway.key}", "Content-Type": content_type, **headers}
    return await gateway.ask("POST", PATH, headers=sent, data=BytesIO(body))


async def edit_json(gateway: Any, *, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """Send JSON."""
    sent = {"Authorization": f"Bearer {gateway.key}", **(headers or {})}
    return await gateway.ask("POST", PATH, headers=sent, json={"prompt": PROMPT, **fields})


def text(**fields: str) -> Parts:
    """Fields that are text."""
    return [(name, value.encode()) for name, value in {"prompt": PROMPT, **fields}.items()]


def given(asked: Any) -> list[bytes]:
    """The images that the upstream was given, in its own form; the mask last."""
    if asked.is_gemini:
        parts = asked.json["contents"][-1]["parts"]
        return [base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]
    urls = [each["image_url"] for each in (*asked.json["images"], *filter(None, [asked.json.get("mask")]))]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


async def test_a_form_of_one_file_is_an_edit(start: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """The image reaches the upstream in its own form, and its ratio is taken over."""
    gateway, picture = await start(), a_png(320, 180)
    answer = await edit(gateway, [*text(), ("image", picture)])
    assert answer.status == 200, answer
    assert answer.picture() == upstream.pictures[0]
    assert given(upstream.asked[0]) == [picture]
    assert upstream.asked[0].prompt == PROMPT
    assert gateway.record(answer.generation_id).generation.size == "1376x768"
    assert [path.read_bytes() for path in (gateway.data / "inputs").iterdir()] == [picture]


async def test_several_files_a_mask_and_numbers_as_text(start: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """Files before fields and mask before images: what counts is the order among the images."""
    gateway = await start()
    one, two, mask = a_png(noise_bytes=300_000), a_png(), a_png()
    parts = [("mask", mask), ("image[]", one), ("image[]", two), *text(model="gpt-image-2", n="2", quality="high")]
    parts += [("input_fidelity", b"high"), ("output_compression", b"80"), ("seed", b"7")]
    answer = await edit(gateway, parts)
    assert answer.status == 200, answer
    asked = upstream.asked[0]
    assert asked.path == "/v1/images/edits"
    assert given(asked) == [one, two, mask]
    assert asked.json["n"] == 2
    assert (asked.json["quality"], asked.json["input_fidelity"]) == ("high", "high")
    assert len(answer.json["data"]) == 2
    assert answer.headers["holdfast-ignored"] == "seed"


async def test_json_takes_data_urls_and_a_mask(start: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """As the API documents it beside the form."""
    gateway, one, mask = await start(), a_png(), a_png()
    urls = [{"image_url": "data:image/png;base64," + base64.b64encode(each).decode()} for each in (one, mask)]
    answer = await edit_json(gateway, images=urls[:1], mask=urls[1], model="gpt-image-2")
    assert answer.status == 200, answer
    assert given(upstream.asked[0]) == [one, mask]


@pytest.mark.parametrize("model", ["nano-banana-pro", "gpt-image-2"])
async def test_a_stream_has_the_events_of_edits(
    start: Any, upstream: Any, a_png: Callable[..., bytes], model: str
) -> None:
    """`image_edit.*`, previews included, whatever the upstream calls them."""
    gateway, partial, final = await start(), a_png(), a_png()
    upstream.gives(final, partials=[partial])
    parts = [*text(model=model, stream="true", partial_images="1"), ("image", a_png())]
    answer = await edit(gateway, parts)
    assert answer.headers["content-type"] == "text/event-stream"
    names = [name for name, _ in answer.events()]
    assert names == (["image_edit.partial_image"] if model == "gpt-image-2" else []) + ["image_edit.completed"]
    name, document = answer.events()[-1]
    assert document["type"] == name
    assert base64.b64decode(document["b64_json"]) == final


async def test_a_repeat_of_a_form_joins(start: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """With another boundary and its parts in another order; with another image it is another request."""
    gateway, picture, other = await start(), a_png(), a_png()
    upstream.gate.clear()
    first = asyncio.create_task(edit(gateway, [*text(n="1"), ("image", picture)]))
    await upstream.was_asked()
    again = a_form([("image[]", picture), ("n", b"1"), *text()], boundary="zz")
    second = asyncio.create_task(
        edit(gateway, again, content_type="multipart/form-data; boundary=zz", **{"x-stainless-retry-count": "1"})
    )
    third = asyncio.create_task(edit(gateway, [*text(n="1"), ("image", other)], **{"x-stainless-retry-count": "1"}))
    await upstream.was_asked(2)
    upstream.gate.set()
    answers = await asyncio.gather(first, second, third)
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].generation_id == answers[1].generation_id != answers[2].generation_id
    assert len(upstream.asked) == 2


async def test_an_edit_is_held_and_fails_late_as_a_generation_does(
    start: Any, upstream: Any, a_png: Callable[..., bytes]
) -> None:
    """Beats first; then an error in the body, since the status is spent."""
    gateway = await start(heartbeat=FAST)
    upstream.gate.clear()
    upstream.answers({"error": {"message": "no", "code": "moderation_blocked"}}, status=400)
    wire = await gateway.dial()
    body = a_form([*text(model="gpt-image-2"), ("image", a_png())])
    await wire.send(gateway.post(body, path=PATH, headers={"Content-Type": FORM}))
    assert (await wire.head()).status == 200
    await wire.beats(2)
    upstream.gate.set()
    told = json.loads(await wire.chunks())["error"]
    assert told["code"] == "moderation_blocked"


async def test_files_come_slowly_and_in_pieces(start: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """Segments that cut a boundary in two, and a file bigger than what is read on the loop."""
    gateway, picture = await start(), a_png(noise_bytes=400_000)
    body = gateway.post(a_form([*text(), ("image", picture)]), path=PATH, headers={"Content-Type": FORM})
    wire = await gateway.dial()
    cuts = [0, 230, 500, len(body) - 300_000, len(body) - 12, len(body) - 4, len(body) - 3, len(body)]
    await wire.send(*(body[start:stop] for start, stop in itertools.pairwise(cuts)))
    answer = await wire.answer()
    assert answer.status == 200, answer
    assert given(upstream.asked[0]) == [picture]


def _mask_parts(a_png: Callable[..., bytes]) -> Parts:
    return [*text(model="gpt-image-2"), ("image", a_png()), ("mask", a_png(32, 32))]


REFUSED: list[tuple[str, Callable[[Callable[..., bytes]], Parts | bytes], int, str, str]] = [
    ("no image", lambda _: text(), 400, "images", "images is missing"),
    ("no prompt", lambda png: [("image", png())], 400, "prompt", "prompt is missing"),
    ("no picture", lambda _: [*text(), ("image", b"hello")], 400, "image", "is not a whole PNG"),
    ("half a picture", lambda png: [*text(), ("image", png()[:-9])], 400, "image", "is not a whole PNG"),
    ("empty file", lambda _: [*text(), ("image", b"")], 400, "image", "is not a whole PNG"),
    (
        "fifteen for Gemini",
        lambda png: [*text(), *[("image[]", png())] * 15],
        400,
        "image",
        "google (gemini) takes",
    ),
    ("seventeen", lambda png: [*text(), *[("image[]", png())] * 17], 400, "image", "At most 16 images"),
    ("mask for Gemini", lambda png: [*text(), ("image", png()), ("mask", png())], 400, "mask", "takes no mask"),
    ("mask of another size", _mask_parts, 400, "mask", "of the first image's size"),
    ("too big", lambda png: [*text(), ("image", png(noise_bytes=300_000))], 413, "image", "larger than 200,000"),
    ("prompt twice", lambda png: [*text(), *text(), ("image", png())], 400, "prompt", "stands twice"),
    ("no number", lambda png: [*text(n="two"), ("image", png())], 400, "n", "a whole number"),
    ("long text", lambda png: [("image", png()), ("prompt", b"a" * 1_100_000)], 413, "prompt", "1,048,576 bytes"),
    ("not UTF-8", lambda png: [("prompt", b"a\xc3("), ("image", png())], 400, "prompt", "not UTF-8"),
    ("no such model", lambda png: [*text(model="dall-e-2"), ("image", png())], 404, "model", "not served here"),
    ("no end", lambda png: a_form([*text(), ("image", png())], end=False), 400, "", "closing boundary is missing"),
    ("other boundary", lambda png: a_form([*text(), ("image", png())], "zz"), 400, "", "lacks the boundary"),
    ("nothing", lambda _: b"", 400, "", "the form is empty"),
    ("huge headers", lambda _: b"--b0\r\nX: " + b"a" * 100_000, 413, "", "bytes of headers"),
    ("many parts", lambda png: [*[("seed", b"1")] * 70, ("image", png())], 413, "", "more than 64 parts"),
]


@pytest.mark.parametrize(
    ("parts", "status", "param", "told"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_what_is_wrong_is_told_and_costs_nothing(
    start: Any, upstream: Any, a_png: Any, parts: Any, status: int, param: str, told: str
) -> None:
    """Status, field and words; nothing is asked, nothing stays in the spool, and the connection is told at once."""
    gateway = await start(store={"image_bytes_max": 200_000})
    answer = await edit(gateway, parts(a_png))
    assert (answer.status, answer.error["param"] or "") == (status, param), answer
    assert told in answer.error["message"]
    assert answer.error["paid"] == "no"
    assert upstream.asked == []
    assert gateway.count("generation") == 0
    assert list((gateway.data / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("content_type", "status", "told"),
    [
        ("multipart/form-data", 400, "names no boundary"),
        ("multipart/form-data; boundary=" + "b" * 100, 400, "1 to 70"),
        ("multipart/mixed; boundary=b0", 415, "multipart/form-data"),
        ("application/x-www-form-urlencoded", 415, "application/json"),
    ],
)
async def test_a_body_of_another_kind_is_not_read(start: Any, content_type: str, status: int, told: str) -> None:
    """Both kinds that are taken are named."""
    gateway = await start()
    answer = await edit(gateway, a_form(text()), content_type=content_type)
    assert answer.status == status
    assert told in answer.error["message"]


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"images": [{"file_id": "file-1"}]}, "images[0].file_id", "a credential of OpenAI's"),
        ({"images": [{"image_url": "https://10.0.0.1/a.png"}]}, "images[0].image_url", "private"),
        ({"images": [{"image_url": "0"}]}, None, "data: URL"),
        ({"images": [{"image_url": "data:image/png;base64,AAAA"}]}, "image", "is not a whole PNG"),
        ({"images": [{"image_url": "data:image/png,AAAA"}]}, None, "base64"),
        ({"images": [{"image_url": "https://10.0.0.1/a.png"}] * 15}, "image", "takes at most 14"),
    ],
)
async def test_what_is_wrong_in_json_is_told(
    start: Any, upstream: Any, fields: dict[str, Any], param: str | None, told: str
) -> None:
    """And nobody is asked for an image that would not be used."""
    gateway = await start()
    answer = await edit_json(gateway, **fields)
    assert (answer.status, answer.error["param"]) == (400, param), answer
    assert told in answer.error["message"]
    assert upstream.asked == []


async def test_a_form_without_a_key_is_not_read(start: Any, a_png: Callable[..., bytes]) -> None:
    """401 before its files are."""
    gateway = await start()
    answer = await edit(gateway, [*text(), ("image", a_png())], Authorization="Bearer hf-none")
    assert answer.status == 401
    assert not list((gateway.data / "inputs").iterdir())


async def test_who_leaves_in_the_middle_of_a_file_leaves_nothing(
    start: Any, upstream: Any, a_png: Callable[..., bytes]
) -> None:
    """The file that was being written is removed."""
    gateway = await start()
    body = gateway.post(
        a_form([*text(), ("image", a_png(noise_bytes=300_000))]), path=PATH, headers={"Content-Type": FORM}
    )
    wire = await gateway.dial()
    await wire.send(body[:100_000])
    async with asyncio.timeout(5):
        while not list((gateway.data / "spool").iterdir()):
            await asyncio.sleep(0.01)
    wire.leave()
    await gateway.idle()
    assert upstream.asked == []
    assert list((gateway.data / "spool").iterdir()) == []
