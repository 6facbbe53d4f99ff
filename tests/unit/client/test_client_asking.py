"""What is asked for becomes requests: the same bytes for every repeat, and nothing secret in a repr."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from holdfast.client.address import address_of
from holdfast.client.asking import Asker, Body, Picture, Wish, checked_idempotency_key
from holdfast.errors import RequestError

PROMPT = "a lighthouse"


def an_asker(base_url: str = "http://h:1/v1", key: str | None = "hf-secret") -> Asker:
    """Make one."""
    return Asker(address=address_of(base_url), api_key=key, user_agent="holdfast-client/1")


def a_picture(data: bytes = b"\x89PNG-bytes", mime: str = "image/png") -> Picture:
    """Make one, whatever its bytes."""
    return Picture(data=data, mime=mime, sha256="a" * 64, width_px=64, height_px=32)


def submit(wish: Wish, *, asker: Asker | None = None, **options: Any) -> Any:
    """Write the request."""
    return (asker or an_asker()).submit(wish, **{"idempotency_key": "k", "wait_s": 25.0, **options})


def test_a_prompt_goes_to_the_images_route_with_what_was_said_only() -> None:
    """What was left out is the server's to choose."""
    ask = submit(Wish(prompt=PROMPT))
    assert (ask.method, ask.url) == ("POST", "http://h:1/v1/images/generations")
    assert json.loads(ask.body.parts[0]) == {"prompt": PROMPT, "n": 1}
    full = Wish(prompt=PROMPT, model="m", size="2K", aspect_ratio="16:9", n=3, fields={"quality": "high", "user": None})
    assert json.loads(submit(full).body.parts[0]) == {
        "prompt": PROMPT,
        "n": 3,
        "model": "m",
        "size": "2K",
        "aspect_ratio": "16:9",
        "quality": "high",
    }


def test_headers_of_the_caller_go_along() -> None:
    """And the key as this server's kind takes it."""
    headers = dict(submit(Wish(prompt=PROMPT, headers={"X-Team": "a"}), budget_s=90.5, degrade=True).headers)
    assert headers["X-Team"] == "a"
    assert headers["Authorization"] == "Bearer hf-secret"
    assert (headers["Holdfast-Timeout"], headers["Holdfast-Degrade"]) == ("90.500", "size")
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Prefer"] == "wait=25"
    assert dict(submit(Wish(prompt=PROMPT), wait_s=None).headers)["Prefer"] == "respond-async"
    assert "Authorization" not in dict(submit(Wish(prompt=PROMPT), asker=an_asker(key=None)).headers)


def test_gemini_is_asked_in_its_own_words() -> None:
    """The model in the path, the key in its header, pictures in the body."""
    asker = an_asker("https://relay.example/v1beta")
    wish = Wish(prompt=PROMPT, model="gemini-3-pro-image", size="4K", pictures=(a_picture(),))
    ask = submit(wish, asker=asker)
    assert ask.url == "https://relay.example/v1beta/models/gemini-3-pro-image:generateContent"
    assert dict(ask.headers)["x-goog-api-key"] == "hf-secret"
    document = json.loads(b"".join(ask.body.parts))
    parts = document["contents"][0]["parts"]
    data = next(part["inlineData"]["data"] for part in parts if "inlineData" in part)
    assert base64.b64decode(data) == b"\x89PNG-bytes"
    assert document["generationConfig"]["imageConfig"]["imageSize"] == "4K"


def test_pictures_go_as_a_form_that_any_reader_of_forms_takes() -> None:
    """Read back by the gateway's own reader, byte by byte."""
    from holdfast.wire.multipart import FormReader, PartBegan, PartBytes, boundary_of

    pictures = (a_picture(b"one\r\n--x"), a_picture(b"two", "image/webp"))
    wish = Wish(prompt=PROMPT, n=2, pictures=pictures, mask=a_picture(b"mask"))
    ask = submit(wish)
    assert ask.url.endswith("/images/edits")
    kind = dict(ask.headers)["Content-Type"]
    reader = FormReader(boundary_of(kind))
    parts: list[tuple[str, bytes]] = []
    for event in reader.feed(b"".join(ask.body.parts)):
        if isinstance(event, PartBegan):
            parts.append((event.name, b""))
        elif isinstance(event, PartBytes):
            parts[-1] = (parts[-1][0], parts[-1][1] + bytes(event.data))
    reader.finish()
    assert parts == [
        ("prompt", PROMPT.encode()),
        ("n", b"2"),
        ("image[]", b"one\r\n--x"),
        ("image[]", b"two"),
        ("mask", b"mask"),
    ]
    assert submit(wish).body == ask.body


def test_the_key_is_shown_to_the_server_itself_and_to_nobody_else() -> None:
    """A link may lead anywhere, and a name that begins alike is another's."""
    asker = an_asker()
    assert "Authorization" in dict(asker.image("http://h:1/v1/generations/g/images/0").headers)
    assert "Authorization" in dict(asker.image("/v1/generations/g/images/0").headers)
    for url in ("https://cdn.example/a.png", "http://h:1.evil.example/a.png", "http://h:12/a.png"):
        assert "Authorization" not in dict(asker.image(url).headers)


def test_a_file_is_asked_for_from_a_byte_on() -> None:
    """With the ETag, so that another file would come whole."""
    headers = dict(an_asker().image("http://h:1/i", at=7, etag='"e"').headers)
    assert (headers["Range"], headers["If-Range"]) == ("bytes=7-", '"e"')
    assert "Range" not in dict(an_asker().image("http://h:1/i").headers)


def test_control_requests() -> None:
    """Ids and keys are quoted, whatever they hold."""
    asker = an_asker("http://h:1/v1beta")
    assert asker.find("a/b&c").url == "http://h:1/v1/generations?idempotency_key=a%2Fb%26c&limit=1"
    assert asker.poll("gen/../x", wait_s=25.0).url == "http://h:1/v1/generations/gen%2F..%2Fx"
    assert dict(asker.poll("g", wait_s=25.0).headers)["Prefer"] == "wait=25"
    assert "Prefer" not in dict(asker.poll("g", wait_s=None).headers)
    assert dict(asker.events("g", after=0).headers)["Last-Event-ID"] == "0"
    assert "Last-Event-ID" not in dict(asker.events("g", after=None).headers)
    assert (asker.cancel("g").method, asker.cancel("g").url) == ("POST", "http://h:1/v1/generations/g/cancel")
    assert dict(asker.control("GET", "/x").headers)["Accept"] == "application/json"


@pytest.mark.parametrize(
    ("wish", "gemini", "param"),
    [
        (Wish(prompt=" \n"), False, "prompt"),
        (Wish(prompt="p", n=0), False, "n"),
        (Wish(prompt="p", n=11), False, "n"),
        (Wish(prompt="p", n=2), True, "n"),
        (Wish(prompt="p", pictures=(a_picture(),) * 15), False, "image"),
        (Wish(prompt="p", mask=a_picture()), False, "mask"),
        (Wish(prompt="p", pictures=(a_picture(),), mask=a_picture()), True, "mask"),
        (Wish(prompt="p", headers={"X": "a\nb"}), False, "X"),
    ],
)
def test_what_is_not_possible_is_said_before_anything_is_sent(wish: Wish, gemini: bool, param: str) -> None:
    """With the argument's name."""
    with pytest.raises(RequestError) as caught:
        wish.check(speaks_gemini=gemini)
    assert caught.value.param == param


def test_a_wish_that_is_possible_passes() -> None:
    """Nothing is said of it."""
    Wish(prompt=PROMPT, n=10, pictures=(a_picture(),), mask=a_picture()).check(speaks_gemini=False)
    Wish(prompt=PROMPT, pictures=(a_picture(),)).check(speaks_gemini=True)


@pytest.mark.parametrize("key", ["", "a b", "ü", 'a"b', "x" * 256, "a\n"])
def test_a_key_that_cannot_name_a_call_is_refused(key: str) -> None:
    """As the gateway would, only sooner."""
    with pytest.raises(RequestError):
        checked_idempotency_key(key)
    assert checked_idempotency_key("order-7/b") == "order-7/b"


def test_nothing_secret_is_in_a_repr() -> None:
    """Neither prompt nor key nor signature."""
    asker = an_asker()
    wish = Wish(prompt=PROMPT, pictures=(a_picture(),))
    said = f"{asker!r} {wish!r} {wish.pictures!r} {submit(wish)!r} {submit(wish).body!r} {asker.image('http://h:1/i?sig=s')!r}"
    for secret in (PROMPT, "hf-secret", "PNG-bytes", "sig="):
        assert secret not in said


def test_a_body_is_given_to_both_clients() -> None:
    """The same pieces, with their length."""
    body = Body(parts=(b"a", b"bc"))

    async def gathered() -> list[bytes]:
        return [part async for part in body.slowly()]

    assert (len(body), asyncio.run(gathered())) == (3, [b"a", b"bc"])
