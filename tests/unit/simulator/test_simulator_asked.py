"""Reading what a request asks for, in both dialects."""

from __future__ import annotations

import json
from typing import Any

import pybase64
import pytest

from holdfast.errors import RequestError
from holdfast.simulator.asked import Asked, Head, Kind, Reading, Route, other_geometry, route_of, script_document
from holdfast.simulator.pictures import PNG_SIGNATURE, png_chunk
from holdfast.types import Geometry, Surface, Tier


def a_head(method: str = "POST", target: str = "/v1/images/generations", **headers: str) -> Head:
    """Make the head of a request."""
    return Head(method=method, target=target, headers={name.replace("_", "-"): text for name, text in headers.items()})


def read(head: Head, body: dict[str, Any] | bytes, *, piece_bytes: int = 1 << 20) -> Asked:
    """Read a request in pieces."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reading = Reading(route_of(head))
    for at in range(0, len(raw), piece_bytes):
        reading.feed(raw[at : at + piece_bytes])
    return reading.finish()


def openai(body: dict[str, Any] | bytes, **options: Any) -> Asked:
    """Read a request for images."""
    return read(a_head(), body, **options)


def gemini(body: dict[str, Any], *, stream: bool = False, **options: Any) -> Asked:
    """Read a request for content."""
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return read(a_head(target=f"/v1beta/models/gemini-3-pro-image:{method}"), body, **options)


def turns(text: str = "a lighthouse", **config: Any) -> dict[str, Any]:
    """Make a Gemini body."""
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}


def a_png(width_px: int, height_px: int) -> str:
    """Make the base64 of a PNG that has a header and little else."""
    header = width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return pybase64.b64encode(PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")).decode()


@pytest.mark.parametrize(
    ("method", "target", "kind", "surface"),
    [
        ("POST", "/v1/images/generations", Kind.GENERATIONS, Surface.OPENAI),
        ("GET", "/v1/images/generations", Kind.NOT_ALLOWED, Surface.OPENAI),
        ("POST", "/v1/images/edits", Kind.EDITS, Surface.OPENAI),
        ("POST", "/v1beta/models/m:generateContent", Kind.GENERATE, Surface.GEMINI),
        ("POST", "/v1/models/m:generateContent", Kind.GENERATE, Surface.GEMINI),
        ("POST", "/v1/models/m%2Dx:generateContent?key=k", Kind.GENERATE, Surface.GEMINI),
        ("GET", "/v1/models/m:generateContent", Kind.NOT_ALLOWED, Surface.GEMINI),
        ("POST", "/v1/models/m:streamGenerateContent?alt=sse", Kind.GENERATE, Surface.GEMINI),
        ("POST", "/v1/models/m:streamGenerateContent", Kind.NOT_FOUND, Surface.GEMINI),
        ("POST", "/v1/models/m:countTokens", Kind.NOT_FOUND, Surface.OPENAI),
        ("GET", "/v1beta/models", Kind.MODELS, Surface.GEMINI),
        ("GET", "/v1/models", Kind.MODELS, Surface.OPENAI),
        ("GET", "/v1/models?key=k", Kind.MODELS, Surface.GEMINI),
        ("POST", "/v1/models", Kind.NOT_ALLOWED, Surface.OPENAI),
        ("GET", "/_sim/charges", Kind.CHARGES, Surface.OPENAI),
        ("POST", "/_sim/charges", Kind.NOT_ALLOWED, Surface.OPENAI),
        ("POST", "/_sim/script", Kind.SCRIPT, Surface.OPENAI),
        ("GET", "/", Kind.NOT_FOUND, Surface.OPENAI),
        ("GET", "/v1beta/nothing", Kind.NOT_FOUND, Surface.GEMINI),
    ],
)
def test_routes(method: str, target: str, kind: Kind, surface: Surface) -> None:
    """Each path is where the SDKs look for it, and errors come in the caller's dialect."""
    route = route_of(a_head(method, target))
    assert (route.kind, route.surface) == (kind, surface)
    assert kind.makes_images == (kind in (Kind.GENERATIONS, Kind.EDITS, Kind.GENERATE))


def test_a_models_list_is_told_apart_by_the_credential() -> None:
    """`GET /v1/models` is both dialects' since google-genai 3."""
    assert route_of(a_head("GET", "/v1/models", x_goog_api_key="k")).surface is Surface.GEMINI
    assert route_of(a_head("GET", "/v1/models", authorization="Bearer k")).surface is Surface.OPENAI


def test_a_model_is_named_by_the_path() -> None:
    """Percent-encoded or not."""
    assert route_of(a_head(target="/v1/models/m%2Dx:generateContent")).model == "m-x"
    assert route_of(a_head(target="/v1/models/m:streamGenerateContent?alt=sse")).stream
    assert route_of(a_head("GET", "/v1/models/gpt-image-2")) == Route(
        kind=Kind.MODELS, surface=Surface.OPENAI, model="gpt-image-2"
    )


def test_an_openai_request_is_read_whole() -> None:
    """Every field that changes the answer."""
    asked = openai(
        {
            "model": "gpt-image-2",
            "prompt": "a lighthouse",
            "n": 3,
            "size": "1536x1024",
            "quality": "low",
            "output_format": "jpeg",
            "background": "transparent",
            "stream": True,
            "partial_images": 2,
        }
    )
    assert asked == Asked(
        surface=Surface.OPENAI,
        model="gpt-image-2",
        prompt="a lighthouse",
        geometry=Geometry(tier=Tier.K2, aspect_ratio="3:2", width_px=1536, height_px=1024),
        n=3,
        stream=True,
        partial_images=2,
        format="jpeg",
        quality="low",
        background="transparent",
    )


def test_what_an_openai_request_leaves_out_has_the_vendors_defaults() -> None:
    """The simplest call there is."""
    asked = openai({"prompt": "a lighthouse"})
    assert (asked.model, asked.n, asked.stream, asked.partial_images, asked.format) == (
        "gpt-image-2",
        1,
        False,
        0,
        "png",
    )
    assert (asked.geometry.width_px, asked.geometry.height_px) == (1024, 1024)


def test_previews_are_for_streams() -> None:
    """Without `stream` the field has no meaning."""
    assert openai({"prompt": "a", "partial_images": 3}).partial_images == 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("4096x4096", (4096, 4096, Tier.K4)),
        ("2880x2880", (2880, 2880, Tier.K4)),
        ("3840x2160", (3840, 2160, Tier.K4)),
        ("1000x1000", (1000, 1000, Tier.K1)),
        ("4K", (4096, 4096, Tier.K4)),
        ("2k", (2048, 2048, Tier.K2)),
        ("auto", (1024, 1024, Tier.K1)),
    ],
)
def test_a_relay_takes_any_size(size: str, expected: tuple[int, int, Tier]) -> None:
    """Pixels are drawn as written; words as the table has them."""
    geometry = openai({"prompt": "a", "model": "nano-banana-pro", "size": size}).geometry
    assert (geometry.width_px, geometry.height_px, geometry.tier) == expected


def test_a_ratio_turns_a_word_into_pixels() -> None:
    """`4K` and `16:9`."""
    geometry = openai({"prompt": "a", "model": "m", "size": "4K", "aspect_ratio": "16:9"}).geometry
    assert (geometry.width_px, geometry.height_px) == (5504, 3072)


@pytest.mark.parametrize("size", ["4096x4096", "1000x1000", "256x256", "3840x1024", "4K", "big", "3840x3840"])
def test_the_vendors_own_models_refuse_what_they_do_not_draw(size: str) -> None:
    """A gateway that forgets to translate a size must find out here, not at the vendor."""
    with pytest.raises(RequestError) as refused:
        openai({"prompt": "a", "model": "gpt-image-2", "size": size})
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_value", "size")


def test_the_vendors_own_models_refuse_response_format() -> None:
    """As the vendor does; relays take it."""
    with pytest.raises(RequestError) as refused:
        openai({"prompt": "a", "model": "gpt-image-2", "response_format": "b64_json"})
    assert (refused.value.code, refused.value.param) == ("unknown_parameter", "response_format")
    assert openai({"prompt": "a", "model": "seedream-4.5", "response_format": "b64_json"}).model == "seedream-4.5"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"<html>",
        b'{"prompt": 3}',
        b'{"n": 1}',
        b'{"prompt": "a", "n": 0}',
        b'{"prompt": "a", "n": 11}',
        b'{"prompt": "a", "model": "m", "size": "99999x99999"}',
        b'{"prompt": "a", "model": "m", "size": "7000x2000"}',
        b'{"prompt": "\xff"}',
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    """With 400, before anything is counted."""
    with pytest.raises(RequestError) as refused:
        openai(body)
    assert refused.value.status == 400


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096])
def test_an_edit_is_read_in_pieces(piece_bytes: int) -> None:
    """Its images pass by: they are counted, and the last one's size sets the ratio."""
    images = [{"image_url": f"data:image/png;base64,{a_png(*size)}"} for size in ((500, 500), (2752, 1536))]
    asked = read(
        a_head(target="/v1/images/edits"),
        {"prompt": "redder", "model": "nano-banana-pro", "size": "2K", "images": images},
        piece_bytes=piece_bytes,
    )
    assert (asked.inputs, asked.is_edit) == (2, True)
    assert (asked.geometry.width_px, asked.geometry.height_px) == (2752, 1536)


def test_an_edit_needs_images() -> None:
    """Else it is a generation."""
    with pytest.raises(RequestError, match="images"):
        read(a_head(target="/v1/images/edits"), {"prompt": "redder"})


def test_an_edit_with_a_link_is_refused() -> None:
    """Nothing is fetched here."""
    body = {"prompt": "redder", "images": [{"image_url": "https://example.com/a.png"}]}
    with pytest.raises(RequestError):
        read(a_head(target="/v1/images/edits"), body)


def test_a_gemini_request_is_read_in_either_spelling() -> None:
    """google-genai for Python mixes both in one body."""
    config = {"imageConfig": {"aspect_ratio": "16:9", "imageSize": "4K"}, "thinking_config": {"include_thoughts": True}}
    asked = gemini(turns(**config), stream=True)
    assert (asked.model, asked.prompt, asked.stream, asked.wants_thoughts) == (
        "gemini-3-pro-image",
        "a lighthouse",
        True,
        True,
    )
    assert (asked.geometry.width_px, asked.geometry.height_px, asked.geometry.tier) == (5504, 3072, Tier.K4)


@pytest.mark.parametrize(
    ("config", "pixels"),
    [
        ({}, (1024, 1024)),
        ({"imageConfig": {"imageSize": "2K"}}, (2048, 2048)),
        ({"imageConfig": {"imageSize": "512"}}, (512, 512)),
        ({"imageConfig": {"imageSize": "4K", "aspectRatio": "1:8"}}, (1536, 12288)),
    ],
)
def test_gemini_sizes(config: dict[str, Any], pixels: tuple[int, int]) -> None:
    """1K is the default."""
    geometry = gemini(turns(**config)).geometry
    assert (geometry.width_px, geometry.height_px) == pixels


def test_a_gemini_picture_follows_the_last_image() -> None:
    """When no ratio is named."""
    body = turns()
    body["contents"][0]["parts"].append({"inline_data": {"mime_type": "image/png", "data": a_png(1536, 2752)}})
    asked = gemini(body, piece_bytes=5)
    assert (asked.geometry.width_px, asked.geometry.height_px) == (768, 1376)
    assert (asked.inputs, asked.is_edit) == (1, True)


def test_the_format_can_be_chosen_as_on_vertex() -> None:
    """PNG otherwise."""
    config = {"imageConfig": {"imageOutputOptions": {"mimeType": "image/jpeg"}}}
    assert gemini(turns(**config)).format == "jpeg"
    assert gemini(turns()).format == "png"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contents": []},
        turns(""),
        turns(imageConfig={"imageSize": "4k"}),
        turns(imageConfig={"aspectRatio": "7:3"}),
        turns(responseModalities=["TEXT"]),
        {"contents": [{"parts": [{"fileData": {"fileUri": "https://example.com/a.png"}}]}]},
        {"contents": [{"parts": [{"inlineData": {"data": "*not base64*"}}]}]},
    ],
)
def test_what_is_no_gemini_request_is_refused(body: dict[str, Any]) -> None:
    """With 400."""
    with pytest.raises(RequestError) as refused:
        gemini(body)
    assert refused.value.status == 400


def test_another_size_is_really_another() -> None:
    """One class smaller; at 1K what was once seen there."""
    for tier, expected in ((Tier.K4, (2048, 2048)), (Tier.K2, (1024, 1024)), (Tier.K1, (1408, 768))):
        other = other_geometry(Geometry(tier=tier, aspect_ratio="1:1", width_px=1, height_px=1))
        assert (other.width_px, other.height_px) == expected


def test_a_script_body_that_is_no_json_is_refused() -> None:
    """As any other body."""
    with pytest.raises(RequestError):
        script_document(b"{")
    assert script_document(b'{"do": ["html"]}') == {"do": ["html"]}


def test_a_reading_tells_where_it_is() -> None:
    """For a log, without a prompt."""
    reading = Reading(route_of(a_head()))
    reading.feed(b'{"prompt": "secret')
    assert "generations" in repr(reading)
    assert "secret" not in repr(reading)
