"""What a relay is sent in a chat, and how the simulator reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.relay_chat import (
    CHAT_REQUEST_IMAGE,
    ChatAsked,
    ChatForm,
    decode_chat_request,
    encode_chat_request,
)
from holdfast.wire.template import Slot, filled, slots_of

PROMPT = 'a "lighthouse", data:image/png;base64,QUJD and 7'


def an_input(name: str, mime: str = "image/png") -> InputImage:
    """A reference image."""
    return InputImage(sha256="0" * 64, mime=mime, bytes=3, store_key=name)


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "nano-banana-pro",
        "prompt": PROMPT,
        "geometry": Geometry(tier=Tier.K4, aspect_ratio="16:9", width_px=5504, height_px=3072),
    }
    return Request(**{**usual, **overrides})


def written(*, images: dict[int, bytes] | None = None, **options: Any) -> dict[str, Any]:
    """The JSON that is sent."""
    request = options.pop("request", a_request())
    options = {"model": "m", "form": ChatForm.OPENROUTER, **options}
    return dict(json.loads(filled(encode_chat_request(request, **options), images or {})))


def test_openrouter_is_asked_as_it_documents() -> None:
    """Modalities, ratio and size beside the messages."""
    assert written() == {
        "model": "m",
        "messages": [{"role": "user", "content": PROMPT}],
        "modalities": ["image", "text"],
        "image_config": {"aspect_ratio": "16:9", "image_size": "4K"},
        "stream": False,
    }


def test_new_api_is_asked_in_its_own_words() -> None:
    """In snake_case, inside `extra_body`; nothing that it does not know."""
    assert written(form=ChatForm.NEW_API, stream=True, request=a_request(end_user="u-1")) == {
        "model": "m",
        "messages": [{"role": "user", "content": PROMPT}],
        "extra_body": {"google": {"image_config": {"aspect_ratio": "16:9", "image_size": "4K"}}},
        "user": "u-1",
        "stream": True,
    }


@pytest.mark.parametrize("form", list(ChatForm))
def test_a_size_is_left_out_for_models_that_refuse_it(form: ChatForm) -> None:
    """The ratio stays."""
    body = written(form=form, states_image_size=False)
    config = body.get("image_config") or body["extra_body"]["google"]["image_config"]
    assert config == {"aspect_ratio": "16:9"}


def test_reference_images_are_slots_behind_their_prefix() -> None:
    """In order, streamed from their files; a number in the prompt is none of them."""
    request = a_request(inputs=(an_input("a"), an_input("b", "image/webp")))
    template = encode_chat_request(request, model="m", form=ChatForm.NEW_API)
    assert slots_of(template) == (0, 1)
    assert Slot(0) in template
    content = written(request=request, images={0: b"abc", 1: b"def"})["messages"][0]["content"]
    assert content == [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj"}},
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,ZGVm"}},
    ]
    assert CHAT_REQUEST_IMAGE(("messages", "content", "image_url", "url"))


def read(body: Any) -> ChatAsked:
    """Read a request."""
    return decode_chat_request(json.dumps(body).encode())


def test_a_request_is_read_as_it_was_meant() -> None:
    """The last turn of the user, whatever stands before it."""
    asked = read(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": "a"},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "p"}, {"type": "image_url", "image_url": {"url": "0"}}],
                },
            ],
            "extra_body": {"google": {"image_config": {"aspect_ratio": "1:1"}}},
            "stream": True,
        }
    )
    assert asked == ChatAsked(
        model="m", prompt="p", form=ChatForm.NEW_API, aspect_ratio="1:1", image_size=None, images=1, stream=True
    )


def test_a_request_without_words_on_the_picture_has_no_form() -> None:
    """Nobody's."""
    assert read({"messages": [{"role": "user", "content": "p"}]}).form is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        (
            {
                "messages": [{"role": "user", "content": "p"}],
                "extra_body": {"google": {"imageConfig": {"aspectRatio": "1:1"}}},
            },
            "extra_body.google",
        ),
        (
            {
                "messages": [{"role": "user", "content": "p"}],
                "extra_body": {"google": {"image_config": {"aspectRatio": "1:1"}}},
            },
            "extra_body.google.image_config",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(body: Any, param: str) -> None:
    """new-api takes no camelCase, and says so."""
    with pytest.raises(RequestError) as refused:
        read(body)
    assert refused.value.param == param


def test_what_is_no_json_is_refused() -> None:
    """As a caller is told."""
    with pytest.raises(RequestError):
        decode_chat_request(b"{")
