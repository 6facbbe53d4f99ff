"""Gemini: requests, read from callers and written to upstreams."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from holdfast.errors import RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.gemini_request import (
    GEMINI_REQUEST_IMAGE,
    GenerateContentRequest,
    GenerateView,
    camel,
    decode_generate_request,
    encode_generate_request,
    normalised,
    with_inlined,
)
from holdfast.wire.scan import ImageBytes, JsonReader
from holdfast.wire.template import filled, slots_of, template_of

CANONICAL: dict[str, Any] = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "make the sky red"},
                {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"picture").decode()}},
            ],
        }
    ],
    "systemInstruction": {"parts": [{"text": "be brief"}]},
    "generationConfig": {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "16:9", "imageSize": "4K"},
        "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
        "candidateCount": 2,
    },
    "tools": [{"googleSearch": {}}],
}
SDK = {
    "contents": [
        {
            "parts": [
                {"text": "make the sky red"},
                {"inline_data": {"data": base64.urlsafe_b64encode(b"\xfb\xff\xbf").decode(), "mime_type": "image/png"}},
            ],
            "role": "user",
        }
    ],
    "generation_config": {
        "response_modalities": ["TEXT", "IMAGE"],
        "image_config": {"aspectRatio": "16:9", "image_size": "4K"},
        "thinkingConfig": {"include_thoughts": True, "thinking_level": "HIGH"},
    },
}


def read(document: Any) -> tuple[list[bytes], GenerateView]:
    """Read a request as the gateway does."""
    reader = JsonReader(GEMINI_REQUEST_IMAGE)
    events = reader.feed(json.dumps(document).encode())
    images = [event.data for event in events if isinstance(event, ImageBytes)]
    return images, decode_generate_request(reader.finish())


def with_parts(*parts: Any, **fields: Any) -> dict[str, Any]:
    """A request of one turn."""
    return {"contents": [{"role": "user", "parts": list(parts)}], **fields}


def refused(document: Any) -> RequestError:
    """Read a request that must be refused."""
    with pytest.raises(RequestError) as raised:
        read(document)
    return raised.value


def a_request(**overrides: Any) -> Request:
    """A plain request."""
    fields: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "nano-banana-pro",
        "prompt": "a lighthouse",
        "geometry": Geometry(tier=Tier.K4, aspect_ratio="16:9", width_px=5504, height_px=3072),
    }
    return Request(**(fields | overrides))


def test_the_canonical_form_is_read() -> None:
    """Prompt, image, and the picture wished for."""
    images, view = read(CANONICAL)
    assert b"".join(images) == b"picture"
    assert view.prompt == "make the sky red"
    assert [(image.slot, image.mime) for image in view.images] == [(0, "image/png")]
    assert (view.aspect_ratio, view.image_size, view.candidate_count) == ("16:9", "4K", 2)


def test_what_is_not_understood_is_kept() -> None:
    """Tools and thoughts go on to the upstream."""
    _, view = read(CANONICAL)
    body = json.loads(view.body_normalised)
    assert body["tools"] == [{"googleSearch": {}}]
    assert body["systemInstruction"] == CANONICAL["systemInstruction"]
    assert body["generationConfig"] == CANONICAL["generationConfig"]
    assert body["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": "0"}}


def test_the_form_of_the_python_sdk_is_read() -> None:
    """Mixed spelling and the URL-safe alphabet."""
    images, view = read(SDK)
    assert b"".join(images) == b"\xfb\xff\xbf"
    assert (view.aspect_ratio, view.image_size) == ("16:9", "4K")
    assert view.images[0].mime == "image/png"
    body = json.loads(view.body_normalised)
    assert body["generationConfig"]["thinkingConfig"] == {"includeThoughts": True, "thinkingLevel": "HIGH"}


def test_both_spellings_have_one_normal_form() -> None:
    """The fingerprint is the same for either."""
    one = with_parts({"inlineData": {"mimeType": "a/b", "data": "QQ=="}}, generationConfig={"candidateCount": 1})
    two = with_parts({"inline_data": {"mime_type": "a/b", "data": "QQ"}}, generation_config={"candidate_count": 1})
    assert read(one)[1] == read(two)[1]


def test_the_callers_own_words_are_not_respelled() -> None:
    """Arguments of functions and schemas belong to the caller."""
    part = {"function_call": {"name": "f", "args": {"snake_case": {"inner_key": 1}}}}
    body = json.loads(read(with_parts({"text": "x"}, part))[1].body_normalised)
    assert body["contents"][0]["parts"][1] == {"functionCall": part["function_call"]}
    assert normalised({"response_schema": {"my_field": 1}}) == {"responseSchema": {"my_field": 1}}


def test_the_prompt_is_the_text_of_the_last_user_turn() -> None:
    """Earlier turns and the model's are context."""
    turns = [
        {"role": "user", "parts": [{"text": "first"}]},
        {"role": "model", "parts": [{"text": "answer", "thoughtSignature": "s"}]},
        {"parts": [{"text": "then"}, {"text": "this"}, {"text": "hm", "thought": True}]},
        {"role": "model", "parts": []},
    ]
    _, view = read({"contents": turns})
    assert view.prompt == "then\nthis"
    assert json.loads(view.body_normalised)["contents"] == turns


def test_images_of_all_turns_are_inputs_in_order() -> None:
    """A multi-turn edit sends the model's picture back."""
    document = {
        "contents": [
            {
                "role": "model",
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "QUJD"}, "thoughtSignature": "s"}],
            },
            {"role": "user", "parts": [{"text": "redder"}, {"inlineData": {"data": "REVG"}}]},
        ]
    }
    images, view = read(document)
    assert images == [b"ABC", b"DEF"]
    assert [(image.slot, image.mime) for image in view.images] == [(0, "image/png"), (1, None)]


def test_single_turns_and_parts_may_stand_without_their_array() -> None:
    """As in many a curl example."""
    _, view = read({"contents": {"parts": {"text": "p"}}})
    assert view.prompt == "p"
    assert json.loads(view.body_normalised) == {"contents": [{"parts": [{"text": "p"}]}]}


def test_absent_settings_are_absent() -> None:
    """Defaults are the route's."""
    view = read(with_parts({"text": "p"}))[1]
    assert (view.aspect_ratio, view.image_size, view.candidate_count, view.images) == (None, None, 1, ())
    view = read(with_parts({"text": "p"}, generationConfig=None))[1]
    assert view.candidate_count == 1
    view = read(with_parts({"text": "p"}, generationConfig={"imageConfig": {"imageSize": "", "aspectRatio": None}}))[1]
    assert (view.aspect_ratio, view.image_size) == (None, None)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": "p"}, "contents"),
        ({"contents": [5]}, "contents[0]"),
        ({"contents": [{"parts": "x"}]}, "contents[0].parts"),
        ({"contents": [{"role": "user"}]}, "contents"),
        (with_parts({"text": " "}), "contents"),
        (with_parts({"text": 5}), "contents[0].parts[0].text"),
        (with_parts({"text": "p"}, generationConfig=[]), "generationConfig"),
        (with_parts({"text": "p"}, generation_config={"candidateCount": 0}), "generationConfig.candidateCount"),
        (with_parts({"text": "p"}, generationConfig={"candidateCount": 11}), "generationConfig.candidateCount"),
        (
            with_parts({"text": "p"}, generationConfig={"imageConfig": {"imageSize": 4}}),
            "generationConfig.imageConfig.imageSize",
        ),
        (
            with_parts({"text": "p"}, generationConfig={"responseModalities": ["TEXT"]}),
            "generationConfig.responseModalities",
        ),
        (with_parts({"text": "p"}, {"inlineData": {"mimeType": "a/b"}}), "contents[0].parts[1].inlineData.data"),
        (with_parts({"text": "p"}, {"inlineData": {"data": ""}}), "contents[0].parts[1].inlineData.data"),
        (with_parts({"text": "p"}, {"file_data": {}}), "contents[0].parts[1].fileData.fileUri"),
        (with_parts({"text": "p"}, {"fileData": {"fileUri": "gs://b/a"}}), "contents[0].parts[1].fileData.fileUri"),
        (
            with_parts({"fileData": {"fileUri": "https://x.test"}, "inlineData": {"data": "aGVsbG8="}}),
            "contents[0].parts[0].fileData.fileUri",
        ),
    ],
)
def test_a_wrong_request_is_refused_and_its_field_named(document: Any, param: str) -> None:
    """Before anything is held or sent."""
    error = refused(document)
    assert error.param == param
    assert (error.code, error.status) == ("invalid_request", 400)


@pytest.mark.parametrize("size", ["4k", "8K", "4096x4096"])
def test_an_unknown_image_size_is_an_unsupported_size(size: str) -> None:
    """The capital K is required by the API."""
    error = refused(with_parts({"text": "p"}, generationConfig={"imageConfig": {"imageSize": size}}))
    assert error.code == "unsupported_size"
    assert error.param == "generationConfig.imageConfig.imageSize"


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"', b'{"contents":"\xff"}', b"null"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """Never a crash."""
    with pytest.raises(RequestError):
        decode_generate_request(body)


def test_an_image_alone_is_a_request() -> None:
    """The API takes it."""
    assert read(with_parts({"inlineData": {"data": "QUJD"}}))[1].prompt == ""


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("inline_data", "inlineData"),
        ("inlineData", "inlineData"),
        ("_private", "_private"),
        ("a_b_c", "aBC"),
        ("a__b", "a__b"),
        ("@type", "@type"),
        ("x_1", "x1"),
    ],
)
def test_keys_are_brought_to_camel_case(key: str, expected: str) -> None:
    """Once is enough: a normal form stays."""
    assert camel(key) == expected
    assert camel(camel(key)) == camel(key)


def test_only_inline_data_of_parts_is_an_image() -> None:
    """Either spelling, this one place."""
    assert GEMINI_REQUEST_IMAGE(("contents", "parts", "inlineData", "data"))
    assert GEMINI_REQUEST_IMAGE(("contents", "parts", "inline_data", "data"))
    assert not GEMINI_REQUEST_IMAGE(("contents", "parts", "inlineData", "mimeType"))
    assert not GEMINI_REQUEST_IMAGE(("contents", "parts", "functionCall", "args", "inlineData", "data"))
    assert not GEMINI_REQUEST_IMAGE(("systemInstruction", "parts", "inlineData", "data"))


def test_a_json_schema_can_be_made() -> None:
    """The OpenAPI document comes from the definitions that validate."""
    definitions = msgspec.json.schema(GenerateContentRequest)["$defs"]
    assert set(definitions["GenerateContentRequest"]["properties"]) == {"contents", "generationConfig"}
    assert "mimeType" in definitions["InlineData"]["properties"]


def test_a_plain_request_is_written_in_the_dialect() -> None:
    """Prompt first, then the images, the size always stated."""
    images = tuple(
        InputImage(sha256="0" * 64, mime=mime, bytes=3, store_key="k") for mime in ("image/png", "image/webp")
    )
    template = encode_generate_request(a_request(inputs=images))
    assert slots_of(template) == (0, 1)
    assert json.loads(filled(template, {0: b"ABC", 1: b"DEF"})) == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "a lighthouse"},
                    {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                    {"inlineData": {"mimeType": "image/webp", "data": "REVG"}},
                ],
            }
        ],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "4K"},
        },
    }


def test_the_size_is_left_out_for_models_that_refuse_it() -> None:
    """gemini-2.5-flash-image."""
    body = json.loads(filled(encode_generate_request(a_request(), states_image_size=False), {}))
    assert body["generationConfig"]["imageConfig"] == {"aspectRatio": "16:9"}


def test_a_request_of_the_dialect_goes_on_as_its_caller_wrote_it() -> None:
    """Byte for byte, images back in their places."""
    _, view = read(
        with_parts({"text": "p", "thoughtSignature": "s"}, {"inlineData": {"data": "QUJD"}}, tools=[{"x_y": 1}])
    )
    request = a_request(
        surface=Surface.GEMINI,
        dialect_body=view.body_normalised.decode(),
        geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
    )
    body = filled(encode_generate_request(request), {0: b"ABC"})
    assert body == view.body_normalised.replace(b'"data":"0"', b'"data":"QUJD"')


def test_a_default_size_that_was_priced_is_stated() -> None:
    """The upstream's own default is 1K."""
    _, view = read(with_parts({"text": "p"}, generationConfig={"seed": 1}))
    request = a_request(surface=Surface.GEMINI, dialect_body=view.body_normalised.decode())
    body = json.loads(filled(encode_generate_request(request), {}))
    assert body["generationConfig"] == {"seed": 1, "imageConfig": {"imageSize": "4K"}}
    untouched = json.loads(filled(encode_generate_request(request, states_image_size=False), {}))
    assert untouched["generationConfig"] == {"seed": 1}


def test_several_candidates_are_asked_for_one_by_one() -> None:
    """Image models do not honour the count; each part is a call of its own."""
    _, view = read(CANONICAL)
    request = a_request(surface=Surface.GEMINI, dialect_body=view.body_normalised.decode())
    template = encode_generate_request(request)
    assert slots_of(template) == (0,)
    config = json.loads(filled(template, {0: b""}))["generationConfig"]
    assert "candidateCount" not in config
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "4K"}


def test_what_is_written_can_be_read() -> None:
    """Both sides of the dialect are one."""
    images = (InputImage(sha256="0" * 64, mime="image/png", bytes=3, store_key="k"),)
    body = json.loads(filled(encode_generate_request(a_request(inputs=images)), {0: b"ABC"}))
    pieces, view = read(body)
    assert pieces == [b"ABC"]
    assert (view.prompt, view.aspect_ratio, view.image_size) == ("a lighthouse", "16:9", "4K")


def test_what_was_fetched_stands_where_it_was_named() -> None:
    """As bytes with what they are; whatever else stood in the request stays, and what was sent keeps its number."""
    named = [{"file_data": {"file_uri": "https://x.test/a", "mime_type": "image/heic"}}, {"text": "and"}]
    skeleton = json.dumps(
        {
            "contents": [
                {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "0"}}, *named]},
                {"role": "user", "parts": [{"fileData": {"fileUri": "https://x.test/b"}}, {"text": "p"}]},
            ],
            "tools": [{"google_search": {}}],
        }
    ).encode()
    view = decode_generate_request(skeleton)
    assert [each.uri for each in view.references] == ["https://x.test/a", "https://x.test/b"]
    assert [each.where for each in view.references] == [
        "contents[0].parts[1].fileData.fileUri",
        "contents[1].parts[0].fileData.fileUri",
    ]
    made = with_inlined(view, ["image/png", "image/webp"], first_slot=1)
    document = json.loads(made.body_normalised)
    first, second = (content["parts"] for content in document["contents"])
    assert [part.get("inlineData") for part in first] == [
        {"mimeType": "image/png", "data": "0"},
        {"mimeType": "image/png", "data": "1"},
        None,
    ]
    assert second[0] == {"inlineData": {"mimeType": "image/webp", "data": "2"}}
    assert document["tools"] == [{"googleSearch": {}}]
    assert "fileData" not in made.body_normalised.decode()
    assert slots_of(template_of(made.body_normalised, GEMINI_REQUEST_IMAGE)) == (0, 1, 2)
    assert made.references == ()
    plain = decode_generate_request(b'{"contents": [{"parts": [{"text": "p"}]}]}')
    assert with_inlined(plain, [], first_slot=0) is plain


def test_an_image_that_is_named_is_enough_to_ask_for() -> None:
    """As one that is sent is."""
    view = decode_generate_request(b'{"contents": [{"parts": [{"fileData": {"fileUri": "https://x.test"}}]}]}')
    assert (view.prompt, len(view.references)) == ("", 1)
